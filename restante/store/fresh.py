"""Asking for a fresh link: for one that was lost, used or superseded, to the same mailbox alone.

The portal writes down that somebody asked, whoever it was and whatever about, so that an ask about a link that exists
and about one that does not are the same work and get the same answer.  The worker looks what it was about.

A program that follows links and presses buttons does not know the number of the notice, and so cannot have notice
after notice sent, each of which would supersede the link that the recipient is about to open.
"""

from __future__ import annotations

from sqlalchemy import delete, func, or_, select
from sqlalchemy.orm import Session

from restante.store import audit, holding
from restante.store.engine import Store
from restante.store.links import PICKABLE
from restante.store.models import AuditRecord, Delivery, FreshAsk, JobKind, Link, Message, OutboxJob, OutboxState
from restante.tokens import number_hash, plain_number, token_hash

HEARD = "asked-fresh-link"
PER_HOUR, PER_DAY = 3, 10
"""How many asks about one copy are heard at most, however many people ask."""


def ask(store: Store, token: str, number: str, *, now: float, by_code: bool = False) -> None:
    """Somebody asks for a fresh link in the place of ``token``, knowing ``number``; no token: a notice without link.

    ``by_code``: one that opens with a code, though the recipient is enrolled.
    """
    hashed = token_hash(token or plain_number(number))
    bound = number_hash(token, number) if token else None
    row = FreshAsk(token_hash=hashed, number_hash=bound, asked_at=now, by_code=by_code)
    with store.write() as session:
        session.add(row)


def serve(store: Store, *, now: float, limit: int = 50) -> int:
    """Queue a notice for each ask that is about a message still here; how many asks were looked at."""
    with store.read() as session:
        if session.scalar(select(FreshAsk.id).limit(1)) is None:
            return 0  # nearly always: no need to take the right to write
    with store.write() as session:
        asks = session.scalars(select(FreshAsk).order_by(FreshAsk.id).limit(limit).with_for_update()).all()
        for one in asks:
            _serve(session, one, now)
        session.execute(delete(FreshAsk).where(FreshAsk.id.in_([one.id for one in asks])))
    return len(asks)


def _serve(session: Session, one: FreshAsk, now: float) -> None:
    found = session.execute(
        select(Delivery, Message)
        .join(Link, Link.delivery_id == Delivery.id)
        .join(Message, Message.id == Delivery.message_id)
        .where(
            Link.token_hash == one.token_hash,
            or_(Link.number_hash.is_(None), Link.number_hash == one.number_hash),
            Delivery.state.in_(PICKABLE),
            Delivery.frozen_at.is_(None),
            Message.expires_at > now,
        )
    ).one_or_none()
    if found is not None:
        _hear(session, found[0], "recipient", now, by_code=one.by_code)


def resend(store: Store, delivery_id: str, *, actor: str, now: float) -> bool:
    """Queue another notice to the recipient of a copy that waits; false where that is too much or it waits no more."""
    with store.write() as session:
        delivery = session.scalar(
            select(Delivery)
            .join(Message)
            .where(
                Delivery.id == delivery_id,
                Delivery.state.in_(PICKABLE),
                Delivery.frozen_at.is_(None),
                Message.expires_at > now,
            )
        )
        return delivery is not None and _hear(session, delivery, actor, now)


def _hear(session: Session, delivery: Delivery, actor: str, now: float, *, by_code: bool = False) -> bool:
    if not _within_limits(session, delivery.id, delivery.message_id, now):
        return False
    payload = {"deliveries": [delivery.id], "cause": "fresh", "by_code": by_code}
    holding.queue_job(session, JobKind.NOTIFY, delivery.message_id, payload, now)
    audit.record(session, now, actor, HEARD, message_id=delivery.message_id, delivery_id=delivery.id)
    return True


def _within_limits(session: Session, delivery_id: str, message_id: str, now: float) -> bool:
    """Not too many in the hour and the day; and one notice that is about to be sent is enough for everybody."""
    waiting = session.scalars(
        select(OutboxJob.payload).where(
            OutboxJob.message_id == message_id,
            OutboxJob.kind == JobKind.NOTIFY,
            OutboxJob.state == OutboxState.PENDING,
        )
    ).all()
    if any(delivery_id in payload["deliveries"] for payload in waiting):
        return False

    def heard_since(moment: float) -> int:
        of_this = (AuditRecord.message_id == message_id, AuditRecord.delivery_id == delivery_id)
        counted = select(func.count()).where(*of_this, AuditRecord.action == HEARD, AuditRecord.at > moment)
        return session.scalar(counted) or 0

    return heard_since(now - 3600) < PER_HOUR and heard_since(now - 86_400) < PER_DAY
