"""Content transfer encodings (RFC 2045, section 6) undone as a stream: of a whole part, or of it from any offset on.

Encoded content has no offsets of its own: characters to be ignored, soft breaks and padding in mid-stream shift it.  So
whoever counts a part's size also notes stops on the way, from which decoding can begin; a download that goes on after
its last MiB then costs a MiB of decoding, and not the whole part.  Stops lie between two pieces of the reader, so that
a decoder that begins at one sees what the first one saw.
"""

from __future__ import annotations

import binascii
import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field

from restante.vault import CHUNK
from restante_portal.reading import Part, Reader

STEP = 1_048_576
_LONGEST_CARRY = 128
_NOT_BASE64 = bytes(set(range(256)) - set(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="))


@dataclass(frozen=True, slots=True)
class Stop:
    """Where decoding can begin: behind so many bytes of encoded content, which gave so many ``plain`` ones.

    ``carry`` is what the decoder had seen by then and not given out.
    """

    encoded: int = 0
    plain: int = 0
    carry: bytes = field(default=b"", repr=False)


_BEGINNING = Stop()


@dataclass(frozen=True, slots=True)
class Measured:
    """The decoded size of a part, and the stops in it, the first one at its beginning."""

    size: int
    stops: tuple[Stop, ...] = (_BEGINNING,)

    def before(self, offset: int) -> Stop:
        """The last stop that is not behind the decoded ``offset``."""
        return self.stops[bisect_right(self.stops, offset, key=lambda stop: stop.plain) - 1]


def decoded(read: Reader, part: Part) -> Iterator[bytes]:
    """The content of ``part`` with its transfer encoding undone, as a stream."""
    return (piece for piece, _, _ in _decoding(read, part, _BEGINNING))


def measure(read: Reader, part: Part, step: int = STEP) -> Measured:
    """The decoded size of ``part``, with a stop about every ``step`` bytes of its encoded content."""
    if part.encoding not in _DECODERS:
        return Measured(part.end - part.start)
    size, stops = 0, [_BEGINNING]
    for piece, encoded, carry in _decoding(read, part, _BEGINNING):
        size += len(piece)
        if encoded >= stops[-1].encoded + step and len(carry) <= _LONGEST_CARRY:
            stops.append(Stop(encoded, size, carry))
    return Measured(size, tuple(stops))


def decoded_range(read: Reader, part: Part, measured: Measured, start: int, end: int) -> Iterator[bytes]:
    """The decoded bytes of ``part`` from ``start`` up to ``end``; ``measured`` is what :func:`measure` found."""
    if part.encoding not in _DECODERS:
        yield from read(part.start + start, part.start + end)
        return
    stop = measured.before(start)
    position = stop.plain
    for piece, _, _ in _decoding(read, part, stop):
        if position + len(piece) > start:
            yield piece[max(0, start - position) : end - position]
        position += len(piece)
        if position >= end:
            return


def _decoding(read: Reader, part: Part, stop: Stop) -> Iterator[tuple[bytes, int, bytes]]:
    """Decoded pieces, each with the encoded bytes of the part that were seen for it, and the carry then."""
    decoder = _DECODERS.get(part.encoding, _Plain)(stop.carry)
    encoded = stop.encoded
    for piece in read(part.start + encoded, part.end):
        encoded += len(piece)
        yield decoder.feed(piece), encoded, decoder.carry
    yield decoder.finish(), encoded, b""


class _Plain:
    def __init__(self, carry: bytes) -> None:
        self.carry = carry

    def feed(self, piece: bytes) -> bytes:
        return piece

    def finish(self) -> bytes:
        return b""


class _Base64:
    """RFC 2045 6.8: other characters are ignored; padding in mid-stream ends one run and begins the next."""

    def __init__(self, carry: bytes) -> None:
        self.carry = carry

    def feed(self, piece: bytes) -> bytes:
        block = self.carry + piece.translate(None, _NOT_BASE64)
        if b"=" not in block:
            return self._run(block)
        given = bytearray()
        for run in re.findall(rb"[^=]+|=+", block):
            if run.startswith(b"="):
                given += self.finish()
                self.carry = b""
            else:
                given += self._run(run)
        return bytes(given)

    def _run(self, run: bytes) -> bytes:
        usable = len(run) - len(run) % 4
        self.carry = run[usable:]
        return binascii.a2b_base64(run[:usable])

    def finish(self) -> bytes:
        return binascii.a2b_base64(self.carry + b"=" * (4 - len(self.carry))) if len(self.carry) > 1 else b""


class _QuotedPrintable:
    """RFC 2045 6.7, cut at line ends, so that neither ``=3D`` nor a soft break is torn."""

    def __init__(self, carry: bytes) -> None:
        self.carry = carry

    def feed(self, piece: bytes) -> bytes:
        block = self.carry + piece
        cut = block.rfind(b"\n") + 1
        if not cut and len(block) > CHUNK:
            cut = len(block) - 3
            cut = block.rfind(b"=", cut) if b"=" in block[cut:] else len(block)
        self.carry = block[cut:]
        return binascii.a2b_qp(block[:cut])

    def finish(self) -> bytes:
        return binascii.a2b_qp(self.carry)


_DECODERS: dict[str, type[_Base64 | _QuotedPrintable]] = {"base64": _Base64, "quoted-printable": _QuotedPrintable}
