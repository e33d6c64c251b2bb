"""Freezing a copy: a recipient says that somebody else opened it, and nobody opens it until that is cleared up.

Whoever lifts it has talked to the recipient.  From then on the copy opens with an access code alone, and with a new
one: whoever opened it first may read the recipient's mailbox.
"""

from __future__ import annotations

from sqlalchemy import CursorResult, update
from sqlalchemy.orm import Session

from restante.receipts import Receipt
from restante.store import audit, enrolments, holding, receipts
from restante.store.engine import Store, new_id
from restante.store.models import Delivery, DeliveryState, JobKind, Link, LinkState, PickupSession


class NotFrozen(Exception):
    """Nothing was changed: the copy was not open to be frozen, or not frozen to be opened.  Show its present state."""


def freeze(store: Store, delivery_id: str, *, actor: str, now: float) -> None:
    """Close every pickup window of an opened copy, let no link open it, and alarm sender and operator.

    A way to sign in that was set on it ends as well: who opened it may have set it, to read what comes later.
    Raises :class:`NotFrozen` when the copy is not in the state "opened", or is frozen already.
    """
    with store.write() as session:
        delivery = _mark(session, delivery_id, frozen=True, now=now)
        session.execute(
            update(PickupSession)
            .where(PickupSession.delivery_id == delivery_id, PickupSession.ends_at > now)
            .values(ends_at=now)
        )
        message_id = delivery.message_id
        audit.record(session, now, actor, "froze", message_id=message_id, delivery_id=delivery_id)
        enrolments.end_those_from(session, delivery_id, actor=actor, now=now)
        receipts.note(session, Receipt.NOT_ME, message_id, delivery_id, now, occasion=new_id())
        told = {"event": str(Receipt.NOT_ME), "delivery": delivery_id, "at": now, "operator": True}
        holding.queue_job(session, JobKind.RECEIPT, message_id, told, now)


def lift(store: Store, delivery_id: str, *, actor: str, now: float) -> None:
    """The recipient may open the copy again: a fresh notice goes out, and a new access code to the sender.

    A link from before the freeze stays dead, also until that notice is sent.  Raises :class:`NotFrozen`.
    """
    with store.write() as session:
        # Link, then copy: the order in which a claim takes them.  No link is made while the copy is frozen.
        session.execute(
            update(Link)
            .where(Link.delivery_id == delivery_id, Link.state == LinkState.LIVE)
            .values(state=LinkState.SUPERSEDED)
        )
        delivery = _mark(session, delivery_id, frozen=False, now=now)
        audit.record(session, now, actor, "lifted", message_id=delivery.message_id, delivery_id=delivery_id)
        payload = {"deliveries": [delivery_id], "cause": "lifted", "code": "new"}
        holding.queue_job(session, JobKind.NOTIFY, delivery.message_id, payload, now)


def _mark(session: Session, delivery_id: str, *, frozen: bool, now: float) -> Delivery:
    before = Delivery.frozen_at.is_(None) if frozen else Delivery.frozen_at.is_not(None)
    changed = session.execute(
        update(Delivery)
        .where(Delivery.id == delivery_id, Delivery.state == DeliveryState.OPENED, before)
        .values(frozen_at=now if frozen else None, changed_at=now)
    )
    if not isinstance(changed, CursorResult) or changed.rowcount != 1:
        raise NotFrozen
    return session.get_one(Delivery, delivery_id, populate_existing=True)
