"""Bytes on their way into the store: written once, sealed as they come, and on disk above 1 MiB.

What touches a disk is an unlinked temporary file of sealed chunks; the key is in memory alone, until the caller stores
it.  The chunks are those that :func:`restante.store.blobs.put_blob` takes, so that nothing is sealed twice.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from typing import IO

from restante.vault import CHUNK, SEALED_CHUNK, DataKey, chunk_count

MEMORY = 1_048_576


class SealedSpool:
    """Append-only; readable once :meth:`finish` was called.  Call :meth:`close` when it is no longer needed."""

    def __init__(self, key: DataKey) -> None:
        self.key = key
        self.size = 0
        # Its context manager would be the request's: closed by close().
        self._file: IO[bytes] = tempfile.SpooledTemporaryFile(MEMORY, prefix="restante-")  # noqa: SIM115
        self._tail = bytearray()
        self._chunks = 0

    def write(self, data: bytes) -> None:
        """Append ``data``."""
        self._tail += data
        self.size += len(data)
        while len(self._tail) > CHUNK:
            self._seal(bytes(self._tail[:CHUNK]), last=False)
            del self._tail[:CHUNK]

    def finish(self) -> None:
        """Nothing more comes."""
        self._seal(bytes(self._tail), last=True)
        self._tail.clear()

    def _seal(self, plain: bytes, *, last: bool) -> None:
        self._file.write(self.key.seal_chunk(plain, self._chunks, last=last))
        self._chunks += 1

    def chunks(self) -> Iterator[bytes]:
        """The sealed chunks, from the first on."""
        self._file.seek(0)
        while chunk := self._file.read(SEALED_CHUNK):
            yield chunk

    def read(self) -> Iterator[bytes]:
        """The plain bytes, from the first on."""
        last = chunk_count(self.size) - 1
        for index, chunk in enumerate(self.chunks()):
            yield self.key.open_chunk(chunk, index, last=index == last)

    def close(self) -> None:
        """Forget everything."""
        self._file.close()
