"""Scanning one window of normalised text: one prefilter pass over all patterns, then exact work for those that hit.

Immutable after construction and safe to share between threads.  Scanning is linear in the text (RE2).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

import re2

from restante.classify.detector import Detector, Form, Proof, Surroundings
from restante.classify.dictionary import Dictionary
from restante.classify.finding import Confidence
from restante.classify.nearby import CONTEXT, Nearby
from restante.classify.pattern import Entry, Pattern, Prefilter, Together, askers
from restante.classify.tables import DictionaryTable, Lexicon
from restante.classify.text import UNANCHORED
from restante.classify.vocabulary import Reading, Vocabulary

MARGIN = 2048  # bytes either side that a match at the edge of a window may need: match and context, as UTF-8
MAX_PROOFS = 4096  # remembered answers of validators, so that memory stays bounded
_CONTEXT_BYTES = CONTEXT * 3


class Budget:
    """How many candidates each pattern may still look at in one message, so that time stays bounded.

    Patterns that are certain by themselves may look at more than those that match any number.  It also remembers
    what validators said: HTML repeats, with and without its tags, what the text beside it says.  ``least`` is the
    confidence below which nobody asks for findings.
    """

    _VAGUE, _CERTAIN = 20_000, 500_000

    def __init__(self, least: Confidence = Confidence.LOW) -> None:
        self.least = least
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


_HERE = re2._re2.RE2.Anchor.ANCHOR_START  # noqa: SLF001
_NUMBER = re.compile(rb"[0-9]+")
MAX_NUMBER = 8192  # bytes that the match of a form may take: more than it has instructions
_SHORT = 100  # bytes of a candidate for which words near all of it are those near a part of it
_FEW = 8  # so many patterns are searched for one by one sooner than every number is looked at
_MANY = 24  # more patterns than these are asked for together


class Scanner:
    """All detectors and lexicons, compiled."""

    def __init__(
        self,
        detectors: tuple[Detector, ...],
        lexicons: tuple[Lexicon, ...] = (),
        dictionaries: tuple[tuple[DictionaryTable, Dictionary], ...] = (),
    ) -> None:
        self.lexicons, self.dictionaries = lexicons, dictionaries
        lists = [detector.context for detector in detectors] + [table.context for table, _ in dictionaries]
        contexts = {words: index for index, words in enumerate(dict.fromkeys(lists))}
        self.contexts = contexts
        self.vocabulary = Vocabulary((lexicon.words for lexicon in lexicons), contexts)
        asked: dict[tuple[str, bool], tuple[Form, list[Entry]]] = {}
        for detector in detectors:
            context = contexts[detector.context] if detector.context else -1
            for form in detector.forms:
                _, entries = asked.setdefault((form.pattern, form.bounded), (form, []))
                entries.append(Entry(detector, form.alone, context))
        self.patterns = tuple(Pattern(form, tuple(entries)) for form, entries in asked.values())
        self.sure, self.needy = askers(self.patterns)
        self._all = Prefilter(enumerate(self.patterns))
        vague = {index for index, one in enumerate(self.patterns) if one.vague} - self.sure[Confidence.MEDIUM].keys()
        self._vague = {context: whose & vague for context, whose in self.needy.items() if whose & vague}
        self._telling = Prefilter((index, one) for index, one in enumerate(self.patterns) if index not in vague)
        led = ((index, pattern.body) for index, pattern in enumerate(self.patterns) if pattern.number_led)
        self._numbers = Together(led, at_start=True)

    def candidates(self, text: bytes, least: Confidence) -> list[int]:
        """Which patterns may match somewhere in ``text``; of the vague ones only where those may reach ``least``."""
        return (self._all if least is Confidence.LOW else self._telling).match(text)

    def vague(self, contexts: Collection[int]) -> frozenset[int]:
        """The vague patterns for which somebody has context words that are in the lists ``contexts``."""
        return frozenset().union(*[self._vague[context] for context in contexts if context in self._vague])

    def wanted(self, text: bytes, contexts: Collection[int], least: Confidence) -> list[int]:
        """Which patterns to search for in ``text``, where words of the lists ``contexts`` stand in it."""
        vague = self.vague(contexts) if least is not Confidence.LOW else ()
        if len(vague) > _MANY:
            return self._all.match(text)
        return [*self.candidates(text, least), *vague]

    def may_find(self, text: bytes, beside: Reading, least: Confidence) -> bool:
        """Whether something in ``text`` may count for at least ``least``, with the words of ``beside`` near it."""
        reading = self.vocabulary.read(text)
        possible = (*self.candidates(text, least), *self.vague(beside.contexts))
        if reading.phrases or any(self.patterns[index].occurs(text) for index in possible):
            return True
        return any(any(True for _ in one.find(reading.words, 0, len(text))) for _, one in self.dictionaries)

    def scan(
        self,
        text: bytes,
        start: int,
        end: int,
        budget: Budget,
        least: Confidence | None = None,
        reading: Reading | None = None,
    ) -> list[Hit]:
        """The hits that begin in ``text[start:end]``; the rest of ``text`` only gives context.

        ``text`` is normalised UTF-8 with a line feed at either end of the whole that it is a window of.  Hits below
        ``least``, or ``budget.least``, may be missing.  ``reading`` is the vocabulary's, where it is known.
        """
        window = _Window(self, text, start, end, budget, budget.least if least is None else least, reading)
        if self.lexicons:
            window.lexicons()
        if self.dictionaries:
            window.dictionaries()
        led: dict[int, tuple[Entry, ...]] = {}
        for index, wanted in window.wanted():
            if self.patterns[index].number_led:
                led[index] = wanted
            else:
                window.search(index, wanted)
        if len(led) > _FEW:
            window.numbers(led)
        else:
            for index, wanted in led.items():
                window.search(index, wanted)
        hits = window.hits
        if len(hits) > 1:
            hits.sort(key=lambda hit: (hit.start, hit.detector, -hit.confidence))
        return hits

    def at_number(self, text: bytes, begin: int) -> list[int]:
        """The patterns that match where a number begins."""
        return self._numbers.match(text[begin : begin + MAX_NUMBER])

    def stop_of(self, index: int, text: bytes, begin: int) -> int:
        """Where the match of pattern ``index`` that begins at ``begin`` ends."""
        end = min(begin + MAX_NUMBER, len(text))
        return _before(text, self.patterns[index].here(_HERE, text, begin, end)[0][1])


class _Window:
    """One text being scanned: what is asked of it, and the hits so far."""

    __slots__ = ("_budget", "_end", "_least", "_near", "_reading", "_scanner", "_start", "_text", "hits")

    def __init__(
        self,
        scanner: Scanner,
        text: bytes,
        start: int,
        end: int,
        budget: Budget,
        least: Confidence,
        reading: Reading | None,
    ) -> None:
        self._scanner, self._text, self._start, self._end = scanner, text, start, end
        self._budget, self._least = budget, least
        self._reading = reading
        self._near: Nearby | None = None
        self.hits: list[Hit] = []

    @property
    def reading(self) -> Reading:
        """The words of the text, looked at when they are first asked for."""
        if self._reading is None:
            self._reading = self._scanner.vocabulary.read(self._text)
        return self._reading

    @property
    def near(self) -> Nearby:
        """Where its context words stand, looked for when the first candidate asks."""
        if self._near is None:
            self._near = Nearby(self.reading)
        return self._near

    def wanted(self) -> Iterator[tuple[int, tuple[Entry, ...]]]:
        """The patterns to search for, each with those who ask for it and can get anything here that counts."""
        scanner, least = self._scanner, self._least
        contexts = self.reading.contexts if least is not Confidence.LOW else frozenset()
        for index in scanner.wanted(self._text, contexts, least):
            entries = scanner.patterns[index].entries
            if asking := tuple([entry for entry in entries if entry.alone >= least or entry.context in contexts]):
                yield index, asking

    def lexicons(self) -> None:
        """Look for the words of all lexicons."""
        lexicons = self._scanner.lexicons
        counts: dict[int, int] = {}
        for begin, stop, phrase in self.reading.lexicon_words(self._start, self._end):
            for owner in phrase.owners:
                lexicon = lexicons[owner]
                if lexicon.confidence < self._least:
                    continue
                # Negative, beside the patterns of detectors.
                key = -1 - owner
                left = counts[key] if key in counts else self._budget.left(key, certain=False)
                if left <= 0:
                    self._budget.exhausted = True
                    continue
                counts[key] = left - 1
                self.hits.append(Hit(begin, stop, f"lexicon:{lexicon.name}", phrase.key, lexicon.confidence, ""))
        for key, left in counts.items():
            self._budget.leave(key, left)

    def dictionaries(self) -> None:
        """Look for the values of all dictionaries."""
        for number, (table, dictionary) in enumerate(self._scanner.dictionaries):
            # Below those of lexicons.
            key = -1 - len(self._scanner.lexicons) - number
            left = self._budget.left(key, certain=True)
            for begin, stop, value in dictionary.find(self.reading.words, self._start, self._end):
                if left <= 0:
                    self._budget.exhausted = True
                    break
                left -= 1
                confidence, reason = table.confidence, "in the list"
                if table.context:
                    word = self.near.word(self._scanner.contexts[table.context], begin, stop)
                    confidence = confidence if word else min(confidence, Confidence.MEDIUM)
                    reason = f'in the list, near "{word}"' if word else "in the list, no context word"
                if confidence >= self._least:
                    self.hits.append(Hit(begin, stop, f"dictionary:{table.name}", value, confidence, reason))
            self._budget.leave(key, left)

    def search(self, index: int, wanted: tuple[Entry, ...]) -> None:
        """Search for one pattern."""
        pattern = self._scanner.patterns[index]
        left = self._budget.left(index, certain=pattern.certain)
        for begin, stop in _occurrences(pattern, self._text, self._start, self._end):
            if left <= 0:
                self._budget.exhausted = True
                break
            left -= 1
            self._take(wanted, begin, stop)
        self._budget.leave(index, left)

    def numbers(self, led: dict[int, tuple[Entry, ...]]) -> None:
        """Look at the beginning of every number which of the patterns ``led`` match there: the same hits, sooner."""
        text, scanner, budget = self._text, self._scanner, self._budget
        left = {index: budget.left(index, certain=scanner.patterns[index].certain) for index in led}
        for number in _NUMBER.finditer(text, self._start, self._end):
            begin = number.start()
            if text[begin - 1 : begin].isalnum():
                continue
            for index in scanner.at_number(text, begin):
                if index not in left:
                    continue
                if left[index] <= 0:
                    budget.exhausted = True
                    budget.leave(index, left.pop(index))
                    continue
                left[index] -= 1
                self._take(led[index], begin, scanner.stop_of(index, text, begin))
            if not left:
                break
        for index, rest in left.items():
            budget.leave(index, rest)

    def _take(self, wanted: tuple[Entry, ...], begin: int, stop: int) -> None:
        """Judge the candidate ``begin:stop`` for everybody who asked for it."""
        candidate = self._text[begin:stop]
        for entry in wanted:
            # What counts for nothing without a context word, and has none near, is not worth its proof.
            if entry.alone < self._least and len(candidate) <= _SHORT and not self._any_near(entry, begin, stop):
                continue
            proof = self._budget.proof(entry.detector, candidate)
            if proof is not None:
                length = proof.length if candidate.isascii() else _bytes_of(candidate, proof.length)
                self._weigh(entry, proof, begin, begin + length)

    def _any_near(self, entry: Entry, begin: int, stop: int) -> bool:
        """Whether a context word stands near the candidate, or near what a proof may leave of it."""
        context = entry.context
        return bool(self.near.word(context, begin, stop) or self.near.word(context, begin, begin))

    def _weigh(self, entry: Entry, proof: Proof, begin: int, stop: int) -> None:
        """How sure a proved candidate is, by what stands around it; nothing when that refutes it."""
        detector, text = entry.detector, self._text
        doubts: list[str] = []
        if detector.refuse or detector.doubt:
            before, after = text[max(begin - _CONTEXT_BYTES, 0) : begin], text[stop : stop + _CONTEXT_BYTES]
            around = Surroundings(before, after, text[begin:stop])
            for refuse in detector.refuse:
                if refuse(around):
                    return
            doubts = [reason for doubt in detector.doubt if (reason := doubt(around))]
        confidence, reason = min(entry.alone, Confidence.MEDIUM), f"{detector.proof}, no context word"
        if entry.alone is Confidence.HIGH and not doubts:
            confidence, reason = Confidence.HIGH, detector.proof
        elif entry.context >= 0 and (word := self.near.word(entry.context, begin, stop)):
            confidence, reason = Confidence.HIGH, f'{detector.proof}, near "{word}"'
        elif doubts:
            reason = doubts[0]
        if confidence >= self._least:
            self.hits.append(Hit(begin, stop, detector.name, proof.value, confidence, reason))


def _bytes_of(candidate: bytes, characters: int) -> int:
    return len(candidate.decode("utf-8", "replace")[:characters].encode())


def _width(lead: int) -> int:
    """How many bytes the UTF-8 character has that begins with ``lead``."""
    return 1 if lead < 0xC0 else 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4


def _before(text: bytes, position: int) -> int:
    """Where the character begins that ends at ``position``."""
    position -= 1
    while 0x80 <= text[position] < 0xC0:
        position -= 1
    return position


def _occurrences(pattern: Pattern, text: bytes, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Where candidates begin in ``start:end``, each beginning tried once, overlapping ones included."""
    match, bounded, size = pattern.match, pattern.form.bounded, len(text)
    position = max(start - 8, 0)
    while True:
        begin, stop = match(UNANCHORED, text, position, size)[0]
        if begin < 0:
            return
        if bounded:
            begin, stop = begin + _width(text[begin]), _before(text, stop)
        if begin >= end:
            return
        if begin >= start:
            yield begin, stop
        # A form without bounds begins where its match does, and must not be found there again.
        position = begin if bounded else begin + 1
