"""Scanning one window of normalised text: one prefilter pass over all patterns, then exact work for those that hit.

Immutable after construction and safe to share between threads.  Scanning is linear in the text (RE2).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import re2

from restante.classify.detector import Detector, Proof, Surroundings
from restante.classify.finding import Confidence
from restante.classify.tables import Lexicon
from restante.classify.text import normalise

CONTEXT = 300  # characters either side in which a context word counts
MARGIN = 2048  # bytes either side that a match at the edge of a window may need: match and context, as UTF-8
MAX_PROOFS = 4096  # remembered answers of validators, so that memory stays bounded
_CONTEXT_BYTES = CONTEXT * 3


class Budget:
    """How many candidates each pattern may still look at in one message, so that time stays bounded.

    Patterns that are certain by themselves may look at more than those that match any number.  It also remembers
    what validators said: HTML repeats, with and without its tags, what the text beside it says.
    """

    _VAGUE, _CERTAIN = 20_000, 500_000

    def __init__(self) -> None:
        self._left: dict[int, int] = {}
        self._proofs: dict[tuple[str, bytes], Proof | None] = {}
        self.exhausted = False

    def proof(self, detector: Detector, candidate: bytes) -> Proof | None:
        """What the validator of ``detector`` says of ``candidate``, asked once for each."""
        key = detector.name, candidate
        try:
            return self._proofs[key]
        except KeyError:
            proof = detector.validate(candidate.decode("utf-8", "replace"))
            if len(self._proofs) < MAX_PROOFS:
                self._proofs[key] = proof
            return proof

    def left(self, entry: int, *, certain: bool) -> int:
        """How many more candidates the pattern numbered ``entry`` may look at."""
        return self._left.get(entry, self._CERTAIN if certain else self._VAGUE)

    def leave(self, entry: int, left: int) -> None:
        """The pattern numbered ``entry`` has ``left`` candidates left."""
        self._left[entry] = left


@dataclass(frozen=True, slots=True)
class Hit:
    """One match in a window: where it starts and stops (bytes), its canonical value, and how sure we are."""

    start: int
    stop: int
    detector: str
    value: str
    confidence: Confidence
    reason: str


@dataclass(frozen=True, slots=True)
class _Entry:
    """One pattern of the prefilter with what it belongs to; ``detector`` is ``None`` for a lexicon."""

    name: str
    locate: _Locate
    detector: Detector | None
    alone: Confidence
    context: re2._Regexp | None


# RE2's own matching function: the wrapper around it costs more than a search in a short text.
_Locate = Callable[[Any, bytes, int, int], list[tuple[int, int]]]
_UNANCHORED = re2._re2.RE2.Anchor.UNANCHORED  # noqa: SLF001


def _locate(pattern: str, options: re2.Options) -> _Locate:
    """A function from anchor, text, start and end to the spans of the first match; -1, -1 where there is none."""
    locate: _Locate = re2.compile(pattern, options)._regexp.Match  # noqa: SLF001
    return locate


class Scanner:
    """All detectors and lexicons, compiled."""

    def __init__(self, detectors: tuple[Detector, ...], lexicons: tuple[Lexicon, ...] = ()) -> None:
        options = _options(sum(len(word) for lexicon in lexicons for word in lexicon.words))
        prefilter = re2.Set.SearchSet(options)
        entries: list[_Entry] = []
        for detector in detectors:
            context = re2.compile(_words(detector.context), options) if detector.context else None
            for form in detector.forms:
                prefilter.Add(form.pattern)
                locate = _locate(form.pattern, options)
                entries.append(_Entry(detector.name, locate, detector, form.alone, context))
        for lexicon in lexicons:
            pattern = _words(lexicon.words)
            prefilter.Add(pattern)
            locate = _locate(pattern, options)
            entries.append(_Entry(f"lexicon:{lexicon.name}", locate, None, lexicon.confidence, None))
        prefilter.Compile()
        self._prefilter = prefilter
        self._entries = tuple(entries)

    def candidates(self, text: bytes) -> list[int]:
        """Which patterns match somewhere in ``text``: the prefilter alone."""
        return self._prefilter.Match(text) or []

    def scan(self, text: bytes, start: int, end: int, budget: Budget) -> list[Hit]:
        """The hits that begin in ``text[start:end]``; the rest of ``text`` only gives context.

        ``text`` is normalised UTF-8 with a line feed at either end of the whole that it is a window of.
        """
        indexes = self._prefilter.Match(text)
        if not indexes:
            return []
        hits: list[Hit] = []
        for index in indexes:
            self._exact(index, text, start, end, budget, hits)
        if len(hits) > 1:
            hits.sort(key=lambda hit: (hit.start, hit.detector, -hit.confidence))
        return hits

    def _exact(self, index: int, text: bytes, start: int, end: int, budget: Budget, hits: list[Hit]) -> None:
        entry = self._entries[index]
        detector = entry.detector
        left = budget.left(index, certain=entry.alone is Confidence.HIGH)
        for begin, stop in _occurrences(entry.locate, text, start, end):
            if left <= 0:
                budget.exhausted = True
                break
            left -= 1
            candidate = text[begin:stop]
            if detector is None:
                hits.append(Hit(begin, stop, entry.name, candidate.decode("utf-8", "replace"), entry.alone, ""))
                continue
            proof = budget.proof(detector, candidate)
            if proof is not None:
                hit = _weigh(entry, detector, proof, text, begin)
                if hit is not None:
                    hits.append(hit)
        budget.leave(index, left)


def _options(lexicon_size: int) -> re2.Options:
    options = re2.Options()
    # RE2 fails to compile rather than to match when its budget is too small, so this is checked at start.
    options.max_mem = (16 << 20) + 400 * lexicon_size
    options.log_errors = False
    return options


def _words(words: tuple[str, ...]) -> str:
    """A pattern for any of ``words`` as whole words, in any case; inner spaces stand for any white space."""
    spelled = {
        r"[\s>]{1,8}".join(re2.escape(part) for part in normalise(word.casefold()).decode().split()) for word in words
    }
    alternatives = "|".join(sorted(spelled, key=lambda word: (-len(word), word)))
    return rf"(?i)[^\pL\pM\pN_]({alternatives})[^\pL\pM\pN_]"


def _occurrences(locate: _Locate, text: bytes, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Spans of group 1 that begin in ``start:end``, each beginning tried once, overlapping ones included."""
    position, size = max(start - 8, 0), len(text)
    while True:
        spans = locate(_UNANCHORED, text, position, size)
        begin, stop = spans[1]
        if begin < 0 or begin >= end:
            return
        if begin >= start:
            yield begin, stop
        # A form without bounds begins where its group does, and must not be found there again.
        position = begin + (spans[0][0] == begin)


