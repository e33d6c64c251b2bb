"""One pattern and the detectors that ask for it.  Immutable; what locates its matches is compiled when first wanted."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import re2

from restante.classify.detector import EDGE, Detector, Form
from restante.classify.finding import Confidence
from restante.classify.text import UNANCHORED
from restante.classify.widen import RUNS, widened

# RE2's own matching function: the wrapper around it costs more than a search in a short text.  No pattern has groups,
# so that it never needs more than RE2's automata.
Match = Callable[[Any, bytes, int, int], list[tuple[int, int]]]


@dataclass(frozen=True, slots=True)
class Entry:
    """A detector that asks for a pattern; ``context`` numbers its context words, -1 where it has none."""

    detector: Detector
    alone: Confidence
    context: int


class Pattern:
    """One pattern and all that ask for it.  What locates its matches is compiled when the prefilter first wants it."""

    def __init__(self, form: Form, entries: tuple[Entry, ...]) -> None:
        self.form, self.entries = form, entries
        self.certain = any(entry.alone is Confidence.HIGH for entry in entries)
        self.number_led = _number_led(form)
        # Anything of some length and digits may match it: it takes words near it, or in it, to mean something.
        self.vague = not _WORD.search(_LITERAL.sub(" ", form.body))

    @property
    def body(self) -> str:
        """The pattern without what stands before it."""
        return self.form.pattern.replace(EDGE, "", 1)

    @cached_property
    def match(self) -> Match:
        """Searches."""
        match: Match = re2.compile(self.form.pattern, options())._regexp.Match  # noqa: SLF001
        return match

    def occurs(self, text: bytes) -> bool:
        """Whether it matches somewhere."""
        return self.match(UNANCHORED, text, 0, len(text))[0][0] >= 0

    @cached_property
    def here(self) -> Match:
        """Matches where a number begins, without what stands before it."""
        match: Match = re2.compile(self.body, options())._regexp.Match  # noqa: SLF001
        return match


class Together:
    """Tells which of many patterns match in a text, in one pass.

    An automaton of RE2 learns a text's states as it reads, and what it has learned counts for the next text.  Patterns
    that match often do so in ever new combinations, each a state of its own: these do not belong in here.
    """

    def __init__(self, numbered: Iterable[tuple[int, str]], *, at_start: bool = False) -> None:
        """``at_start`` asks which match where the text begins, and not anywhere."""
        self._numbers: list[int] = []
        self._set = (re2.Set.MatchSet if at_start else re2.Set.SearchSet)(options())
        for number, pattern in numbered:
            self._numbers.append(number)
            self._set.Add(pattern)
        if self._numbers:
            self._set.Compile()

    def match(self, text: bytes) -> list[int]:
        """The numbers of those that match."""
        found = self._set.Match(text) if self._numbers else None
        return [self._numbers[one] for one in found] if found else []


class Prefilter:
    """Tells which of many patterns may match somewhere in a text.

    Those that say little of letters and digits are looked for widened, by themselves; but for those that would then
    match just any number or word.
    """

    def __init__(self, numbered: Iterable[tuple[int, Pattern]]) -> None:
        patterns = dict(numbered)
        wide = {
            number: pattern
            for number, one in patterns.items()
            if one.vague and (pattern := widened(one.form.pattern)) is not None
        }
        for number in Together(wide.items()).match(RUNS):
            del wide[number]
        self._wide = Together(wide.items())
        self._exact = Together((number, one.form.pattern) for number, one in patterns.items() if number not in wide)

    def match(self, text: bytes) -> list[int]:
        """The numbers of all that match, and of some that do not."""
        return self._exact.match(text) + self._wide.match(text)


Sure = dict[Confidence, dict[int, tuple[Entry, ...]]]


def askers(patterns: tuple[Pattern, ...]) -> tuple[Sure, dict[int, frozenset[int]]]:
    """For each confidence who gets it without a context word, by pattern; and the patterns of each list of those."""
    sure: Sure = {
        least: {
            index: entries
            for index, pattern in enumerate(patterns)
            if (entries := tuple(entry for entry in pattern.entries if entry.alone >= least))
        }
        for least in Confidence
    }
    needy: dict[int, set[int]] = {}
    for index, pattern in enumerate(patterns):
        for entry in pattern.entries:
            if entry.context >= 0:
                needy.setdefault(entry.context, set()).add(index)
    return sure, {context: frozenset(whose) for context, whose in needy.items()}


_DIGIT_FIRST = re.compile(r"(?:\[(?:[0-9]-[0-9]|[0-9])+\]|[0-9]|\(\?:[0-9]+(?:\|[0-9]+)*\))(?!\?|\{0)")
_LITERAL = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]", re.DOTALL)
_WORD = re.compile(r"[a-z]{3}", re.IGNORECASE)
_INNERMOST = re.compile(r"\([^()]*\)")


def _number_led(form: Form) -> bool:
    """Whether ``form`` can begin only with a digit.  No for some that do."""
    if not form.bounded or not _DIGIT_FIRST.match(form.body):
        return False
    outer, inner = _LITERAL.sub("", form.body), ""
    while inner != outer:
        inner, outer = outer, _INNERMOST.sub("", outer)
    return "|" not in outer


def options() -> re2.Options:
    """How every pattern is compiled."""
    chosen = re2.Options()
    # RE2 fails to compile rather than to match when its budget is too small, so this is checked at start.
    chosen.max_mem = 128 << 20
    chosen.log_errors = False
    return chosen
