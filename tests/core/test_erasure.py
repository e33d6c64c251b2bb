"""Erasure that survives a restored backup: what was erased opens with no backup and no key of today; the rest does."""

from __future__ import annotations

import os
import signal
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from restante.store import epochs, holding
from restante.store.blobs import BlobReader
from restante.store.engine import Store
from restante.store.models import Base, Blob, Delivery, DeliveryState, Epoch, Message, OutboxJob
from restante.store.ring import KeyRing, RingExists, RingUnavailable
from restante.vault import CannotOpen, DataKey, Opener, generate_keypair, open_share, split_locked
from tests.core.stores import CONTENT, NOW, Holder, Keys

HOUR = 3600.0
LATER = NOW + HOUR + epochs.CLOCKS_APART_SECONDS + 1
Rows = dict[str, list[dict[str, Any]]]
S = DeliveryState


@dataclass
class House:
    """A store whose messages need the ring, the ring, and both services' keys that are helped by it."""

    holder: Holder
    ring: KeyRing
    private_keys: tuple[bytes, bytes]

    @property
    def store(self) -> Store:
        return self.holder.store

    def tend(self, now: float) -> int:
        return epochs.tend(self.store, self.ring, use=True, seconds=HOUR, now=now)

    def erase(self, delivery_id: str, now: float = NOW + 10) -> None:
        holding.recall(self.store, delivery_id, actor="sender", now=now)

    def opens(self, delivery_id: str) -> bool:
        """Whether the portal can show the message of that delivery."""
        with self.store.read() as session:
            message = session.get_one(Delivery, delivery_id).message
            blob = message.blob
        try:
            key = self.holder.keys.vault_opener.unwrap(blob.id, blob.wrapped_key)
            return b"".join(BlobReader(self.store, key, blob.size).read()) == CONTENT
        except CannotOpen:
            return False

    def backup(self) -> Rows:
        """All rows of the main database."""
        with self.store.read() as session:
            return {
                table.name: [dict(row) for row in session.execute(select(table)).mappings()]
                for table in Base.metadata.sorted_tables
            }

    def restore(self, rows: Rows) -> None:
        with self.store.write() as session:
            for table in reversed(Base.metadata.sorted_tables):
                session.execute(table.delete())
            for table in Base.metadata.sorted_tables:
                if rows[table.name]:
                    session.execute(table.insert(), rows[table.name])

    def cracks(self, delivery_id: str) -> bool:
        """Whether anybody with the main database as it is, the ring's file and every private key reads the summary."""
        with self.store.read() as session:
            message = session.get_one(Delivery, delivery_id).message
            sealed = [message.blob.wrapped_key]
            sealed += session.scalars(select(OutboxJob.sealed).where(OutboxJob.message_id == message.id)).all()
            summary, blob_id = message.summary, message.blob_id
        secrets = [half for one in sealed if one for half in self._halves(blob_id, one)]
        shares = [bytes(32), *self._shares(blob_id, [one for one in sealed if one])]
        for half in secrets:
            for share in shares:
                key = DataKey(blob_id, bytes(a ^ b for a, b in zip(half, share, strict=True)))
                try:
                    key.open_note(summary, "summary")
                except CannotOpen:
                    continue
                return True
        return False

    def _halves(self, blob_id: str, sealed: bytes) -> Iterator[bytes]:
        parts = split_locked(sealed)
        for private in self.private_keys:
            try:
                yield Opener(private).unwrap(blob_id, parts[2] if parts else sealed).secret
            except CannotOpen:
                continue

    def _shares(self, blob_id: str, sealed: Iterable[bytes]) -> Iterator[bytes]:
        with closing(sqlite3.connect(self.ring.path)) as connection:
            yield from (row[0] for row in connection.execute("SELECT share FROM shares"))
            privates = [row[0] for row in connection.execute("SELECT private_key FROM epochs")]
        for one in sealed:
            parts = split_locked(one)
            for private in privates if parts else []:
                try:
                    yield open_share(private, blob_id, parts[1] if parts else b"")
                except CannotOpen:
                    continue

    def bytes_of_ring(self) -> bytes:
        return b"".join(path.read_bytes() for path in self.ring.path.parent.iterdir())


