"""Epochs: erasure that survives a restored backup.

A data key is locked with a share, and the share is sealed to the public key of the epoch that is open when the message
is held (:mod:`restante.vault`).  The epoch's private key is in the key ring (:mod:`restante.store.ring`), whose file
is in no backup of the main database.  To erase a blob is to take its share out of the ring; the whole epoch's private
key goes with it, once the shares of the blobs that still live have been kept apart.

The two databases are never changed together, and need not be.  Each step is one transaction of one of them, may be
repeated, and is only undone by doing it again: a crash between two steps leaves a blob openable or erased, and the
next round goes on from there.  The ring's word is final: what it has condemned stays shut, whatever a restored main
database says of it.

An epoch's end is fixed when it opens (``seals_until``), and its key is deleted only after that: a main database that
was restored may still say that the epoch is open, and a message that was sealed to a key that is gone would be lost.
"""

from __future__ import annotations

from sqlalchemy import bindparam, delete, func, select, update
from sqlalchemy.orm import Session

from restante.store import audit
from restante.store.engine import Store, StoreUnavailable, new_id
from restante.store.models import Blob, Epoch, Erasure
from restante.store.ring import KeyRing
from restante.store.rows import put_rows
from restante.vault import DataKey, generate_keypair, split_locked

CLOCKS_APART_SECONDS = 60.0
"""How far the clocks of milter and worker may be apart, and how long a transaction that holds a message may take."""
_BATCH = 500
# Built once: building a statement costs more than running it, and a message waits for its answer.
_OPEN = (
    select(Epoch.id, Epoch.public_key)
    .where(Epoch.closed_at.is_(None), Epoch.seals_until > bindparam("now"))
    .order_by(Epoch.opened_at.desc())
    .limit(1)
    .with_for_update(read=True)
)


class NoOpenEpoch(StoreUnavailable):
    """The epoch is over and the worker opened no other: a message can wait for that, with a 4xx."""


class RingLost(StoreUnavailable):
    """Epochs were opened, and there is no key ring.  The text names the remedy."""


def lock_key(session: Session, key: DataKey, now: float) -> DataKey:
    """``key``, locked under the open epoch, in the transaction that stores what it seals.

    Before the worker has opened the first epoch, and with ``[ring] use = false``, the key as it is.  Raises
    :class:`NoOpenEpoch`.
    """
    # The second time for PostgreSQL: the worker may have closed the epoch while this transaction waited for its row.
    for _ in range(2):
        epoch = session.execute(_OPEN, {"now": now}).one_or_none()
        if epoch is not None:
            return key.locked(epoch.id, epoch.public_key)
    if session.scalar(select(Epoch.id).where(Epoch.closed_at.is_(None)).limit(1)) is None:
        return key
    raise NoOpenEpoch("no epoch of the key ring is open: is the worker running, and can it write the ring?")


def open_epoch(store: Store, ring: KeyRing, *, seconds: float, now: float) -> bool:
    """See to it that an epoch of ``seconds`` is open, of which at least half is left; true when a new one was needed.

    An epoch whose private key this ring has not (the main database was restored, or the ring replaced) counts for
    nothing.  Raises ``StoreUnavailable``.
    """
    with store.read() as session:
        current = session.scalars(
            select(Epoch).where(Epoch.closed_at.is_(None)).order_by(Epoch.opened_at.desc()).limit(1)
        ).one_or_none()
    early = current is not None and now < current.opened_at
    late = current is None or now > current.seals_until - seconds / 2
    if current is not None and not early and not late and ring.holds_epoch(current.id):
        return False
    private, public = generate_keypair()
    epoch_id = new_id()
    # The key first: an epoch that nobody uses costs nothing, one without a key would cost the messages sealed to it.
    ring.add_epoch(epoch_id, private, now + seconds)
    with store.write() as session:
        session.execute(update(Epoch).where(Epoch.closed_at.is_(None)).values(closed_at=now))
        new = {"id": epoch_id, "public_key": public, "opened_at": now, "seals_until": now + seconds, "closed_at": None}
        put_rows(session, Epoch, [new])
    return True


