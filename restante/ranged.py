"""A seekable binary file over any function that reads byte ranges: a slice of a mailbox, a sealed message, a spool."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, BinaryIO, cast

if TYPE_CHECKING:
    from collections.abc import Buffer  # type: ignore[attr-defined]  # of Python 3.12; for the checker only

BLOCK = 1 << 18


class _Ranged(io.RawIOBase):
    def __init__(self, read: Callable[[int, int], bytes], size: int, release: Callable[[], None]) -> None:
        self._read = read
        self._size = size
        self._release = release
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(base + offset, 0)
        return self._at

    def readinto(self, buffer: Buffer) -> int:
        view = memoryview(buffer)
        data = self._read(self._at, min(self._at + len(view), self._size)) if self._at < self._size else b""
        view[: len(data)] = data
        self._at += len(data)
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._release()
        super().close()


def _nothing() -> None:
    """Nothing is to be released."""


def ranged(
    read: Callable[[int, int], bytes], size: int, *, block: int = BLOCK, release: Callable[[], None] = _nothing
) -> BinaryIO:
    """A file of ``size`` bytes, read ``block`` bytes at a time.

    ``read(start, end)`` gives its bytes, or the first of them; what it raises passes through.  ``release`` is called
    once, when the file is closed.
    """
    return cast("BinaryIO", io.BufferedReader(_Ranged(read, size, release), block))
