"""What a classification looked at, kept for an explanation: each text in each of its readings, and where it matched.

Bounded in memory whatever the message holds: the beginning of each reading, and what stands around matches further
on, up to a total.  What is kept is plain text: whoever shows it masks it (:mod:`restante.masking`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from restante.classify.finding import Confidence
from restante.classify.readings import Observe
from restante.classify.scan import Hit

HEAD = 32 << 10  # bytes of each reading that are kept from its beginning
AROUND = 400  # bytes kept either side of a match that stands further on
MOST_KEPT = 4 << 20  # bytes kept of one message
MOST_MATCHES = 20_000
MOST_TEXTS = 2_000


@dataclass(frozen=True, slots=True)
class Match:
    """One hit: byte offsets in its reading, and what was found."""

    start: int
    stop: int
    detector: str
    value: str = field(repr=False)
    confidence: Confidence


@dataclass(slots=True)
class Reading:
    """One reading of one text: ``name`` is the charset, and for HTML whether the source or what is seen.

    ``size`` counts all of its bytes, ``pieces`` are those kept, with their offsets, in order and without overlap.
    """

    name: str
    size: int = 0
    matches: list[Match] = field(default_factory=list)
    _kept: list[tuple[int, bytes]] = field(default_factory=list, repr=False)

    @property
    def pieces(self) -> Iterator[tuple[int, str]]:
        """Byte offset and text of each stretch that was kept."""
        joined: list[tuple[int, bytearray]] = []
        for offset, data in sorted(self._kept, key=lambda piece: piece[0]):
            if joined and offset <= joined[-1][0] + len(joined[-1][1]):
                begin, before = joined[-1]
                before += data[begin + len(before) - offset :]
            else:
                joined.append((offset, bytearray(data)))
        for offset, whole in joined:
            cut = next((at for at in range(min(4, len(whole))) if whole[at] & 0xC0 != 0x80), 0)
            yield offset + cut, bytes(whole[cut:]).decode("utf-8", "ignore")

    def keep(self, offset: int, data: bytes) -> int:
        """Keep ``data``; how much that was."""
        self._kept.append((offset, data))
        return len(data)


@dataclass(slots=True)
class Text:
    """One text of the message: its place, what transfer encoding was undone, its readings by name."""

    place: str
    decoding: str
    readings: dict[str, Reading] = field(default_factory=dict)


class TextRecorder:
    """A :class:`restante.classify.session.Recorder`.  One for each classification; not shared between threads.

    ``complete`` is false where a bound was reached, so that an explanation can say that there is more.
    """

    def __init__(self) -> None:
        self.texts: list[Text] = []
        self.complete = True
        self._left = MOST_KEPT
        self._matches_left = MOST_MATCHES

    def part(self, place: str, decoding: str) -> Observe:
        """Begin the text in ``place``."""
        text = Text(place, decoding)
        if len(self.texts) < MOST_TEXTS:
            self.texts.append(text)
        else:
            self.complete = False

        def observe(name: str, window: bytes, start: int, end: int, hits: list[Hit]) -> None:
            reading = text.readings.setdefault(name, Reading(name))
            self._head(reading, window, start, end)
            self._hits(reading, window, reading.size - start, hits)
            reading.size += end - start

        return observe

    def values(self) -> dict[str, str]:
        """Every value that was found, with its detector."""
        return {
            match.value: match.detector
            for text in self.texts
            for reading in text.readings.values()
            for match in reading.matches
        }

    def _head(self, reading: Reading, window: bytes, start: int, end: int) -> None:
        wanted = min(end - start, HEAD - reading.size, self._left)
        if wanted > 0:
            self._left -= reading.keep(reading.size, window[start : start + wanted])

    def _hits(self, reading: Reading, window: bytes, base: int, hits: list[Hit]) -> None:
        for hit in hits:
            if self._matches_left <= 0:
                self.complete = False
                return
            self._matches_left -= 1
            reading.matches.append(Match(base + hit.start, base + hit.stop, hit.detector, hit.value, hit.confidence))
            if base + hit.stop + AROUND > HEAD:
                begin = max(hit.start - AROUND, 0)
                around = window[begin : hit.stop + AROUND]
                if len(around) <= self._left:
                    self._left -= reading.keep(base + begin, around)
                else:
                    self.complete = False