def _weigh(entry: _Entry, detector: Detector, proof: Proof, text: bytes, begin: int) -> Hit | None:
    """How sure a proved candidate is, by what stands around it; ``None`` when that refutes it."""
    stop = begin + proof.length
    before, after = text[max(begin - _CONTEXT_BYTES, 0) : begin], text[stop : stop + _CONTEXT_BYTES]
    around = Surroundings(before, after, text[begin:stop])
    if any(refuse(around) for refuse in detector.refuse):
        return None
    doubts = [reason for doubt in detector.doubt if (reason := doubt(around))]
    if entry.alone is Confidence.HIGH and not doubts:
        return Hit(begin, stop, detector.name, proof.value, Confidence.HIGH, detector.proof)
    word = _context_word(entry.context, around)
    if word:
        return Hit(begin, stop, detector.name, proof.value, Confidence.HIGH, f'{detector.proof}, near "{word}"')
    confidence = min(entry.alone, Confidence.MEDIUM)
    reason = doubts[0] if doubts else f"{detector.proof}, no context word"
    return Hit(begin, stop, detector.name, proof.value, confidence, reason)


def _context_word(pattern: re2._Regexp | None, around: Surroundings) -> str:
    """The context word within 300 characters, or an empty string."""
    if pattern is None:
        return ""
    before = around.before.decode("utf-8", "ignore")[-CONTEXT:]
    after = around.after.decode("utf-8", "ignore")[:CONTEXT]
    match = pattern.search(f"{before} \x1f {after}".encode())
    return re.sub(r"\s+", " ", match.group(1).decode("utf-8", "replace")) if match else ""