def build(url: str, folder: Path) -> House:
    holder = Holder(url)
    ring = KeyRing(folder / "ring" / "ring.db")
    vault, worker = generate_keypair(), generate_keypair()
    fresh = Keys.fresh()
    holder.keys = Keys(
        type(fresh.vault)("k1", vault[1]),
        Opener(vault[0], ring),
        type(fresh.worker)("worker", worker[1]),
        Opener(worker[0], ring),
    )
    epochs.prepare_ring(holder.store, ring)
    house = House(holder, ring, (vault[0], worker[0]))
    house.tend(NOW)
    return house


@pytest.fixture
def house(database_url: str, tmp_path: Path) -> Iterator[House]:
    made = build(database_url, tmp_path)
    yield made
    made.store.close()


@pytest.mark.behaviour("P12")
def test_a_restored_backup_opens_what_lives_and_nothing_that_was_erased(house: House) -> None:
    recalled, deleted, expired = (house.holder.held(f"{name}@x.example") for name in ("re", "de", "ex"))
    gone = (recalled, deleted, expired)
    request = house.holder.request(("ida@x.example", S.HELD), expires_at=NOW + 1_000_000)
    living = house.holder.deliveries(house.holder.hold(request))[0].id
    assert [house.opens(each) and house.cracks(each) for each in (*gone, living)] == [True] * 4
    backup = house.backup()
    house.erase(recalled)
    holding.delete(house.store, deleted, actor="admin:a", now=NOW + 10)
    assert holding.expire_due(house.store, now=NOW + 2000) == 1
    house.tend(NOW + 2001)
    house.restore(backup)
    assert not any(map(house.opens, gone)), "the services refuse it as soon as the ring knows"
    house.tend(LATER)
    house.restore(backup)
    assert not any(map(house.opens, gone))
    assert not any(map(house.cracks, gone))
    assert house.opens(living)
    assert house.cracks(living), "the test's own attack must work where it should"


@pytest.mark.behaviour("P12")
def test_a_copy_for_the_worker_is_erased_with_the_rest(house: House) -> None:
    message = house.holder.hold(house.holder.request(("ida@x.example", S.HANDOVER)))
    delivery = house.holder.deliveries(message)[0].id
    with house.store.read() as session:
        job = session.scalars(select(OutboxJob).where(OutboxJob.message_id == message)).one()
        blob_id = session.get_one(Message, message).blob_id
    assert house.holder.keys.worker_opener.unwrap(blob_id, job.sealed).blob_id == blob_id
    backup = house.backup()
    holding.handed_over(house.store, job.id, [delivery], {}, now=NOW + 5)
    house.tend(LATER)
    house.restore(backup)
    assert not house.cracks(delivery)
    with pytest.raises(CannotOpen):
        house.holder.keys.worker_opener.unwrap(blob_id, job.sealed)


@pytest.mark.behaviour("P12")
def test_a_copy_that_a_reviewer_releases_keeps_its_lock(house: House) -> None:
    delivery = house.holder.held(state=S.QUARANTINED)
    vault, worker = house.holder.keys.vault_opener, house.holder.keys.worker
    assert holding.release_to_tls(house.store, vault, worker, delivery, deadline=0, actor="admin:a", now=NOW + 1)
    with house.store.read() as session:
        job = session.scalars(select(OutboxJob).where(OutboxJob.kind == "handover")).one()
        blob_id = session.get_one(Delivery, delivery).message.blob_id
    house.holder.keys.worker_opener.unwrap(blob_id, job.sealed)
    backup = house.backup()
    holding.handed_over(house.store, job.id, [delivery], {}, now=NOW + 5)
    house.tend(LATER)
    house.restore(backup)
    assert not house.cracks(delivery)


@pytest.mark.behaviour("P12")
def test_an_epoch_is_erased_from_time_after_time(house: House) -> None:
    deliveries = [house.holder.held(f"r{number}@x.example") for number in range(6)]
    backup = house.backup()
    for at, delivery in enumerate(deliveries[:5]):
        house.erase(delivery, LATER + at)
        assert house.tend(LATER + at) == 1
        assert [house.opens(each) for each in deliveries] == [False] * (at + 1) + [True] * (5 - at)
    house.restore(backup)
    assert [house.opens(each) for each in deliveries] == [False] * 5 + [True]
    assert [house.cracks(each) for each in deliveries] == [False] * 5 + [True]


