"""The readings of one text: as declared, as UTF-8, as latin-1; for HTML its source and what a reader sees.

Fed with decoded bytes in pieces of any size, it scans windows of a fixed size, so results do not depend on how the
text arrived, and memory does not depend on its length.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable

from restante.classify.scan import MARGIN, Budget, Hit, Scanner
from restante.classify.text import codec_of, hold_back, is_wide, normalise, unescape, visible

WINDOW = 1 << 16
_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))

Report = Callable[[Hit], None]
Observe = Callable[[str, bytes, int, int, list[Hit]], None]
"""Told what was scanned, for who explains: the name of the reading, a window, where its new text begins and ends, and
the hits that begin there."""


class _Window:
    """Normalised text passing by: keeps the margin that matches at the edge of a window need."""

    __slots__ = ("_budget", "_done", "_observe", "_reading", "_report", "_scanner", "_tail")

    def __init__(
        self, scanner: Scanner, budget: Budget, report: Report, reading: str = "", observe: Observe | None = None
    ) -> None:
        self._scanner, self._budget, self._report = scanner, budget, report
        self._reading, self._observe = reading, observe
        self._tail = b"\n"
        self._done = 0

    def copy(self, codec: str) -> _Window:
        """A second window at the same place, for a reading in another ``codec`` that parts ways here."""
        reading = codec + self._reading[self._reading.find(",") :] if "," in self._reading else codec
        twin = _Window(self._scanner, self._budget, self._report, reading, self._observe)
        twin._tail, twin._done = self._tail, self._done
        return twin

    def feed(self, data: bytes, *, final: bool) -> None:
        """Scan what can be decided with ``data`` in hand."""
        text = self._tail + data + (b"\n" if final else b"")
        end = len(text) if final else len(text) - MARGIN
        if end > self._done:
            hits = self._scanner.scan(text, self._done, end, self._budget)
            if self._observe is not None:
                self._observe(self._reading, text, self._done, end, hits)
            for hit in hits:
                self._report(hit)
            self._done = end
        keep = max(self._done - MARGIN, 0)
        self._tail = text[keep:]
        self._done -= keep


class _Lane:
    """One charset's reading of a text, as plain text or as HTML."""

    def __init__(self, codec: str, windows: list[_Window], *, html: bool) -> None:
        self.codec = codec
        self.windows = windows
        self._html = html
        self._decoder = codecs.getincrementaldecoder(codec)("replace")
        self._held = ""

    def twin(self, codec: str) -> _Lane:
        """A lane that has seen the same (so far ASCII) text and goes on in another charset."""
        lane = _Lane(codec, [window.copy(codec) for window in self.windows], html=self._html)
        lane._held = self._held
        return lane

    def feed(self, raw: bytes, *, final: bool) -> None:
        """Decode, normalise and scan."""
        try:
            text = self._decoder.decode(raw, final)
        except (UnicodeError, ValueError):
            # Some multi-byte decoders refuse even with "replace"; the other lanes still read the text.
            text = ""
        if not self._html:
            self.windows[0].feed(normalise(text), final=final)
            return
        text = self._held + text
        cut = len(text) if final else hold_back(text)
        self._held = text[cut:]
        text = text[:cut]
        self.windows[0].feed(normalise(unescape(text)), final=final)
        self.windows[1].feed(normalise(unescape(visible(text))), final=final)


class TextScan:
    """All readings of one text.  Feed decoded bytes, then close; every hit goes to ``report``."""

    def __init__(
        self,
        scanner: Scanner,
        budget: Budget,
        report: Report,
        *,
        charsets: tuple[str, ...] = (),
        html: bool = False,
        joined: bool = False,
        observe: Observe | None = None,
    ) -> None:
        self._scanner, self._budget, self._report, self._observe = scanner, budget, report, observe
        self._joined = joined
        self._pending: list[bytes] = []
        self._size = 0
        self._html = html
        self._declared = [codec for charset in charsets if (codec := codec_of(charset))]
        self._lanes: list[_Lane] = []

    def feed(self, data: bytes) -> None:
        """More of the text."""
        self._pending.append(data)
        self._size += len(data)
        if self._size >= WINDOW:
            text = b"".join(self._pending)
            position = 0
            while len(text) - position >= WINDOW:
                self._block(text[position : position + WINDOW], final=False)
                position += WINDOW
            self._pending = [text[position:]]
            self._size = len(text) - position

    def close(self) -> None:
        """The text is complete."""
        raw = b"".join(self._pending)
        self._pending = []
        text = None if self._lanes else self._only_reading(raw)
        if text is None:
            self._block(raw, final=True)
        else:
            self._short(text)

    def _only_reading(self, raw: bytes) -> str | None:
        """``raw`` as text, when every reading of it would be the same."""
        if raw.isascii():
            return None if any(map(is_wide, self._declared)) else raw.decode("ascii")
        if any(codec != "utf-8" for codec in self._declared):
            return None
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            return None

    def _short(self, text: str) -> None:
        """A text that fits into one window and has one reading needs no lanes."""
        source = normalise(unescape(text) if self._html else text)
        self._whole(source, "utf-8, HTML source" if self._html else "utf-8")
        if self._html and "<" in text:
            seen = normalise(unescape(visible(text)))
            if seen != source:
                self._whole(seen, "utf-8, HTML as seen")

    def _whole(self, text: bytes, reading: str) -> None:
        padded = b"\n%b\n" % text
        hits = self._scanner.scan(padded, 0, len(padded), self._budget)
        if self._observe is not None:
            self._observe(reading, padded, 0, len(padded), hits)
        for hit in hits:
            self._report(hit)

    def _block(self, raw: bytes, *, final: bool) -> None:
        first = not self._lanes
        if first:
            names = ("utf-8, HTML source", "utf-8, HTML as seen") if self._html else ("utf-8",)
            windows = [_Window(self._scanner, self._budget, self._report, name, self._observe) for name in names]
            self._lanes = [_Lane("utf-8", windows, html=self._html)]
            self._lanes += [self._lanes[0].twin(codec) for codec in self._declared if is_wide(codec)]
        if not raw.isascii():
            self._diversify(raw, first=first)
        for lane in self._lanes:
            lane.feed(raw, final=final)

    def _diversify(self, raw: bytes, *, first: bool) -> None:
        """Open the lanes whose readings part from UTF-8 here, where the text is no longer plain ASCII."""
        present = {lane.codec for lane in self._lanes}
        wanted = [codec for codec in self._declared if codec != "utf-8"]
        if first:
            wanted += [codec for mark, codec in _BOMS if raw.startswith(mark)]
        if not _is_utf8(raw):
            wanted.append("iso8859-1")
        for codec in wanted:
            if codec not in present:
                present.add(codec)
                self._lanes.append(self._lanes[0].twin(codec))


def _is_utf8(raw: bytes) -> bool:
    """Whether ``raw`` is UTF-8, but for characters cut at its ends."""
    start = 0
    while start < min(3, len(raw)) and 0x80 <= raw[start] < 0xC0:
        start += 1
    try:
        codecs.getincrementaldecoder("utf-8")("strict").decode(raw[start:])
    except UnicodeDecodeError:
        return False
    return True
