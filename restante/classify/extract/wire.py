"""What an extractor says to its service: frames of a kind, a length and data, all of them checked.

A frame is one letter, a length of four bytes in network order, and at most 64 KiB.  The service reads it as a
stranger's: anything else than what is written here is :class:`BadFrame`, after which the extractor is ended.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

MOST = 1 << 16
_HEAD = struct.Struct("!cI")
_SEPARATOR = "\x1f"


class Kind(IntEnum):
    """The kinds of frames, by their letter."""

    READY = ord("R")  # the extractor is confined, and says how
    TEXT = ord("T")  # a text begins: place, charsets, whether it is markup
    MESSAGE = ord("M")  # a message (RFC 5322) begins: place
    DATA = ord("D")  # bytes of what began
    SEALED = ord("S")  # something cannot be read: place, reason
    END = ord("E")  # the attachment is done


class BadFrame(Exception):
    """The extractor says what no extractor says."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame."""

    kind: Kind
    data: bytes

    def fields(self, count: int) -> list[str]:
        """The data as ``count`` texts without control characters.  Raises :class:`BadFrame`."""
        fields = self.data.decode("utf-8", "replace").split(_SEPARATOR)
        if len(fields) != count:
            raise BadFrame("a frame with too many or too few fields")
        return ["".join(one if one.isprintable() else "?" for one in field[:1024]) for field in fields]


def encode(kind: Kind, data: bytes = b"") -> bytes:
    """One frame.  ``data`` is at most ``MOST`` bytes."""
    return _HEAD.pack(bytes((kind,)), len(data)) + data


def encode_fields(kind: Kind, *fields: str) -> bytes:
    """One frame of short texts."""
    clean = [field.replace(_SEPARATOR, " ")[:1024] for field in fields]
    return encode(kind, _SEPARATOR.join(clean).encode("utf-8", "replace"))


class FrameReader:
    """Frames from a socket.  ``remaining`` says how many seconds are left, ``waiting`` is called about each second."""

    def __init__(self, source: socket.socket) -> None:
        self._source = source
        self._buffer = bytearray()

    def read(self, remaining: Callable[[], float], waiting: Callable[[], None]) -> Frame:
        """The next frame.  Raises :class:`BadFrame`, ``TimeoutError`` and ``EOFError``."""
        self._want(_HEAD.size, remaining, waiting)
        letter, length = _HEAD.unpack_from(self._buffer)
        if length > MOST:
            raise BadFrame("a frame that is too long")
        try:
            kind = Kind(letter[0])
        except ValueError:
            raise BadFrame("a frame of no known kind") from None
        self._want(_HEAD.size + length, remaining, waiting)
        data = bytes(self._buffer[_HEAD.size : _HEAD.size + length])
        del self._buffer[: _HEAD.size + length]
        return Frame(kind, data)

    def _want(self, size: int, remaining: Callable[[], float], waiting: Callable[[], None]) -> None:
        while len(self._buffer) < size:
            left = remaining()
            if left <= 0:
                raise TimeoutError
            self._source.settimeout(min(left, 1.0))
            try:
                data = self._source.recv(MOST)
            except TimeoutError:
                waiting()
                continue
            if not data:
                raise EOFError
            self._buffer += data
