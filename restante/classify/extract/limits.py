"""How much one attachment may cost, and the count of what it has cost so far.

Whoever goes over a limit gets :class:`Unreadable`; what was read until then was already handed over.
"""

from __future__ import annotations

from dataclasses import dataclass

_FREE = 16 << 20  # what may be unpacked whatever the ratio


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one attachment: ``seconds`` of wall clock, ``message_seconds`` for all those of one message.

    ``memory`` is the address space of an extractor in bytes, ``size`` the bytes that may come out of containers,
    ``members`` how many files, ``depth`` how many containers in one another, ``ratio`` how many times its own size
    a container may hold.  ``ocr`` names tesseract's languages ("eng+deu"); empty reads no images.
    """

    seconds: float = 20.0
    message_seconds: float = 60.0
    memory: int = 768 << 20
    size: int = 256 << 20
    members: int = 5_000
    depth: int = 8
    ratio: int = 200
    ocr: str = ""
    ocr_images: int = 20


class Unreadable(Exception):
    """Something cannot be read, or not to its end.  The text is the reason, for the finding."""


class Meter:
    """What one attachment has cost so far."""

    def __init__(self, limits: Limits, size: int) -> None:
        self._limits = limits
        self._own = size
        self._size = 0
        self._members = 0
        self.images = 0

    def member(self) -> None:
        """One more file."""
        self._members += 1
        if self._members > self._limits.members:
            raise Unreadable(f"more than {self._limits.members} files")

    def enter(self, depth: int) -> None:
        """A container ``depth`` deep."""
        if depth > self._limits.depth:
            raise Unreadable(f"containers more than {self._limits.depth} deep")

    def unpacked(self, size: int) -> None:
        """``size`` more bytes came out of a container."""
        self._size += size
        if self._size > self._limits.size:
            raise Unreadable(f"unpacks to more than {self._limits.size >> 20} MiB")
        if self._size > _FREE and self._size > self._limits.ratio * self._own:
            raise Unreadable(f"unpacks to more than {self._limits.ratio} times its size")

    @property
    def left(self) -> int:
        """Bytes that may still come out."""
        return max(self._limits.size - self._size, 0)
