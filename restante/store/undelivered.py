"""Notices that did not arrive: the sender is told, since the recipient knows nothing of the message."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from restante.receipts import Receipt
from restante.store import audit, receipts
from restante.store.links import PICKABLE
from restante.store.models import AuditRecord, Delivery, JobKind, Link, LinkState, OutboxJob

REPLY_CAP = 300
SIGN_IN_BOUNCED = "sign-in-notice-bounced"


@dataclass(frozen=True, slots=True)
class LostNotice:
    """A notice that was refused for good.

    ``status`` is the enhanced status code (RFC 3463), ``reply`` what the peer or the MTA said: a stranger's words.
    """

    link_id: str
    recipient: str
    status: str
    reply: str


def note(session: Session, lost: LostNotice, now: float, *, proved_for: str = "") -> bool:
    """Have the sender told, once for each notice; false where the notice is unknown or a later one replaces it.

    Whoever got a notice can write its Message-ID into a mail of their own: the address must be that of the copy, unless
    a mark of ours proved that the copy ``proved_for`` is meant.
    """
    row = session.execute(
        select(Link.id, Delivery.id, Delivery.message_id, Delivery.recipient)
        .join(Delivery, Delivery.id == Link.delivery_id)
        .where(Link.id == lost.link_id, Link.state == LinkState.LIVE, Delivery.state.in_(PICKABLE))
    ).one_or_none()
    if row is None:
        return _note_about_sign_in(session, lost, now, proved_for)
    _, delivery_id, message_id, recipient = row
    if not _is_meant(lost, delivery_id, recipient, proved_for):
        return False
    detail = {"status": lost.status, "reply": receipts.in_one_line(lost.reply)[:REPLY_CAP]}
    if not receipts.note(session, Receipt.NOTICE_LOST, message_id, delivery_id, now, occasion=lost.link_id, **detail):
        return False
    audit.record(
        session, now, "worker", "notice-bounced", message_id=message_id, delivery_id=delivery_id, status=lost.status
    )
    return True


def _note_about_sign_in(session: Session, lost: LostNotice, now: float, proved_for: str) -> bool:
    """A notice about ways to sign in: recorded, and the sender is told while the copy that it names can be read."""
    job = session.get(OutboxJob, lost.link_id)
    delivery = session.get(Delivery, job.payload["delivery"]) if job and job.kind == JobKind.SIGN_IN else None
    if delivery is None or not _is_meant(lost, delivery.id, delivery.recipient, proved_for):
        return False
    ids = {"message_id": delivery.message_id, "delivery_id": delivery.id}
    recorded = select(AuditRecord.detail).filter_by(**ids, action=SIGN_IN_BOUNCED)
    if any(one["job"] == lost.link_id for one in session.scalars(recorded)):
        return False
    audit.record(session, now, "worker", SIGN_IN_BOUNCED, **ids, status=lost.status, job=lost.link_id)
    if delivery.state in PICKABLE:
        detail = {"status": lost.status, "reply": receipts.in_one_line(lost.reply)[:REPLY_CAP], "about": "sign-in"}
        receipts.note(
            session, Receipt.NOTICE_LOST, delivery.message_id, delivery.id, now, occasion=lost.link_id, **detail
        )
    return True


def _is_meant(lost: LostNotice, delivery_id: str, recipient: str, proved_for: str) -> bool:
    return delivery_id == proved_for if proved_for else recipient.lower() == lost.recipient.lower()