@pytest.mark.behaviour("P12")
def test_no_byte_of_an_erased_share_or_key_stays_in_the_rings_files(house: House) -> None:
    deliveries = [house.holder.held(f"r{number}@x.example") for number in range(8)]
    with house.store.read() as session:
        blobs = session.execute(select(Blob.id, Blob.wrapped_key)).all()
    locks = [house.holder.keys.vault_opener.unwrap(blob.id, blob.wrapped_key).lock for blob in blobs]
    with closing(sqlite3.connect(house.ring.path)) as connection:
        private = connection.execute("SELECT private_key FROM epochs").fetchone()[0]
    assert private in house.bytes_of_ring()
    house.erase(deliveries[0])
    house.tend(LATER)
    assert private not in house.bytes_of_ring()
    kept = [lock.share for lock in locks if lock is not None]
    assert sum(share in house.bytes_of_ring() for share in kept) == 7
    for delivery in deliveries[1:]:
        house.erase(delivery)
    house.tend(LATER + 1)
    assert not any(share in house.bytes_of_ring() for share in kept)
    assert {path.suffix for path in house.ring.path.parent.iterdir()} <= {".db", ".db-journal", ".db-writer"}


@pytest.mark.behaviour("P12")
def test_nothing_is_sealed_to_an_epoch_whose_key_is_gone(house: House) -> None:
    """A main database of before the erasure says that the epoch is open; its time is over, and holding waits."""
    gone = house.holder.held()
    backup = house.backup()
    house.erase(gone)
    house.tend(LATER)
    house.restore(backup)
    with pytest.raises(epochs.NoOpenEpoch):
        house.holder.hold(house.holder.request(("b@x", S.HELD)), now=LATER)
    house.tend(LATER)
    delivery = house.holder.deliveries(house.holder.hold(house.holder.request(("b@x", S.HELD)), now=LATER))[0].id
    assert house.opens(delivery)


@pytest.mark.behaviour("P12")
def test_an_epoch_keeps_its_key_while_anybody_might_still_seal_to_it(house: House) -> None:
    house.erase(house.holder.held())
    backup = house.backup()
    house.tend(NOW + HOUR - 1)
    house.restore(backup)
    delivery = house.holder.deliveries(house.holder.hold(house.holder.request(("b@x", S.HELD)), now=NOW + HOUR - 1))[0]
    assert house.opens(delivery.id)


class _Dies(KeyRing):
    """A ring whose process is killed at one of the places where it could be."""

    def __init__(self, path: Path, place: str) -> None:
        super().__init__(path)
        self.place = place

    def die_at(self, place: str) -> None:
        if place == self.place:
            os.kill(os.getpid(), signal.SIGKILL)

    def condemn(self, blobs: Iterable[tuple[str, str]]) -> None:
        self.die_at("before condemning")
        super().condemn(self._dying(blobs, "while condemning"))
        self.die_at("after condemning")

    def puncture(self, epoch_id: str, living: Iterable[tuple[str, bytes]]) -> None:
        self.die_at("before the puncture")
        super().puncture(epoch_id, self._dying(living, "during the puncture"))
        self.die_at("after the puncture")

    def _dying(self, things: Iterable[Any], place: str) -> Iterator[Any]:
        for at, thing in enumerate(things):
            if at == 1:
                self.die_at(place)
            yield thing

    def _wipe_journal(self) -> None:
        self.die_at("before the journal is wiped")
        super()._wipe_journal()


PLACES = (
    *("before condemning", "while condemning", "after condemning"),
    *("before the puncture", "during the puncture", "after the puncture", "before the journal is wiped"),
)


@pytest.mark.behaviour("P12")
def test_a_crash_leaves_each_message_openable_or_erased_and_the_next_round_ends_it(house: House) -> None:
    for round_number, place in enumerate(PLACES):
        now = LATER + 10 * HOUR * round_number
        gone = [house.holder.held(f"r{number}@x.example") for number in range(3)]
        living = [house.holder.held(f"l{number}@x.example") for number in range(3)]
        backup = house.backup()
        for each in gone:
            house.erase(each)
        epochs.open_epoch(house.store, house.ring, seconds=HOUR, now=now)
        assert _in_child(partial(_erase_and_die, house.holder.url, house.ring.path, place, now)) == -signal.SIGKILL
        after = house.backup()
        house.restore(backup)
        assert [house.opens(each) for each in living] == [True] * 3, place
        house.restore(after)
        house.tend(now)
        after = house.backup()
        assert after["erasures"] == []
        house.restore(backup)
        assert [house.cracks(each) or house.opens(each) for each in gone] == [False] * 3, place
        assert [house.opens(each) for each in living] == [True] * 3, place
        house.tend(now + 1)  # the restored database's own view of it changes nothing
        assert [house.opens(each) for each in living] == [True] * 3, place
        house.restore(after)


