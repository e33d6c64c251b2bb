"""The texts of a message as an explanation shows them: by part and reading, cut to a length, matches masked and marked.

Pure.  Of several readings of one text, those are shown that found something no other had found; without any match, the
one that a person would see.  The raw bytes are shown only around what stands nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate

from restante.classify.recorder import Match, Reading, Text, TextRecorder
from restante.masking import Segment, Span, masked

AROUND = 80  # characters either side of a match, where a text is too long to be shown whole
LIMIT = 2_000  # characters shown of one reading
MOST_READINGS = 200
HEADER = "header"  # the text of all fields of the message itself; a finding in one has its own place


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A stretch of masked text; ``cut`` says whether the text goes on before or behind it."""

    segments: tuple[Segment, ...]
    cut: bool


@dataclass(frozen=True, slots=True)
class ShownReading:
    """One reading: ``name`` says how it came about, ``size`` is in bytes, ``matches`` counts all it found."""

    place: str
    name: str
    size: int
    matches: int
    excerpts: tuple[Excerpt, ...]


def shown(recorder: TextRecorder, limit: int = LIMIT) -> tuple[ShownReading, ...]:
    """What to show of everything that ``recorder`` kept, at most ``limit`` characters of each reading."""
    values = recorder.values()
    return tuple(
        ShownReading(
            text.place,
            reading_name(text, reading),
            max(reading.size - 2, 0),  # without the line feeds that scanning puts around a text
            len(reading.matches),
            tuple(_excerpts(reading, values, limit)),
        )
        for text, reading in list(_chosen(recorder.texts))[:MOST_READINGS]
    )


def reading_name(text: Text, reading: Reading) -> str:
    """How a reading came about: what was undone, and what was taken for its charset."""
    return f"{text.decoding}, {reading.name}" if text.decoding else reading.name


def readings_of(recorder: TextRecorder) -> dict[tuple[str, str, str], list[str]]:
    """By place, detector and value: the names of the readings in which it was found."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for text in recorder.texts:
        for reading in text.readings.values():
            name = reading_name(text, reading)
            for match in reading.matches:
                names = found.setdefault((text.place, match.detector, match.value), [])
                if name not in names:
                    names.append(name)
    return found


def _chosen(texts: list[Text]) -> Iterator[tuple[Text, Reading]]:
    known: set[tuple[str, str]] = set()
    for text in texts:
        raw = text.place == "structure"
        # What a person sees comes first, so that its source is shown only where it says more.
        readings = sorted(text.readings.values(), key=_unlike_a_person)
        here: set[tuple[str, str]] = known if raw else set()
        chosen = []
        for reading in readings:
            new = {(match.detector, match.value) for match in reading.matches} - here
            here |= new
            if new:
                chosen.append(reading)
        known |= here
        if not chosen and not raw and text.place != HEADER:
            chosen = [reading for reading in readings if any(piece.strip() for _, piece in reading.pieces)][:1]
        yield from ((text, reading) for reading in chosen)


def _unlike_a_person(reading: Reading) -> tuple[bool, bool]:
    """Sorts what a person would see before its source, and what could be decoded before what could not."""
    undecodable = any("\N{REPLACEMENT CHARACTER}" in piece for _, piece in reading.pieces)
    return not reading.name.endswith("as seen"), undecodable


def _excerpts(reading: Reading, values: dict[str, str], limit: int) -> Iterator[Excerpt]:
    left = limit
    matches = sorted(reading.matches, key=lambda match: match.start)
    for offset, text in reading.pieces:
        spans = _spans(offset, text, matches)
        segments = masked(text, spans, values)
        for start, stop in _windows(text, spans, left):
            whole = offset <= 0 and start == 0 and stop == len(text) and len(text.encode()) >= reading.size
            yield Excerpt(tuple(_slice(segments, start, stop)), cut=not whole)
            left -= stop - start
        if left <= 0 or not matches:
            return


def _spans(offset: int, text: str, matches: list[Match]) -> list[Span]:
    """The matches that stand in ``text``, which begins at ``offset``, by characters."""
    # Offsets of characters by those of bytes; the same where the text is ASCII.
    where: dict[int, int] = {}
    if not text.isascii():
        widths = (len(character.encode()) for character in text)
        where = {byte: number for number, byte in enumerate(accumulate(widths, initial=0))}
    end = offset + len(text.encode())
    spans = []
    for match in matches:
        if match.start < offset or match.start >= end:
            continue
        start, stop = match.start - offset, min(match.stop, end) - offset
        if where:
            start, stop = where.get(start, 0), where.get(stop, len(text))
        spans.append(Span(start, stop, match.detector))
    return spans


def _windows(text: str, spans: list[Span], limit: int) -> Iterator[tuple[int, int]]:
    """What to show of ``text``: all of it, what stands around matches, or its beginning."""
    if len(text) <= limit:
        yield 0, len(text)
        return
    if not spans:
        yield 0, min(limit, AROUND * 4)
        return
    begin, end = -1, -1
    for span in spans:
        start, stop = max(span.start - AROUND, 0), min(span.stop + AROUND, len(text))
        if start <= end:
            end = max(end, stop)
            continue
        if begin >= 0:
            if limit < end - begin:
                return
            limit -= end - begin
            yield begin, end
        begin, end = start, stop
    if end - begin <= limit:
        yield begin, end


def _slice(segments: tuple[Segment, ...], start: int, stop: int) -> Iterator[Segment]:
    at = 0
    for segment in segments:
        text = segment.text[max(start - at, 0) : max(stop - at, 0)]
        at += len(segment.text)
        if text:
            yield Segment(text, segment.detector)
