"""Text that may be shown beside a finding: matches marked and masked, whatever else might be an identifier masked too.

Pure.  Rather too much is masked than too little: of a match at most the last four characters stay legible, and none
that belongs to another match; of a number of five digits and more, and of what looks like a key or like encoded text,
nothing does, even where no detector knows it; nor of a password or key.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from restante.classify.detector import legible

SHORTEST_SOUGHT = 5
MOST_SOUGHT = 500

_MARKUP = re.compile(r"<!--.*?-->|</?[A-Za-z!][^<>]{0,2000}>", re.DOTALL)
# Digits stand apart from each other as people group them, or as other encodings write them (=34=31, %34%31).
_NUMBER = re.compile(r"\d(?:[^\w\n]{0,3}\d){4,}")
_KEYLIKE = re.compile(r"[A-Za-z0-9+/_=-]{20,}")


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of masked text; ``detector`` names what matched there, and is empty elsewhere."""

    text: str
    detector: str = ""


@dataclass(frozen=True, slots=True)
class Span:
    """Where something matched: character offsets, and who says so."""

    start: int
    stop: int
    detector: str


def masked(text: str, spans: Iterable[Span] = (), values: Mapping[str, str] | None = None) -> tuple[Segment, ...]:
    """``text`` with every span masked and marked.

    ``values`` maps canonical values that were found anywhere in the message to their detectors: they are masked
    wherever they stand, also with markup, blanks or punctuation between their characters.
    """
    cover = [""] * len(text)
    hidden = bytearray(len(text))
    for span in spans:
        _hide(text, range(span.start, min(span.stop, len(text))), span.detector, cover, hidden)
    for positions, detector in _sought(text, values or {}):
        _hide(text, positions, detector, cover, hidden)
    for match in _NUMBER.finditer(text):
        _hide_all(text, match, hidden)
    for match in _KEYLIKE.finditer(text):
        if _looks_random(match.group()):
            _hide_all(text, match, hidden)
    return tuple(_segments(text, cover, hidden))


def plain(segments: Iterable[Segment]) -> str:
    """The masked text without its marks."""
    return "".join(segment.text for segment in segments)


def _hide(text: str, positions: Iterable[int], detector: str, cover: list[str], hidden: bytearray) -> None:
    """Mask the letters and digits at ``positions`` but the last few, which stay unless another match covers them."""
    covered = list(positions)
    for position in covered:
        cover[position] = cover[position] or detector
    written = [position for position in covered if text[position].isalnum()]
    for position in written[: len(written) - legible(len(written), detector)]:
        hidden[position] = 1


def _hide_all(text: str, match: re.Match[str], hidden: bytearray) -> None:
    """Mask a stretch that nobody has proved to be anything; what a match left legible in it stays so."""
    for position in range(*match.span()):
        if text[position].isalnum():
            hidden[position] |= 2


def _looks_random(word: str) -> bool:
    return bool(re.search("[0-9]", word) or re.search("[a-z][A-Z]", word)) and bool(re.search("[A-Za-z]", word))


def _sought(text: str, values: Mapping[str, str]) -> Iterator[tuple[list[int], str]]:
    """Where ``values`` stand in ``text`` once markup and everything but letters and digits is left out."""
    known = [(_written(value), detector) for value, detector in list(values.items())[:MOST_SOUGHT]]
    known = [(value, detector) for value, detector in known if len(value) >= SHORTEST_SOUGHT]
    if not known:
        return
    outside = bytearray(b"\1" * len(text))
    for match in _MARKUP.finditer(text):
        outside[match.start() : match.end()] = bytes(match.end() - match.start())
    letters = [position for position, character in enumerate(text) if outside[position] and character.isalnum()]
    digits = [position for position in letters if text[position].isdigit()]
    # One character each, so that offsets stay true: some letters have several in upper case.
    upper = "".join(text[position].upper()[:1] for position in letters)
    numbers = "".join(text[position] for position in digits)
    for value, detector in known:
        where, line = (digits, numbers) if value.isdigit() else (letters, upper)
        begin = line.find(value)
        while begin >= 0:
            found = where[begin : begin + len(value)]
            yield found, detector
            begin = line.find(value, begin + 1)


def _written(value: str) -> str:
    """A canonical value as letters and digits; empty for words, which match where they stand and nowhere else."""
    text = "".join(character.upper()[:1] for character in value if character.isalnum())
    return text if any(character.isdigit() for character in text) else ""


def _segments(text: str, cover: list[str], hidden: bytearray) -> Iterator[Segment]:
    begin = 0
    for position in range(1, len(text) + 1):
        if position == len(text) or cover[position] != cover[begin]:
            detector = cover[begin]
            # What is a match shows its last characters; whatever else is hidden shows none.
            shown = "".join("*" if hidden[at] & (1 if detector else 3) else text[at] for at in range(begin, position))
            yield Segment(shown, detector)
            begin = position
