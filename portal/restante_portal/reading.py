"""Finding one's way in a stored message without loading it: an index of MIME parts by byte offsets (RFC 2045, 2046).

Only headers are parsed in memory, and only up to caps; bodies are found by their boundaries and decoded as streams
(:mod:`restante_portal.transfer`).  What does not parse is shown as one plain part: nothing of a message is ever hidden
because it is malformed, and whoever wants certainty saves the message as it is.
"""

from __future__ import annotations

import binascii
import email.header
import email.message
import email.parser
import email.policy
import io
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from restante.store.blobs import BlobReader

HEADER_CAP = 1_048_576
PART_CAP = 200
DEPTH_CAP = 12
_LINE_CAP = 1024
_WINDOW = 1_048_576

Reader = Callable[[int, int], Iterator[bytes]]
"""Gives the bytes of a message from one offset up to another, in pieces."""


@dataclass(frozen=True, slots=True)
class Part:
    """One leaf of a message.

    ``start`` and ``end`` are offsets of its encoded content.  ``alternative`` names the multipart/alternative that it
    stands in, by that one's offset; -1 when in none.
    """

    number: int
    start: int
    end: int
    content_type: str
    charset: str
    encoding: str
    file_name: str
    content_id: str
    attached: bool
    alternative: int

    @property
    def is_body(self) -> bool:
        """Whether it is part of what the sender wrote, rather than something enclosed."""
        return not self.attached and not self.file_name and self.content_type in {"text/plain", "text/html"}


@dataclass(frozen=True, slots=True)
class Index:
    """The leaves of a message in order.  ``complete`` is false where a cap was reached and the rest stayed one part."""

    subject: str
    sender: str
    date: str
    parts: tuple[Part, ...]
    complete: bool

    @property
    def bodies(self) -> tuple[Part, ...]:
        """What to show."""
        return tuple(part for part in self.parts if part.is_body)

    @property
    def attachments(self) -> tuple[Part, ...]:
        """What to offer for download."""
        return tuple(part for part in self.parts if not part.is_body)


def index_message(reader: BlobReader) -> Index:
    """Index the message behind ``reader``.  Raises ``CannotOpen`` and ``StoreUnavailable``."""
    return _Indexer(reader.read, reader.size).run()


class _Indexer:
    """One pass over the headers of each entity, one over each multipart body for its boundaries."""

    def __init__(self, read: Reader, size: int) -> None:
        self._read = read
        self._size = size
        self._parts: list[Part] = []
        self._complete = True

    def run(self) -> Index:
        header, body = self._header(0, self._size)
        self._entity(header, 0, body, self._size, depth=0, alternative=-1)
        return Index(
            subject=header_text(_raw(header, "subject")),
            sender=header_text(_raw(header, "from")),
            date=header_text(_raw(header, "date")),
            parts=tuple(self._parts),
            complete=self._complete,
        )

    def _header(self, start: int, end: int) -> tuple[email.message.Message, int]:
        """The header fields at ``start``, and where the body begins."""
        raw = b""
        length = 0
        for piece in self._read(start, min(end, start + HEADER_CAP)):
            raw += piece
            length = _header_length(raw)
            if length:
                break
        length = length or len(raw)
        # compat32 parses no field until it is asked for: an address list of thousands costs nothing.
        parser = email.parser.BytesHeaderParser(policy=email.policy.compat32)
        return parser.parsebytes(raw[:length]), start + length

    def _entity(
        self, header: email.message.Message, start: int, body: int, end: int, *, depth: int, alternative: int
    ) -> None:
        content_type = header.get_content_type()
        boundary = _boundary(header)
        if content_type.startswith("multipart/") and boundary:
            if depth >= DEPTH_CAP:
                self._complete = False
            else:
                regions = self._regions(boundary, body, end)
                if regions:
                    inner = start if content_type == "multipart/alternative" else alternative
                    for region_start, region_end in regions:
                        self._child(region_start, region_end, depth=depth + 1, alternative=inner)
                    return
        self._leaf(header, content_type, body, end, alternative)

    def _child(self, start: int, end: int, *, depth: int, alternative: int) -> None:
        if len(self._parts) >= PART_CAP:
            self._complete = False
            return
        header, body = self._header(start, end)
        self._entity(header, start, min(body, end), end, depth=depth, alternative=alternative)

    def _leaf(self, header: email.message.Message, content_type: str, start: int, end: int, alternative: int) -> None:
        if content_type.startswith("multipart/"):
            content_type = "text/plain"  # no part was found in it, so the bytes themselves are what there is
        encoding = str(header.get("Content-Transfer-Encoding") or "").strip().lower().split()
        self._parts.append(
            Part(
                number=len(self._parts) + 1,
                start=start,
                end=end,
                content_type=content_type,
                charset=_parameter(header, "charset"),
                encoding=encoding[0].rstrip(";") if encoding else "7bit",
                file_name=_file_name(header),
                content_id=str(header.get("Content-ID") or "").strip().strip("<>"),
                attached=str(header.get("Content-Disposition") or "").strip().lower().startswith("attachment"),
                alternative=alternative,
            )
        )

    def _regions(self, boundary: bytes, start: int, end: int) -> list[tuple[int, int]]:
        """Where the parts between the delimiter lines begin and end; none when there is no delimiter."""
        regions: list[tuple[int, int]] = []
        opened = -1
        for line_start, line_end, line in self._dashed_lines(start, end):
            stripped = line.rstrip()
            if stripped not in {b"--" + boundary, b"--" + boundary + b"--"}:
                continue
            if opened >= 0:
                regions.append((opened, max(opened, self._before_break(line_start))))
            opened = -1 if stripped.endswith(b"--") and stripped != b"--" + boundary else line_end
            if opened < 0:
                return regions
        if opened >= 0:
            regions.append((opened, end))  # RFC 2046 5.1.2: an outer boundary, or the end, closes what was left open
        return regions

    def _before_break(self, line_start: int) -> int:
        """RFC 2046 5.1.1: the line break before a delimiter belongs to the delimiter."""
        tail = b"".join(self._read(max(0, line_start - 2), line_start))
        return line_start - 2 if tail == b"\r\n" else line_start - 1

    def _dashed_lines(self, start: int, end: int) -> Iterator[tuple[int, int, bytes]]:
        """Each line that begins with two dashes: its offset, the offset behind it, and its first bytes."""
        carry = b"\n"  # the body begins at the beginning of a line
        offset = start - 1  # of carry's first byte
        position = start
        while position < end:
            step = min(end, position + _WINDOW)
            block = carry + b"".join(self._read(position, step))
            position = step
            found = block.find(b"\n--")
            while found >= 0:
                stop = block.find(b"\n", found + 1)
                if stop < 0 and position < end and len(block) - found < _LINE_CAP:
                    break
                behind = stop + 1 if stop >= 0 else len(block)
                yield offset + found + 1, offset + behind, block[found + 1 : min(behind, found + _LINE_CAP)]
                found = block.find(b"\n--", max(found + 1, behind - 1))
            keep = found if found >= 0 else max(0, len(block) - 2)
            offset += keep
            carry = block[keep:]