def _erase_and_die(url: str, path: Path, place: str, now: float) -> None:
    epochs.erase_due(Store(url), _Dies(path, place), now=now)


def _in_child(work: Callable[[], None]) -> int:
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _hold_many(house: House, held: list[str]) -> None:
    for at in range(10):
        request = house.holder.request((f"h{at}@x", S.HELD), expires_at=NOW + 1_000_000)
        held.append(house.holder.deliveries(house.holder.hold(request, now=NOW + 61 * at))[0].id)


def _tend_often(house: House, held: list[str]) -> None:
    for at in range(10):
        epochs.tend(house.store, house.ring, use=True, seconds=120, now=NOW + 61 * at)
        if at % 3 == 0 and held:
            house.erase(held.pop(0))


@pytest.mark.behaviour("P12")
def test_several_workers_and_holders_at_once_lose_nothing(house: House) -> None:
    """Epochs change, blobs are erased and messages held side by side: whatever was held and not erased opens."""
    held: list[str] = []
    failed: list[BaseException] = []

    def guarded(work: Callable[[House, list[str]], None]) -> None:
        try:
            work(house, held)
        except epochs.NoOpenEpoch:
            return  # what a client is told with a 4xx: nothing was held
        except (Exception, AssertionError) as error:  # noqa: BLE001  the test's thread must tell the test
            failed.append(error)

    threads = [threading.Thread(target=guarded, args=(work,)) for work in (_hold_many, _tend_often) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    house.tend(NOW + 100_000)
    assert set(map(house.opens, held)) == {True}


def test_messages_of_before_the_ring_stay_open_until_they_are_erased(database_url: str, tmp_path: Path) -> None:
    house = build(database_url, tmp_path)
    epochs.tend(house.store, house.ring, use=False, seconds=HOUR, now=NOW)
    old = house.holder.held()
    with house.store.read() as session:
        assert session.get_one(Delivery, old).message.blob.epoch_id is None
    house.tend(NOW)
    new = house.holder.held("n@x.example")
    assert [house.opens(old), house.opens(new)] == [True, True]
    house.erase(old)
    assert not house.opens(old)
    house.store.close()


def test_a_ring_that_is_lost_is_not_replaced_by_itself(house: House) -> None:
    delivery = house.holder.held()
    with pytest.raises(RingExists):
        KeyRing.create(house.ring.path)
    house.ring.path.unlink()
    with pytest.raises(epochs.RingLost, match="restante ring create"):
        epochs.prepare_ring(house.store, house.ring)
    with pytest.raises(RingUnavailable):
        house.opens(delivery)
    KeyRing.create(house.ring.path)
    house.tend(NOW)
    assert not house.opens(delivery)
    assert house.opens(house.holder.held("n@x.example"))


@pytest.mark.behaviour("P12")
def test_while_the_ring_is_gone_no_message_is_taken_that_nobody_could_open(house: House) -> None:
    kept = house.ring.path.with_name("kept")
    house.ring.path.rename(kept)
    for _ in range(2):
        with pytest.raises(RingUnavailable):
            house.tend(NOW + 1)
    with pytest.raises(epochs.NoOpenEpoch):
        house.holder.hold(house.holder.request(("b@x", S.HELD)), now=NOW + 2)
    kept.rename(house.ring.path)
    house.tend(NOW + 3)
    held = house.holder.hold(house.holder.request(("b@x", S.HELD)), now=NOW + 4)
    assert house.opens(house.holder.deliveries(held)[0].id)


def test_the_ring_is_for_its_owner_and_group(house: House) -> None:
    house.erase(house.holder.held())
    house.tend(LATER)
    modes = {path.name: path.stat().st_mode & 0o777 for path in house.ring.path.parent.iterdir()}
    assert {mode & 0o027 for mode in modes.values()} == {0}, modes
    assert house.ring.path.parent.stat().st_mode & 0o007 == 0


def test_a_new_epoch_begins_halfway_and_the_old_one_is_closed(house: House) -> None:
    house.tend(NOW + HOUR / 2 - 1)
    with house.store.read() as session:
        assert len(session.scalars(select(Epoch)).all()) == 1
    house.tend(NOW + HOUR / 2 + 1)
    with house.store.read() as session:
        found = session.scalars(select(Epoch).order_by(Epoch.opened_at)).all()
    assert [each.closed_at is None for each in found] == [False, True]
