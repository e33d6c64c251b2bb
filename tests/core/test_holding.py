"""Holding: idempotent, one audit record for each transition, illegal ones refused, keys destroyed at the end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import func, select

from restante.store import fresh, holding, links
from restante.store.blobs import BlobReader
from restante.store.engine import Store, StoreUnavailable
from restante.store.holding import IllegalTransition
from restante.store.models import AuditRecord, Blob, BlobSegment, Delivery, DeliveryState, JobKind, Message, OutboxJob
from restante.vault import CHUNK, CannotOpen
from tests.core.stores import CONTENT, NOW, Holder

S = DeliveryState


@pytest.fixture
def holder(database_url: str) -> Iterator[Holder]:
    one = Holder(database_url)
    yield one
    one.store.close()


def audited(holder: Holder) -> list[tuple[str, str]]:
    with holder.store.read() as session:
        return [(row.actor, row.action) for row in session.scalars(select(AuditRecord).order_by(AuditRecord.id))]


def jobs(holder: Holder) -> list[OutboxJob]:
    with holder.store.read() as session:
        return list(session.scalars(select(OutboxJob)))


def count(holder: Holder, table: type) -> int:
    with holder.store.read() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def test_a_retry_of_the_same_message_is_held_once(holder: Holder) -> None:
    first = holder.hold(holder.request(("b@x", S.HELD), fingerprint=b"1" * 32))
    again = holder.hold(holder.request(("b@x", S.HELD), fingerprint=b"1" * 32))
    assert again == first
    assert count(holder, Message) == 1
    assert len(jobs(holder)) == 1


def test_a_retry_with_a_recipient_more_adds_only_that_one(holder: Holder) -> None:
    holder.hold(holder.request(("b@x", S.HELD), fingerprint=b"1" * 32))
    both = (("b@x", S.HELD), ("c@x", S.HELD))
    second = holder.hold(holder.request(*both, fingerprint=b"1" * 32))
    assert [one.recipient for one in holder.deliveries(second)] == ["c@x"]
    assert holder.hold(holder.request(*both, fingerprint=b"1" * 32)) is not None
    assert count(holder, Message) == 2


def test_a_retry_beside_its_first_try_is_held_once(holder: Holder) -> None:
    barrier = threading.Barrier(8)
    ids: list[str] = []

    def try_once() -> None:
        request = holder.request(("b@x", S.HELD), fingerprint=b"2" * 32)
        barrier.wait()
        ids.append(holder.hold(request))

    threads = [threading.Thread(target=try_once) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) == 8
    assert len(set(ids)) == 1
    assert count(holder, Message) == 1


def test_what_was_held_can_be_read_from_any_offset(holder: Holder) -> None:
    content = bytes(at % 251 for at in range(20 * CHUNK + 17))
    message_id = holder.hold(holder.request(("b@x", S.HELD), content=content))
    with holder.store.read() as session:
        blob = session.get_one(Message, message_id).blob
    reader = BlobReader(holder.store, holder.keys.vault_opener.unwrap(blob.id, blob.wrapped_key), blob.size)
    assert b"".join(reader.read()) == content
    for start, end in ((0, 1), (CHUNK - 1, CHUNK + 1), (16 * CHUNK - 3, 16 * CHUNK + 3), (len(content) - 1, None)):
        assert b"".join(reader.read(start, end)) == content[start:end]


@pytest.mark.behaviour("P11")
def test_the_database_file_holds_no_content(tmp_path: Path) -> None:
    holder = Holder(f"sqlite:///{tmp_path}/restante.db")
    holder.held()
    delivery = holder.held("eve@x.example")
    minted = links.mint_link(holder.store, delivery, needs_code=True, new_code=True, now=NOW)
    assert minted is not None
    assert minted.code is not None
    found = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    for secret in (b"CONFIDENTIAL-MARKER", b"results", minted.token.encode(), minted.code.encode()):
        assert secret not in found
    assert b"eve@x.example" in found  # the search itself works
    holder.store.close()


Change = Callable[[Holder, str], object]

CHANGES: dict[str, tuple[Change, DeliveryState]] = {
    "release to portal": (lambda h, d: holding.release_to_portal(h.store, d, actor="admin:a", now=NOW), S.HELD),
    "release to tls": (
        lambda h, d: holding.release_to_tls(
            h.store, h.keys.vault_opener, h.keys.worker, d, deadline=NOW, actor="admin:a", now=NOW
        ),
        S.HANDOVER,
    ),
    "reject": (lambda h, d: holding.reject(h.store, d, text="no", actor="admin:a", now=NOW), S.REJECTED),
    "delete": (lambda h, d: holding.delete(h.store, d, actor="admin:a", now=NOW), S.DELETED),
    "recall": (lambda h, d: holding.recall(h.store, d, actor="sender", now=NOW), S.RECALLED),
}
ALLOWED = {
    S.QUARANTINED: {"release to portal", "release to tls", "reject", "delete"},
    S.HELD: {"delete", "recall"},
}


@pytest.mark.parametrize("start", ALLOWED)
@pytest.mark.parametrize("change", CHANGES)
def test_each_change_is_allowed_or_refused_and_audited_once(holder: Holder, start: DeliveryState, change: str) -> None:
    delivery = holder.held(state=start)
    before = audited(holder)
    act, result = CHANGES[change]
    if change in ALLOWED[start]:
        act(holder, delivery)
        assert holder.state(delivery) == result
        assert [action for _, action in audited(holder)[len(before) :]] == [f"became-{result}"]
    else:
        with pytest.raises(IllegalTransition):
            act(holder, delivery)
        assert holder.state(delivery) == start
        assert audited(holder) == before


@pytest.mark.behaviour("A2")
def test_of_two_reviewers_one_wins(holder: Holder) -> None:
    delivery = holder.held(state=S.QUARANTINED)
    barrier = threading.Barrier(2)
    outcomes: list[str] = []

    def release(change: str) -> None:
        barrier.wait()
        try:
            CHANGES[change][0](holder, delivery)
            outcomes.append("won")
        except IllegalTransition:
            outcomes.append("lost")

    threads = [threading.Thread(target=release, args=(name,)) for name in ("release to portal", "reject")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["lost", "won"]
    assert len([job for job in jobs(holder) if job.kind != JobKind.NOTIFY or job.payload["cause"] != "held"]) == 1


def test_the_data_key_goes_with_the_last_live_copy(holder: Holder) -> None:
    message_id = holder.hold(holder.request(("b@x", S.HELD), ("c@x", S.HELD)))
    first, second = (one.id for one in holder.deliveries(message_id))
    holding.delete(holder.store, first, actor="admin:a", now=NOW)
    with holder.store.read() as session:
        assert session.scalars(select(Blob.wrapped_key)).one() is not None
    holding.recall(holder.store, second, actor="sender", now=NOW)
    with holder.store.read() as session:
        assert session.scalars(select(Blob.wrapped_key)).one() is None
    assert count(holder, BlobSegment) == 0


def test_expiry_destroys_the_key_ends_links_and_windows(holder: Holder) -> None:
    delivery = holder.held()
    minted = links.mint_link(holder.store, delivery, needs_code=False, new_code=False, now=NOW)
    assert minted is not None
    link = links.find_live_link(holder.store, minted.token, now=NOW)
    secret = links.claim(holder.store, holder.keys.vault_opener, link.link_id, window_seconds=10_000, now=NOW)
    assert links.find_pickup(holder.store, holder.keys.vault_opener, secret, now=NOW).recipient == "bob@x.example"
    assert holding.expire_due(holder.store, now=NOW + 999) == 0
    assert holding.expire_due(holder.store, now=NOW + 1000) == 1
    assert holder.state(delivery) == S.EXPIRED
    with pytest.raises(links.NoPickup):
        links.find_pickup(holder.store, holder.keys.vault_opener, secret, now=NOW + 1)
    assert count(holder, BlobSegment) == 0
    fresh.ask(holder.store, minted.token, minted.number, now=NOW + 1)
    before = len(jobs(holder))
    assert fresh.serve(holder.store, now=NOW + 1) == 1
    assert len(jobs(holder)) == before


def test_a_released_message_opens_for_the_worker_and_for_nobody_else(holder: Holder) -> None:
    delivery = holder.held(state=S.QUARANTINED)
    CHANGES["release to tls"][0](holder, delivery)
    job = next(job for job in jobs(holder) if job.kind == JobKind.HANDOVER)
    with holder.store.read() as session:
        message = session.get_one(Message, job.message_id)
        vault_key = message.blob.wrapped_key
    key = holder.keys.worker_opener.unwrap(message.blob_id, job.sealed)
    assert b"".join(BlobReader(holder.store, key, message.size).read()) == CONTENT
    with pytest.raises(CannotOpen):
        holder.keys.worker_opener.unwrap(message.blob_id, vault_key)
    holding.handed_over(holder.store, job.id, [delivery], {}, now=NOW)
    assert holder.state(delivery) == S.HANDED_OVER
    assert [one.sealed for one in jobs(holder)] == [None] * len(jobs(holder))


def test_a_claim_with_the_wrong_key_does_not_use_the_link_up(holder: Holder) -> None:
    delivery = holder.held()
    minted = links.mint_link(holder.store, delivery, needs_code=False, new_code=False, now=NOW)
    assert minted is not None
    link = links.find_live_link(holder.store, minted.token, now=NOW)
    with pytest.raises(CannotOpen):
        links.claim(holder.store, holder.keys.worker_opener, link.link_id, window_seconds=60, now=NOW)
    assert links.find_live_link(holder.store, minted.token, now=NOW) == link
    assert holder.state(delivery) == S.HELD
    assert links.claim(holder.store, holder.keys.vault_opener, link.link_id, window_seconds=60, now=NOW)


@pytest.mark.behaviour("P6")
def test_a_fresh_link_supersedes_and_keeps_the_access_code(holder: Holder) -> None:
    delivery = holder.held()
    first = links.mint_link(holder.store, delivery, needs_code=True, new_code=False, now=NOW)
    assert first is not None
    assert first.code is not None
    before = len(jobs(holder))
    fresh.ask(holder.store, first.token, first.number, now=NOW)
    assert fresh.serve(holder.store, now=NOW) == 1
    assert len(jobs(holder)) == before  # the first notice is still to be sent: one is enough
    second = links.mint_link(holder.store, delivery, needs_code=True, new_code=False, now=NOW + 1)
    assert second is not None
    assert second.code is None
    with pytest.raises(links.NoSuchLink):
        links.find_live_link(holder.store, first.token, now=NOW + 1)
    assert links.find_live_link(holder.store, second.token, now=NOW + 1).needs_code


@pytest.mark.behaviour("N1")
def test_a_locked_database_is_unavailable_and_changes_nothing(tmp_path: Path) -> None:
    holder = Holder(f"sqlite:///{tmp_path}/restante.db")
    quick = Store(holder.url, busy_seconds=0.05)
    with holder.store.write() as writer:
        writer.connection()
        request = holder.request(("b@x", S.HELD))
        with pytest.raises(StoreUnavailable):
            holding.hold(quick, holder.keys.vault, holder.keys.worker, request, actor="milter", now=NOW)
    assert count(holder, Message) == 0
    quick.close()
    holder.store.close()


@pytest.mark.behaviour("N1")
def test_a_full_database_is_unavailable_and_changes_nothing(tmp_path: Path) -> None:
    holder = Holder(f"sqlite:///{tmp_path}/restante.db")
    with holder.store.engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")
    with pytest.raises(StoreUnavailable, match="full"):
        holder.hold(holder.request(("b@x", S.HELD), content=bytes(1_000_000)))
    with holder.store.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count=1000000")
    assert count(holder, Message) == 0
    assert holder.hold(holder.request(("b@x", S.HELD)))
    holder.store.close()


def test_what_was_left_with_the_mta_and_is_taken_at_the_retry_is_held(holder: Holder) -> None:
    first = (("b@x", S.HELD), ("c@x", S.LEFT_WITH_MTA))
    holder.hold(holder.request(*first, fingerprint=b"1" * 32))
    holder.hold(holder.request(("b@x", S.HELD), ("c@x", S.HELD), fingerprint=b"1" * 32))
    holder.hold(holder.request(("b@x", S.HELD), ("c@x", S.HELD), fingerprint=b"1" * 32))
    with holder.store.read() as session:
        held = session.scalars(select(Delivery.recipient).where(Delivery.state == S.HELD)).all()
    assert sorted(held) == ["b@x", "c@x"]


def test_the_same_message_sent_again_later_is_held_again(holder: Holder) -> None:
    def send(now: float) -> str:
        request = holder.request(("b@x", S.HELD), fingerprint=b"1" * 32, expires_at=NOW + 10_000_000)
        return holder.hold(replace(request, retry_seconds=900), now=now)

    first = send(NOW)
    assert send(NOW + 800) == first
    second = send(NOW + 1000)
    assert second != first
    assert send(NOW + 1100) == second
    assert count(holder, Message) == 2


def test_two_copies_that_finish_together_take_the_key_with_them(holder: Holder) -> None:
    for _ in range(20):
        message_id = holder.hold(holder.request(("b@x", S.HELD), ("c@x", S.HELD)))
        deliveries = [one.id for one in holder.deliveries(message_id)]
        barrier = threading.Barrier(2)

        def finish(delivery_id: str, barrier: threading.Barrier = barrier) -> None:
            barrier.wait()
            holding.delete(holder.store, delivery_id, actor="admin:a", now=NOW)

        threads = [threading.Thread(target=finish, args=(one,)) for one in deliveries]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    with holder.store.read() as session:
        assert session.scalar(select(func.count()).where(Blob.wrapped_key.is_not(None))) == 0


def test_a_notice_that_cannot_be_sent_brings_the_copy_to_a_reviewer(holder: Holder) -> None:
    delivery = holder.held()
    minted = links.mint_link(holder.store, delivery, needs_code=False, new_code=False, now=NOW)
    assert minted is not None
    job = jobs(holder)[0]
    holding.notice_failed(holder.store, job.id, [delivery], "550 no such user", now=NOW)
    assert holder.state(delivery) == S.QUARANTINED
    with pytest.raises(links.NoSuchLink):
        links.find_live_link(holder.store, minted.token, now=NOW)
    CHANGES["release to portal"][0](holder, delivery)
    assert holder.state(delivery) == S.HELD
