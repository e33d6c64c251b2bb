"""The readings of one text: as declared, as UTF-8, as latin-1; for HTML its source and what a reader sees.

Fed with decoded bytes in pieces of any size, it scans windows of a fixed size, so results do not depend on how the
text arrived, and memory does not depend on its length.
"""

from __future__ import annotations

import codecs
import re
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import replace

from restante.classify.disguise import LONGEST_LINE, addresses, disguises
from restante.classify.finding import QUOTED
from restante.classify.markup import Page, declared_charset, hold_back, page, unescape
from restante.classify.nearby import CONTEXT
from restante.classify.scan import MARGIN, Budget, Hit, Scanner
from restante.classify.text import codec_of, is_wide, normalise
from restante.classify.vocabulary import Reading

WINDOW = 1 << 16
_QUOTE = re.compile(rb"</?blockquote")
_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))

Report = Callable[[Hit], None]
Observe = Callable[[str, bytes, int, int, list[Hit]], None]
"""Told what was scanned, for who explains: the name of the reading, a window, where its new text begins and ends, and
the hits that begin there."""


class _Target:
    """Where the text of a reading goes: to the scanner, then to who looks on, and its hits to ``report``."""

    __slots__ = ("_budget", "_joined", "_observe", "_report", "_scanner")

    def __init__(
        self, scanner: Scanner, budget: Budget, report: Report, observe: Observe | None, *, joined: bool
    ) -> None:
        self._scanner, self._budget, self._report, self._observe = scanner, budget, report, observe
        self._joined = joined

    def scan(self, reading: str, text: bytes, start: int, end: int, words: Reading | None = None) -> None:
        """Scan ``text[start:end]``; what stands around it gives context.  ``words`` are those of ``text``, if known."""
        hits = self._scanner.scan(text, start, end, self._budget, reading=words)
        if self._observe is not None:
            self._observe(reading, text, start, end, hits)
        if hits:
            quotations = Quotations(text)
            for hit in hits:
                self._report(replace(hit, reason=_and_quoted(hit.reason)) if hit.start in quotations else hit)

    def whole(self, reading: str, text: bytes) -> None:
        """Scan all of ``text`` at once."""
        padded = b"\n%b\n" % text
        self.scan(reading, padded, 0, len(padded))

    def page(self, read: Page, source: bytes, seen: bytes, *, source_is_shown: bool) -> None:
        """Scan what is seen of a page, and its ``source`` where that may say more."""
        padded = b"\n%b\n" % seen
        words = self._scanner.vocabulary.read(padded)
        unseen = b"\n%b\n" % normalise(unescape(read.unseen))
        in_full = source_is_shown or read.apart or self._scanner.may_find(unseen, words, self._budget.least)
        if in_full:
            self.whole("utf-8, HTML source", source)
        if not in_full or seen != source:
            self.scan("utf-8, HTML as seen", padded, 0, len(padded), words)

    def others(self, codec: str, source: bytes, text: str, seen: bytes) -> None:
        """The readings that only some texts have: ``seen`` is what a reader sees, ``text`` the same unnormalised."""
        escaped = addresses(source)
        if escaped:
            self.whole(f"{codec}, web addresses decoded", normalise(escaped))
        for name, other in disguises(text, seen, joined=self._joined):
            self.whole(f"{codec}, {name}", normalise(other) if isinstance(other, str) else other)


def _and_quoted(reason: str) -> str:
    return f"{reason}, {QUOTED}" if reason else QUOTED


class Quotations:
    """Where in a text lines, or elements of HTML, are quoted from another message."""

    def __init__(self, text: bytes) -> None:
        self._text = text
        self._elements = [found.start() for found in _QUOTE.finditer(text)] if b"<blockquote" in text else []

    def __contains__(self, start: int) -> bool:
        line = self._text.rfind(b"\n", max(start - LONGEST_LINE, 0), start) + 1
        if line and self._text[line : line + 8].lstrip(b" \t").startswith(b">"):
            return True
        before = bisect_right(self._elements, start) - 1
        return before >= 0 and self._text[self._elements[before] + 1] != 0x2F  # a slash: an end tag


