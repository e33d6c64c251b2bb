"""Collecting a message: header fields in memory, the body in memory up to 1 MiB and above that on disk, sealed.

The spool is an unlinked temporary file whose every chunk is sealed under a key that exists only in this object: a
disk, a swap-out of the file cache or a crash dump of the file system holds no plain text.
"""

from __future__ import annotations

import hashlib
import hmac
import io
import tempfile
from collections.abc import Iterable, Iterator
from typing import IO, BinaryIO

from restante.ranged import ranged
from restante.vault import CHUNK, SEALED_CHUNK, DataKey, seal_stream

SPOOL_ABOVE = 1_048_576


class _SealedSpool:
    """Append-only bytes in a sealed, unlinked file, readable from any offset once finished."""

    def __init__(self) -> None:
        # Its own key, for this object's life: the context manager of TemporaryFile is the session's reset().
        self._file: IO[bytes] = tempfile.TemporaryFile(prefix="restante-")  # noqa: SIM115  closed in close()
        self._key = DataKey.fresh("spool")
        self._tail = bytearray()
        self._chunks = 0
        self._opened = (-1, b"")
        self.size = 0

    def append(self, data: bytes) -> None:
        self._tail += data
        self.size += len(data)
        while len(self._tail) >= CHUNK:
            # No chunk is marked last: a spool never outlives the process that wrote it, so it cannot be cut.
            self._file.write(self._key.seal_chunk(bytes(self._tail[:CHUNK]), self._chunks, last=False))
            del self._tail[:CHUNK]
            self._chunks += 1

    def read(self, start: int, end: int) -> bytes:
        """What stands from ``start`` on, at most to ``end`` and to the end of its chunk."""
        index, offset = divmod(start, CHUNK)
        return self._chunk(index)[offset : offset + end - start]

    def _chunk(self, index: int) -> bytes:
        if index >= self._chunks:
            return bytes(self._tail)
        if self._opened[0] != index:
            self._file.seek(index * SEALED_CHUNK)
            self._opened = (index, self._key.open_chunk(self._file.read(SEALED_CHUNK), index, last=False))
        return self._opened[1]

    def close(self) -> None:
        self._file.close()


class MessageBuffer:
    """One message on its way through the milter.  Call :meth:`close` when the message is over."""

    def __init__(self) -> None:
        self.headers: list[tuple[str, bytes]] = []
        self._body = bytearray()
        self._spool: _SealedSpool | None = None

    def add_header(self, name: str, value: bytes) -> None:
        """One header field, as the MTA gave it: folded with bare line feeds, the first space eaten."""
        self.headers.append((name, value))

    def add_body(self, data: bytes) -> None:
        """A piece of the body."""
        if self._spool is None:
            self._body += data
            if len(self._body) > SPOOL_ABOVE:
                self._spool = _SealedSpool()
                self._spool.append(bytes(self._body))
                self._body = bytearray()
        else:
            self._spool.append(data)

    @property
    def spooled(self) -> bool:
        """Whether it is too large for memory."""
        return self._spool is not None

    def header(self, name: str) -> bytes | None:
        """The value of the first header field called ``name``, in any case."""
        wanted = name.lower()
        return next((value for field, value in self.headers if field.lower() == wanted), None)

    def replace_header(self, name: str, value: bytes) -> None:
        """Replace the value of the first header field called ``name``."""
        wanted = name.lower()
        for index, (field, _) in enumerate(self.headers):
            if field.lower() == wanted:
                self.headers[index] = (field, value)
                return

    def head(self) -> bytes:
        """The header block with its closing empty line, CRLF throughout (RFC 5322, section 2.1)."""
        return _block(self.headers)

    @property
    def size(self) -> int:
        """Bytes of the whole message."""
        return len(self.head()) + (self._spool.size if self._spool else len(self._body))

    def open(self) -> BinaryIO:
        """The whole message as a seekable binary file."""
        if self._spool is None:
            return io.BytesIO(self.head() + self._body)
        head, spool = self.head(), self._spool

        def read(start: int, end: int) -> bytes:
            return head[start:end] if start < len(head) else spool.read(start - len(head), end - len(head))

        return ranged(read, len(head) + spool.size, block=CHUNK)

    def pieces(self) -> Iterator[bytes]:
        """The whole message in pieces of at most 64 KiB."""
        with self.open() as file:
            while piece := file.read(CHUNK):
                yield piece

    def sealed(self, key: DataKey) -> Iterator[bytes]:
        """The whole message as chunks sealed with ``key``."""
        return seal_stream(key, self.pieces())

    def digest(self, secret: bytes, *, without: frozenset[str] = frozenset()) -> bytes:
        """A keyed digest of the whole message, leaving out the header fields named in ``without`` (lower case)."""
        mac = hmac.new(secret, digestmod=hashlib.sha256)
        mac.update(_block([(name, value) for name, value in self.headers if name.lower() not in without]))
        with self.open() as file:
            file.seek(len(self.head()))
            while piece := file.read(CHUNK):
                mac.update(piece)
        return mac.digest()

    def close(self) -> None:
        """Forget the message."""
        if self._spool is not None:
            self._spool.close()


def _block(headers: Iterable[tuple[str, bytes]]) -> bytes:
    fields = b"".join(name.encode("ascii", "replace") + b": " + _crlf(value) + b"\r\n" for name, value in headers)
    return fields + b"\r\n"


def _crlf(value: bytes) -> bytes:
    return value if b"\n" not in value else value.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
