"""Receipts on either database: noted once, reminders once and again after more time, downloads once for each window."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from sqlalchemy import select, update

from restante.receipts import Receipt
from restante.store import extension, receipts, sender_links
from restante.store.models import AuditRecord, Delivery, DeliveryState, JobKind, Message, OutboxJob
from tests.core.stores import NOW, Holder

DAY = 86_400.0


@pytest.fixture
def holder(database_url: str) -> Iterator[Holder]:
    one = Holder(database_url)
    yield one
    one.store.close()


@pytest.mark.behaviour("S2")
def test_what_is_kept_longer_is_brought_to_mind_again(holder: Holder) -> None:
    request = holder.request(
        ("bob@x", DeliveryState.HELD), ("eve@x", DeliveryState.QUARANTINED), expires_at=NOW + 9 * DAY
    )
    message_id = holder.hold(request)
    with holder.store.write() as session:
        session.execute(update(Message).values(extend_until=NOW + 20 * DAY))

    def remind(days: float) -> int:
        return receipts.remind(holder.store, ahead_seconds=2 * DAY, now=NOW + days * DAY)

    assert [remind(6), remind(8), remind(8)] == [0, 1, 0]
    extension.extend(holder.store, message_id, until=NOW + 18 * DAY, actor="sender", now=NOW + 8 * DAY)
    assert [remind(9), remind(17), remind(17), remind(19)] == [0, 1, 0, 0]
    with pytest.raises(extension.NotExtended):
        extension.extend(holder.store, message_id, until=NOW + 99 * DAY, actor="sender", now=NOW + 19 * DAY)


@pytest.mark.behaviour("S3")
def test_a_double_click_begins_one_session(holder: Holder) -> None:
    delivery = holder.held()
    with holder.store.read() as session:
        message_id = session.get_one(Delivery, delivery).message_id
    minted = sender_links.mint(holder.store, message_id, b"digest", now=NOW)
    link = sender_links.find(holder.store, minted.token, now=NOW)
    barrier = threading.Barrier(4)

    def click() -> None:
        barrier.wait()
        sender_links.begin(holder.store, link, "secret", seconds=60, now=NOW)

    threads = [threading.Thread(target=click) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sender_links.find_visit(holder.store, "secret", now=NOW + 59).message_id == message_id
    with pytest.raises(sender_links.NoSenderSession):
        sender_links.find_visit(holder.store, "secret", now=NOW + 60)
    with holder.store.read() as session:
        records = session.scalars(select(AuditRecord).where(AuditRecord.action == "opened-sender-page")).all()
    assert len(records) == 1


@pytest.mark.behaviour("S2")
def test_ranges_of_one_download_side_by_side_are_one(holder: Holder) -> None:
    delivery = holder.held()
    with holder.store.read() as session:
        message_id = session.get_one(Delivery, delivery).message_id
    barrier = threading.Barrier(6)

    def take() -> None:
        barrier.wait()
        for part in (0, 4):
            receipts.downloaded(holder.store, message_id, delivery, window="w1", part=part, now=NOW)

    threads = [threading.Thread(target=take) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    receipts.downloaded(holder.store, message_id, delivery, window="w2", part=0, now=NOW)
    with holder.store.read() as session:
        details = session.scalars(select(AuditRecord.detail).where(AuditRecord.action == "downloaded")).all()
    expected = [("w1", 0), ("w1", 4), ("w2", 0)]
    assert sorted((each["window"], each["part"]) for each in details) == expected
    with holder.store.read() as session:
        jobs = session.scalars(select(OutboxJob.payload).where(OutboxJob.kind == JobKind.RECEIPT)).all()
    assert [each["event"] for each in jobs] == [Receipt.DOWNLOADED]