def _header_length(raw: bytes) -> int:
    """Up to and with the blank line; 0 while it has not come."""
    if raw.startswith((b"\n", b"\r\n")):
        return raw.index(b"\n") + 1
    blank = re.search(rb"\n\r?\n", raw)
    return blank.end() if blank else 0


def _raw(header: email.message.Message, name: str) -> str:
    """The first field of that name with its 8-bit bytes as surrogates, as the parser read them."""
    return next((str(value) for key, value in header.raw_items() if key.lower() == name), "")


def _boundary(header: email.message.Message) -> bytes:
    return _parameter(header, "boundary").rstrip().encode("ascii", "surrogateescape")


def _parameter(header: email.message.Message, name: str) -> str:
    """A parameter of Content-Type, RFC 2231 forms included; empty where there is none or it is broken."""
    try:
        value = header.get_param(name)
    except (ValueError, IndexError, TypeError):  # email's parser trips over some broken parameters
        return ""
    if isinstance(value, tuple):
        value = value[2]
    return value if isinstance(value, str) and value.isascii() else ""


def _file_name(header: email.message.Message) -> str:
    try:
        name = header.get_filename("")
    except (ValueError, IndexError, TypeError, LookupError):
        name = "attachment"
    return header_text(name)


def header_text(value: object) -> str:
    """A header field decoded for reading (RFC 2047), on one line, without control characters."""
    if value is None:
        return ""
    raw = str(value)
    try:
        chunks = email.header.decode_header(raw[:16_384])
    except (binascii.Error, ValueError, IndexError):
        chunks = [(raw[:16_384], None)]
    text = "".join(piece if isinstance(piece, str) else decode_text(piece, name or "") for piece, name in chunks)
    text = decode_text(text.encode("utf-8", "surrogateescape"), "")
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


_NOT_FOR_TEXT = frozenset({"idna", "punycode", "undefined", "unicode-escape", "raw-unicode-escape"})


def decode_text(raw: bytes, charset: str) -> str:
    """Bytes as text: as declared, else UTF-8, else Windows-1252.  Never fails."""
    name = charset.strip().lower().replace("_", "-")
    for candidate in (name, "utf-8"):
        if candidate and candidate not in _NOT_FOR_TEXT:
            try:
                return raw.decode(candidate)
            except (LookupError, UnicodeError, ValueError):
                continue
    return raw.decode("utf-8", "replace") if name in {"utf-8", "utf8"} else raw.decode("cp1252", "replace")


def first_bytes(pieces: Iterator[bytes], limit: int) -> tuple[bytes, bool]:
    """At most ``limit`` bytes, and whether that was all."""
    gathered = io.BytesIO()
    for piece in pieces:
        gathered.write(piece)
        if gathered.tell() > limit:
            return gathered.getvalue()[:limit], False
    return gathered.getvalue(), True
