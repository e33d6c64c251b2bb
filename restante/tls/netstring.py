"""Netstrings as Postfix's socketmap uses them: ``length ":" bytes ","`` with at most 100,000 bytes.

Both ends of our own sockets read them here; the client is blocking, the server is not, so reading is a pure
function over what has arrived.
"""

from __future__ import annotations

from typing import Final

MAX_BYTES: Final = 100_000
_MAX_DIGITS: Final = 6


class BadNetstring(ValueError):
    """The bytes are no netstring.  Nothing after them can be understood: close the connection."""


def encode(data: bytes) -> bytes:
    """``data`` as one netstring.  Raises :class:`BadNetstring` above the limit."""
    if len(data) > MAX_BYTES:
        raise BadNetstring(f"{len(data)} bytes are more than {MAX_BYTES}")
    return b"%d:%b," % (len(data), data)


def take(buffer: bytearray) -> bytes | None:
    """Remove the first netstring from ``buffer`` and return its content; ``None`` while it is incomplete.

    Raises :class:`BadNetstring` as soon as the bytes cannot become one, so that no garbage is buffered.
    """
    colon = buffer.find(b":", 0, _MAX_DIGITS + 1)
    digits = bytes(buffer[: colon if colon >= 0 else _MAX_DIGITS + 1])
    if digits and not digits.isdigit():
        raise BadNetstring("length is not a number")
    if colon < 0:
        if len(digits) > _MAX_DIGITS:
            raise BadNetstring("length has too many digits")
        return None
    if not digits or (digits[:1] == b"0" and len(digits) > 1):
        raise BadNetstring("length is malformed")
    length = int(digits)
    if length > MAX_BYTES:
        raise BadNetstring(f"{length} bytes are more than {MAX_BYTES}")
    end = colon + 1 + length
    if len(buffer) <= end:
        return None
    if buffer[end : end + 1] != b",":
        raise BadNetstring("comma is missing")
    data = bytes(buffer[colon + 1 : end])
    del buffer[: end + 1]
    return data