def prepare_ring(store: Store, ring: KeyRing) -> None:
    """Make the ring before its first epoch; later, a ring that is not there was lost, and is not replaced.

    Raises :class:`RingLost`, ``RingUnavailable`` where it cannot be made, and ``StoreUnavailable``.
    """
    if ring.exists():
        return
    with store.read() as session:
        used = session.scalar(select(Epoch.id).limit(1)) is not None
    if used:
        raise RingLost(
            f"{ring.path}: the key ring is not there, and nothing that was sealed to it opens without it. Put it back; "
            "if it is lost for good, run: restante ring create"
        )
    KeyRing.create(ring.path)


def tend(store: Store, ring: KeyRing, *, use: bool, seconds: float, now: float) -> int:
    """One round of what the worker does for the ring; how many blobs were erased.  Raises ``StoreUnavailable``."""
    if use:
        if not ring.exists():
            _suspend(store, now=now)
        open_epoch(store, ring, seconds=seconds, now=now)
    else:
        close_epochs(store, now=now)
        if not ring.exists():
            return 0
    return erase_due(store, ring, now=now)


def _suspend(store: Store, *, now: float) -> None:
    """The ring is gone: take no message that is sealed to its epoch, which perhaps nobody can ever open.

    The epoch stays without an end that was recorded, so that messages wait at the client instead of being held
    without the ring.  The next epoch is opened once there is a ring.
    """
    still_sealing = (Epoch.closed_at.is_(None), Epoch.seals_until > now)
    with store.read() as session:
        if session.scalar(select(Epoch.id).where(*still_sealing).limit(1)) is None:
            return
    with store.write() as session:
        session.execute(update(Epoch).where(*still_sealing).values(seals_until=now))


def close_epochs(store: Store, *, now: float) -> None:
    """Seal to no epoch any more: from now on messages are held without the ring."""
    with store.read() as session:
        if session.scalar(select(Epoch.id).where(Epoch.closed_at.is_(None)).limit(1)) is None:
            return
    with store.write() as session:
        session.execute(update(Epoch).where(Epoch.closed_at.is_(None)).values(closed_at=now))


def erase_due(store: Store, ring: KeyRing, *, now: float) -> int:
    """Take out of the ring what was destroyed in the main database; how many blobs that were.

    May be called at any time and again after a crash.  Raises ``StoreUnavailable``.
    """
    with store.read() as session:
        found = session.execute(select(Erasure.blob_id, Erasure.epoch_id).limit(_BATCH)).all()
    if found:
        ring.condemn((row.blob_id, row.epoch_id) for row in found)
    for epoch_id in ring.to_puncture(now - CLOCKS_APART_SECONDS):
        ring.puncture(epoch_id, _living(store, epoch_id, now))
    if found:
        _erased(store, [row.blob_id for row in found], now)
    return len(found)


def _living(store: Store, epoch_id: str, now: float) -> list[tuple[str, bytes]]:
    """The blobs of an epoch that still have a key, and their sealed shares; nothing more can join them."""
    with store.write() as session:
        # On PostgreSQL this waits for the transactions that are sealing to the epoch just now.
        session.execute(update(Epoch).where(Epoch.id == epoch_id).values(closed_at=func.coalesce(Epoch.closed_at, now)))
        rows = session.execute(
            select(Blob.id, Blob.wrapped_key).where(Blob.epoch_id == epoch_id, Blob.wrapped_key.is_not(None))
        ).all()
    found = ((row.id, split_locked(row.wrapped_key)) for row in rows)
    return [(blob_id, parts[1]) for blob_id, parts in found if parts is not None]


def _erased(store: Store, blob_ids: list[str], now: float) -> None:
    with store.write() as session:
        session.execute(delete(Erasure).where(Erasure.blob_id.in_(blob_ids)))
        audit.record(session, now, "worker", "erased-shares", count=len(blob_ids))
