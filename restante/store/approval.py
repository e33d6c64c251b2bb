"""Four eyes: where a rule asks for it, a copy that waits for review leaves only when two reviewers want it to.

The first one's word is a column of the copy and a record in the audit trail, written in the transaction of the release
that asks; two who release at the same moment are therefore a first and a second.
"""

from __future__ import annotations

from sqlalchemy import CursorResult, update
from sqlalchemy.orm import Session

from restante.store import audit
from restante.store.models import Delivery, DeliveryState


class SameReviewer(Exception):
    """The message needs two reviewers, and this one was the first.  Nothing was changed: somebody else must release."""


def agreed(session: Session, delivery_id: str, to: DeliveryState, actor: str, now: float) -> bool:
    """Whether a release needs nobody else; false where this was the first of two, whose word is recorded.

    Raises :class:`SameReviewer`.  Whether the copy can be released at all is for the caller to see.
    """
    delivery = session.get(Delivery, delivery_id)
    if delivery is None or not delivery.message.four_eyes:
        return True
    approve = update(Delivery).where(
        Delivery.id == delivery_id, Delivery.state == DeliveryState.QUARANTINED, Delivery.approved_by.is_(None)
    )
    changed = session.execute(approve.values(approved_by=actor, approved_at=now))
    session.refresh(delivery)
    if isinstance(changed, CursorResult) and changed.rowcount == 1:
        ids = {"message_id": delivery.message_id, "delivery_id": delivery_id}
        audit.record(session, now, actor, "approved-release", **ids, to=to)
        return False
    if delivery.state == DeliveryState.QUARANTINED and delivery.approved_by == actor:
        raise SameReviewer
    return True
