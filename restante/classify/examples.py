"""Whether the examples of detectors and lexicons hold: each text is scanned as the body of a message would be.

Pure.  An example must give its own detector at its confidence or above; a counter-example must stay below.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from restante.classify.finding import Confidence
from restante.classify.scan import Budget, Scanner
from restante.classify.tables import DetectorTable, Example, Findable, Lexicon
from restante.classify.text import normalise


@dataclass(frozen=True, slots=True)
class Failure:
    """An example that does not hold: where it stands, as pydantic writes locations, and what is wrong."""

    location: tuple[int | str, ...]
    name: str
    text: str
    problem: str


def failures(
    detectors: tuple[DetectorTable, ...], lexicons: tuple[Lexicon, ...], scanner: Scanner
) -> Iterator[Failure]:
    """The examples and counter-examples that do not hold in ``scanner``, which knows all these tables."""
    named: list[tuple[str, int, str, Findable]] = [
        ("detector", index, table.name, table) for index, table in enumerate(detectors)
    ]
    named += [("lexicon", index, f"lexicon:{table.name}", table) for index, table in enumerate(lexicons)]
    for kind, index, name, table in named:
        most = table.confidence if isinstance(table, Lexicon) else Confidence.HIGH
        for position, example in enumerate(table.examples):
            found, least = _best(scanner, name, example), min(example.confidence, most)
            if found < least:
                problem = f"must be found with {least} confidence or more, but {_said(found)}"
                yield Failure((kind, index, "examples", position), name, example.text, problem)
        for position, example in enumerate(table.counter_examples):
            found = _best(scanner, name, example)
            if found >= example.confidence:
                problem = f"must not be found with {example.confidence} confidence or more, but {_said(found)}"
                yield Failure((kind, index, "counter_examples", position), name, example.text, problem)


def _best(scanner: Scanner, name: str, example: Example) -> int:
    padded = b"\n%b\n" % normalise(example.text)
    hits = scanner.scan(padded, 0, len(padded), Budget())
    return max((hit.confidence for hit in hits if hit.detector == name), default=0)


def _said(found: int) -> str:
    return f"is found with {Confidence(found)}" if found else "is not found"
