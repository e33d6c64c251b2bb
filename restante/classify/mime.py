"""Walking a message as bytes (RFC 2046): entities in their order, bodies in blocks, in bounded memory, iteratively.

The walk never raises on any input.  Whatever two readers could take differently is reported as ambiguous, and
whatever lies beyond the caps as not inspected; the caller then scans the raw bytes as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from restante.classify.headers import HeaderBlock, parse_fields, well_formed

BLOCK = 1 << 16
MAX_HEADER = 256 << 10
MAX_LINE = 1100  # a delimiter line is at most 78 bytes (RFC 2046, section 5.1.1); generous for padding

_LOOK_BEHIND, _LOOK_AHEAD = 16, 40
_BEFORE = re.compile(rb"(?:\r|\n[ \t\0\v\f]+)\Z")
_AFTER = re.compile(rb"(?:--)?[ \t]*(?:[\r\n]|\Z)")


@dataclass(frozen=True, slots=True)
class Delimiter:
    """A boundary line: its level in the stack of open multiparts, and whether it closes that level."""

    level: int
    closing: bool


class Boundaries:
    """The open boundaries, outermost first, and those already closed."""

    def __init__(self) -> None:
        self.open: list[tuple[bytes, ...]] = []
        self._level: dict[bytes, int] = {}
        self._closed: set[bytes] = set()
        self.defect = ""

    @property
    def used(self) -> bool:
        """Whether any boundary is or was open."""
        return bool(self.open or self._closed)

    def push(self, *boundaries: bytes) -> None:
        """Open a multipart, whose parts begin at any of ``boundaries``: more than one where readers disagree."""
        for boundary in boundaries:
            if boundary in self._level:
                self.defect = self.defect or "one boundary used on two levels"
            else:
                self._level[boundary] = len(self.open)
        self.open.append(boundaries)

    def pop_to(self, level: int) -> None:
        """Close every multipart from ``level`` inwards."""
        while len(self.open) > level:
            for boundary in self.open.pop():
                if self._level.get(boundary) == len(self.open):
                    del self._level[boundary]
                self._closed.add(boundary)

    def stray(self, data: bytes, *, final: bool) -> int:
        """Notice delimiters in ``data`` that only some readers see: indented, or behind a bare carriage return.

        The result says from where in ``data`` it must be given again, with what follows; ``final``: nothing follows.
        """
        keep = _LOOK_BEHIND
        for boundaries in self.open:
            for boundary in boundaries:
                marker = b"--" + boundary
                keep = max(keep, len(marker) + _LOOK_BEHIND + _LOOK_AHEAD)
                found = data.find(marker)
                while found >= 0 and (final or found + len(marker) + _LOOK_AHEAD <= len(data)):
                    after = data[found + len(marker) : found + len(marker) + _LOOK_AHEAD]
                    if _BEFORE.search(data[max(found - _LOOK_BEHIND, 0) : found]) and _AFTER.match(after):
                        self.defect = self.defect or "a boundary that does not stand at the beginning of a line"
                        return len(data)
                    found = data.find(marker, found + 1)
        return len(data) if final else max(len(data) - keep, 0)

    def match(self, line: bytes) -> Delimiter | None:
        """What ``line``, which begins with two hyphens, delimits."""
        text = line[2:].rstrip(b" \t\r\n")
        level = self._level.get(text)
        if level is not None:
            return Delimiter(level, closing=False)
        if text.endswith(b"--"):
            level = self._level.get(text[:-2])
            if level is not None:
                return Delimiter(level, closing=True)
        if text in self._closed:
            self.defect = self.defect or "a part after the closing boundary"
        elif any(map(text.startswith, self.open)):
            self.defect = self.defect or "a line that only begins like a boundary"
        return None


class Reader:
    """A message in blocks.  ``delimiter`` is what ended the last header block or body; ``None`` at the end of file."""

    def __init__(self, source: BinaryIO, boundaries: Boundaries, block: int = BLOCK) -> None:
        self._source = source
        self._boundaries = boundaries
        self._block = block
        self._buffer = b""
        self._position = 0
        self._ended = False
        self.delimiter: Delimiter | None = None

    def _fill(self) -> bool:
        """Read one more block; false at the end of file."""
        if self._ended:
            return False
        data = self._source.read(self._block)
        if not data:
            self._ended = True
            return False
        self._buffer = self._buffer[self._position :] + data
        self._position = 0
        return True

    def _line(self, limit: int) -> bytes:
        """The next line with its end, or its first ``limit`` bytes or so."""
        while True:
            end = self._buffer.find(b"\n", self._position)
            if end >= 0:
                break
            if len(self._buffer) - self._position >= limit or not self._fill():
                end = len(self._buffer) - 1
                break
        end = min(end, self._position + limit - 1)
        line = self._buffer[self._position : end + 1]
        self._position = end + 1
        return line

    def headers(self) -> HeaderBlock:
        """The fields up to the empty line, a delimiter or the end of file.

        A line that is no field ends the block, and is left to be read as body (what Python's and many other
        parsers do; others skip it, hence ``broken``).
        """
        self.delimiter = None
        if self._position == len(self._buffer):
            self._fill()
        quick = well_formed(self._buffer, self._position)
        if quick is not None:
            block, self._position = quick
            return block
        lines: list[bytes] = []
        size, overlong, broken, fresh, ended = 0, False, "", True, False
        while line := self._line(MAX_HEADER):
            if fresh:
                ended, broken = self._stops(line, first=not lines)
                if ended:
                    break
            size += len(line)
            if size <= MAX_HEADER:
                lines.append(line)
            else:
                overlong = True
            fresh = line.endswith(b"\n")
        block = parse_fields(lines)
        block.overlong = overlong
        block.broken = block.broken or broken
        return block

    def _stops(self, line: bytes, *, first: bool) -> tuple[bool, str]:
        """Whether the header ends at ``line``, and what is doubtful about that."""
        if line in {b"\n", b"\r\n"}:
            return True, ""
        if line.startswith(b"--") and self._boundaries.open:
            self.delimiter = self._boundaries.match(line)
            if self.delimiter:
                return True, "" if first else "a part without an empty line after its header"
        if b":" in line or line[:1] in b" \t" or (first and line.startswith(b"From ")):
            return False, ""
        self._position -= len(line)
        return True, "a line without a colon among the header fields"

    def peek(self, size: int) -> bytes:
        """The next ``size`` bytes, or what there is of them."""
        while len(self._buffer) - self._position < size and self._fill():
            pass
        return self._buffer[self._position : self._position + size]

    def body(self) -> Iterator[bytes]:
        """The bytes up to the next delimiter line of any open multipart, without the line end before it."""
        tail = b"\n"
        for data in self._pieces():
            if self._boundaries.open:
                tail += data
                tail = tail[self._boundaries.stray(tail, final=False) :]
            yield data
        if self._boundaries.open:
            self._boundaries.stray(tail, final=True)

    def _pieces(self) -> Iterator[bytes]:
        self.delimiter = None
        if not self._boundaries.used:
            yield from self._rest()
            return
        search = self._position
        line_start = True
        while True:
            start = self._delimiter_line(search, at_start=line_start)
            if start < 0:
                if self._ended:
                    yield self._take(len(self._buffer))
                    return
                keep = max(len(self._buffer) - 4, self._position)
                # The first line stays "at start" only while nothing of it was given away.
                if keep > self._position:
                    yield self._take(keep)
                    line_start = False
                self._fill()
                search = self._position
                continue
            while self._buffer.find(b"\n", start) < 0 and len(self._buffer) - start < MAX_LINE:
                offset = start - self._position
                if not self._fill():
                    break
                start = self._position + offset
            end = self._buffer.find(b"\n", start)
            end = len(self._buffer) if end < 0 else end + 1
            found = self._boundaries.match(self._buffer[start : min(end, start + MAX_LINE)])
            if found:
                yield self._before(start)
                self._position = end
                self.delimiter = found
                return
            line_start = False
            search = start + 1

    def _delimiter_line(self, search: int, *, at_start: bool) -> int:
        """Where the next line that begins with two hyphens begins; -1 when there is none in the buffer."""
        if at_start:
            while len(self._buffer) - self._position < 2 and self._fill():
                search = self._position
            if self._buffer.startswith(b"--", self._position):
                return self._position
        found = self._buffer.find(b"\n--", max(search, self._position))
        return found + 1 if found >= 0 else -1

    def _before(self, start: int) -> bytes:
        """The body before the delimiter line at ``start``: the line end there belongs to the delimiter."""
        data = self._buffer[self._position : start]
        if data.endswith(b"\r\n"):
            return data[:-2]
        return data.removesuffix(b"\n")

    def _take(self, end: int) -> bytes:
        data = self._buffer[self._position : end]
        self._position = end
        return data

    def _rest(self) -> Iterator[bytes]:
        yield self._take(len(self._buffer))
        while self._fill():
            yield self._take(len(self._buffer))
