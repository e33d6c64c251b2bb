"""Receipts: what a copy's sender is to be told, noted in the transaction in which it happened, once for each occasion.

Whether it is also mailed is the sender's choice, which the worker asks for when it would send it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Any

from sqlalchemy import delete, exists, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from restante.receipts import CHOSEN, Receipt
from restante.store import audit
from restante.store.engine import Store
from restante.store.jobs import job_row
from restante.store.models import (
    Base,
    Delivery,
    DeliveryState,
    JobKind,
    Message,
    OutboxJob,
    ReceiptNote,
    SenderPreference,
)
from restante.store.rows import put_rows


def _insert(session: Session) -> Any:
    return postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert


def _noting(insert: Any) -> Any:
    return insert(Base.metadata.tables[ReceiptNote.__tablename__]).on_conflict_do_nothing().returning(ReceiptNote.at)


# Built once: building a statement costs more than running it.
_NOTE: Mapping[str, Any] = MappingProxyType(
    {"postgresql": _noting(postgresql.insert), "sqlite": _noting(sqlite.insert)}
)


def _first(session: Session, event: Receipt, delivery_id: str, occasion: str, now: float) -> bool:
    row = {"delivery_id": delivery_id, "event": event, "occasion": occasion, "at": now}
    connection = session.connection()
    return connection.execute(_NOTE[connection.dialect.name], row).first() is not None


def in_one_line(words: str) -> str:
    """A mail server's words as they may stand in a text: printable, with single spaces."""
    return " ".join("".join(c if c.isprintable() else " " for c in words).split())


def note(
    session: Session,
    event: Receipt,
    message_id: str,
    delivery_id: str,
    now: float,
    *,
    occasion: str = "",
    **detail: Any,
) -> bool:
    """Have the sender told of ``event``, in the caller's transaction; false when it was noted for this ``occasion``.

    No secrets in ``detail``.
    """
    if not _first(session, event, delivery_id, occasion, now):
        return False
    payload = {"event": str(event), "delivery": delivery_id, "at": now, **detail}
    put_rows(session, OutboxJob, [job_row(JobKind.RECEIPT, message_id, payload, now)])
    return True


def remind(store: Store, *, ahead_seconds: float, now: float, limit: int = 200) -> int:
    """Note what nobody has read and what will expire within ``ahead_seconds``; how many copies that were.

    Of a message that is kept for a short time only, within the second half of it.
    """
    due = (
        Message.expires_at > now,
        Message.expires_at <= now + ahead_seconds,
        (Message.expires_at - now) * 2 <= Message.expires_at - Message.created_at,
        Delivery.state == DeliveryState.HELD,
        ~exists().where(ReceiptNote.delivery_id == Delivery.id, ReceiptNote.event == Receipt.EXPIRING),
    )
    query = select(Delivery.id, Delivery.message_id).join(Message).where(*due).limit(limit)
    with store.read() as session:
        if session.execute(query.limit(1)).first() is None:
            return 0  # nearly always: no need to take the right to write
    with store.write() as session:
        rows = session.execute(query).all()
        return sum(note(session, Receipt.EXPIRING, row.message_id, row.id, now) for row in rows)


def forget_reminders(session: Session, message_id: str) -> None:
    """The message is kept longer: its copies may come near their end once more."""
    of_it = select(Delivery.id).where(Delivery.message_id == message_id)
    session.execute(
        delete(ReceiptNote).where(ReceiptNote.event == Receipt.EXPIRING, ReceiptNote.delivery_id.in_(of_it))
    )


def downloaded(store: Store, message_id: str, delivery_id: str, *, window: str, part: int, now: float) -> None:
    """The recipient begins to take a part, 0 for the whole message: recorded once for each pickup window.

    ``window`` names the window and opens nothing.
    """
    occasion = f"{window}-{part}"[:32]
    with store.read() as session:
        if session.get(ReceiptNote, (delivery_id, Receipt.DOWNLOADED, occasion)) is not None:
            return
    detail = {"part": part, "window": window}
    with store.write() as session:
        if not _first(session, Receipt.DOWNLOADED, delivery_id, occasion, now):
            return  # two ranges of one download, side by side
        audit.record(session, now, "recipient", "downloaded", message_id=message_id, delivery_id=delivery_id, **detail)
        note(session, Receipt.DOWNLOADED, message_id, delivery_id, now)


def mailed(store: Store, digest: bytes, default: Collection[Receipt]) -> frozenset[Receipt]:
    """Which receipts the sender of that digest wants by mail; ``default`` where nothing was chosen."""
    with store.read() as session:
        row = session.get(SenderPreference, digest)
    return frozenset(default) if row is None else frozenset(one for one in CHOSEN if one in row.mailed.split(","))


def prefer(store: Store, digest: bytes, wanted: Collection[Receipt], *, now: float) -> None:
    """Keep which receipts the sender of that digest wants by mail."""
    text = ",".join(one for one in CHOSEN if one in wanted)
    with store.write() as session:
        statement = _insert(session)(SenderPreference).values(digest=digest, mailed=text, changed_at=now)
        session.execute(
            statement.on_conflict_do_update(
                index_elements=[SenderPreference.digest], set_={"mailed": text, "changed_at": now}
            )
        )
