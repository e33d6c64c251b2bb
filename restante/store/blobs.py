"""Sealed blobs in rows: written once as a stream, read back from any offset with one segment in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sqlalchemy import bindparam, delete, select
from sqlalchemy.orm import Session

from restante.store.engine import Store
from restante.store.models import Blob, BlobSegment, Erasure
from restante.store.rows import put_rows
from restante.vault import CHUNK, SEALED_CHUNK, CannotOpen, DataKey, Sealer, chunk_count

CHUNKS_PER_SEGMENT = 16
SEGMENT = CHUNKS_PER_SEGMENT * SEALED_CHUNK
# Built once: building a statement costs more than running it.
_DATA = select(BlobSegment.data).where(
    BlobSegment.blob_id == bindparam("blob"), BlobSegment.number == bindparam("segment")
)


def put_blob(session: Session, key: DataKey, sealer: Sealer, size: int, chunks: Iterable[bytes]) -> None:
    """Store the sealed ``chunks`` of a blob of ``size`` plain bytes, holding one segment at a time.

    ``key`` was locked in the same transaction (:func:`restante.store.epochs.lock_key`), so that erasing the blob also
    takes it out of reach of every backup.
    """
    blob = {
        "id": key.blob_id,
        "key_id": sealer.key_id,
        "epoch_id": key.lock.epoch_id if key.lock else None,
        "wrapped_key": sealer.wrap(key),
        "size": size,
    }
    put_rows(session, Blob, [blob])
    segment = bytearray()
    number = 0
    for chunk in chunks:
        segment += chunk
        if len(segment) >= SEGMENT:
            _put_segment(session, key.blob_id, number, segment)
            segment.clear()
            number += 1
    if segment:
        _put_segment(session, key.blob_id, number, segment)


def _put_segment(session: Session, blob_id: str, number: int, data: bytearray) -> None:
    put_rows(session, BlobSegment, [{"blob_id": blob_id, "number": number, "data": bytes(data)}])


def destroy_blob(session: Session, blob: Blob) -> None:
    """Forget the data key and the sealed bytes, and have the worker erase the share from the key ring.

    Nothing here opens the blob afterwards; once the worker has done its part, no backup does.
    """
    if blob.epoch_id is not None and blob.wrapped_key is not None:
        put_rows(session, Erasure, [{"blob_id": blob.id, "epoch_id": blob.epoch_id}])
    blob.wrapped_key = None
    session.execute(delete(BlobSegment).where(BlobSegment.blob_id == blob.id))


def require_readable(session: Session, key: DataKey, size: int) -> None:
    """Open the first and the last chunk, in the caller's transaction.  Raises :class:`restante.vault.CannotOpen`.

    A blob of another key, a cut one and one whose rows are gone are found out without reading all of it.
    """
    last = chunk_count(size) - 1
    number, data = -1, b""
    for index in sorted({0, last}):
        if index // CHUNKS_PER_SEGMENT != number:
            number = index // CHUNKS_PER_SEGMENT
            data = _segment(session, key.blob_id, number)
        offset = (index % CHUNKS_PER_SEGMENT) * SEALED_CHUNK
        key.open_chunk(data[offset : offset + SEALED_CHUNK], index, last=index == last)


def _segment(session: Session, blob_id: str, number: int) -> bytes:
    found: bytes | None = session.connection().execute(_DATA, {"blob": blob_id, "segment": number}).scalar()
    if found is None:
        raise CannotOpen(f"segment {number} of blob {blob_id} is missing")
    return found


class BlobReader:
    """Plain bytes of a blob, from any offset.  Each segment is fetched by itself, so that no transaction stays open.

    The segment and the chunk that were read last stay in memory: who looks for the parts of a message reads here and
    there in the same ones.  Raises :class:`restante.vault.CannotOpen` for a missing or damaged chunk, and
    ``StoreUnavailable``.
    """

    def __init__(self, store: Store, key: DataKey, size: int) -> None:
        self._store = store
        self._key = key
        self.size = size
        self._segment: tuple[int, bytes] = (-1, b"")
        self._chunk: tuple[int, bytes] = (-1, b"")

    def read(self, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """The plain bytes from ``start`` up to, not including, ``end``, in pieces of at most 64 KiB."""
        end = self.size if end is None else min(end, self.size)
        for index in range(start // CHUNK, chunk_count(end) if end > start else 0):
            yield self._plain(index)[max(0, start - index * CHUNK) : end - index * CHUNK]

    def _plain(self, index: int) -> bytes:
        known, plain = self._chunk
        if known != index:
            data = self._data(index // CHUNKS_PER_SEGMENT)
            offset = (index % CHUNKS_PER_SEGMENT) * SEALED_CHUNK
            last = index == chunk_count(self.size) - 1
            plain = self._key.open_chunk(data[offset : offset + SEALED_CHUNK], index, last=last)
            self._chunk = (index, plain)
        return plain

    def _data(self, number: int) -> bytes:
        known, data = self._segment
        if known != number:
            with self._store.read() as session:
                data = _segment(session, self._key.blob_id, number)
            self._segment = (number, data)
        return data