class _Window:
    """Normalised text passing by: keeps the margin that matches at the edge of a window need."""

    __slots__ = ("_done", "_reading", "_tail", "_target")

    def __init__(self, target: _Target, reading: str) -> None:
        self._target, self._reading = target, reading
        self._tail = b"\n"
        self._done = 0

    def copy(self, codec: str) -> _Window:
        """A second window at the same place, for a reading in another ``codec`` that parts ways here."""
        reading = codec + self._reading[self._reading.find(",") :] if "," in self._reading else codec
        twin = _Window(self._target, reading)
        twin._tail, twin._done = self._tail, self._done
        return twin

    def feed(self, data: bytes, *, final: bool) -> None:
        """Scan what can be decided with ``data`` in hand."""
        text = self._tail + data + (b"\n" if final else b"")
        end = len(text) if final else len(text) - MARGIN
        if end > self._done:
            self._target.scan(self._reading, text, self._done, end)
            self._done = end
        keep = max(self._done - MARGIN, 0)
        self._tail = text[keep:]
        self._done -= keep


class _Lane:
    """One charset's reading of a text, as plain text or as HTML."""

    def __init__(self, codec: str, windows: list[_Window], target: _Target, *, html: bool) -> None:
        self.codec = codec
        self.windows = windows
        self._target = target
        self._html = html
        self._decoder = codecs.getincrementaldecoder(codec)("replace")
        self._held = ""
        self._before = b""

    def twin(self, codec: str) -> _Lane:
        """A lane that has seen the same (so far ASCII) text and goes on in another charset."""
        lane = _Lane(codec, [window.copy(codec) for window in self.windows], self._target, html=self._html)
        lane._held, lane._before = self._held, self._before
        return lane

    def feed(self, raw: bytes, *, final: bool) -> None:
        """Decode, normalise and scan."""
        try:
            text = self._decoder.decode(raw, final)
        except (UnicodeError, ValueError):
            # Some multi-byte decoders refuse even with "replace"; the other lanes still read the text.
            text = ""
        if self._html:
            text = self._held + text
            cut = len(text) if final else hold_back(text)
            self._held, text = text[cut:], text[:cut]
        source = seen = normalise(unescape(text) if self._html else text)
        self.windows[0].feed(source, final=final)
        if self._html:
            text = unescape(page(text).seen)
            seen = normalise(text)
            self.windows[1].feed(seen, final=final)
        # What is broken over the end of a piece stands whole in neither, hence the end of the one before.
        self._target.others(self.codec, source, text, self._before + seen)
        self._before = seen[-CONTEXT:]


class TextScan:
    """All readings of one text.  Feed decoded bytes, then close; every hit goes to ``report``.

    ``html`` reads it as HTML too; ``source_is_shown`` says that to some readers it is none.
    """

    def __init__(
        self,
        scanner: Scanner,
        budget: Budget,
        report: Report,
        *,
        charsets: tuple[str, ...] = (),
        html: bool = False,
        source_is_shown: bool = False,
        joined: bool = False,
        observe: Observe | None = None,
    ) -> None:
        self._target = _Target(scanner, budget, report, observe, joined=joined)
        self._pending: list[bytes] = []
        self._size = 0
        self._html, self._source_is_shown = html, source_is_shown
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
        if not self._lanes:
            self._sniff(raw)
        text = None if self._lanes else self._only_reading(raw)
        if text is None:
            self._block(raw, final=True)
        else:
            self._short(text, raw)

    def _sniff(self, raw: bytes) -> None:
        """What the text itself says of its charset: a page in its head, Japanese mail by its escape sequences."""
        found = [codec_of(declared_charset(raw))] if self._html else []
        if b"\x1b" in raw and (b"\x1b$" in raw or b"\x1b(" in raw):
            found.append("iso2022_jp_2")
        self._declared += [codec for codec in found if codec and codec not in self._declared]

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

    def _short(self, text: str, raw: bytes) -> None:
        """A text that fits into one window and has one reading, as which ``raw`` is UTF-8, needs no lanes."""
        if not self._html:
            seen = normalise(text, raw)
            self._target.whole("utf-8", seen)
            self._target.others("utf-8", seen, text, seen)
            return
        read = page(text, raw)
        shown = unescape(text)
        source = normalise(shown, raw if shown is text else None)
        text = unescape(read.seen)
        seen = normalise(text)
        self._target.page(read, source, seen, source_is_shown=self._source_is_shown)
        self._target.others("utf-8", source, text, seen)

    def _block(self, raw: bytes, *, final: bool) -> None:
        first = not self._lanes
        if first:
            self._sniff(raw)
            names = ("utf-8, HTML source", "utf-8, HTML as seen") if self._html else ("utf-8",)
            windows = [_Window(self._target, name) for name in names]
            self._lanes = [_Lane("utf-8", windows, self._target, html=self._html)]
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
