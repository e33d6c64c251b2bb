"""Notices that did not arrive: the sender is told, since the recipient knows nothing of the message."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from restante.receipts import Receipt
from restante.store import audit, receipts
from restante.store.links import PICKABLE
from restante.store.models import Delivery, Link, LinkState

REPLY_CAP = 300


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
        return False
    _, delivery_id, message_id, recipient = row
    if delivery_id != proved_for if proved_for else recipient.lower() != lost.recipient.lower():
        return False
    reply = " ".join("".join(c if c.isprintable() else " " for c in lost.reply).split())[:REPLY_CAP]
    detail = {"status": lost.status, "reply": reply}
    if not receipts.note(session, Receipt.NOTICE_LOST, message_id, delivery_id, now, occasion=lost.link_id, **detail):
        return False
    audit.record(
        session, now, "worker", "notice-bounced", message_id=message_id, delivery_id=delivery_id, status=lost.status
    )
    return True
