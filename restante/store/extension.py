"""Keeping a message longer: its sender may, up to the moment that its rule set when it was held."""

from __future__ import annotations

from sqlalchemy import CursorResult, exists, select, update

from restante.store import audit, receipts
from restante.store.engine import Store
from restante.store.models import LIVE_STATES, Delivery, Link, LinkState, Message


class NotExtended(Exception):
    """Nothing was changed: the limit is reached, or no copy waits any longer."""


def extend(store: Store, message_id: str, *, until: float, actor: str, now: float) -> float:
    """Keep the message until ``until`` (Unix seconds), or as long as its rule allows; the new end of its time.

    Links that are live now live as long.  Raises :class:`NotExtended`.
    """
    alive = exists().where(Delivery.message_id == message_id, Delivery.state.in_(list(LIVE_STATES)))
    with store.write() as session:
        limit = session.scalar(select(Message.extend_until).where(Message.id == message_id)) or 0
        until = min(until, limit)
        changed = session.execute(
            update(Message)
            .where(Message.id == message_id, Message.expires_at > now, Message.expires_at < until, alive)
            .values(expires_at=until)
        )
        if not isinstance(changed, CursorResult) or changed.rowcount != 1:
            raise NotExtended
        copies = select(Delivery.id).where(Delivery.message_id == message_id)
        session.execute(
            update(Link).where(Link.delivery_id.in_(copies), Link.state == LinkState.LIVE).values(expires_at=until)
        )
        receipts.forget_reminders(session, message_id)
        audit.record(session, now, actor, "extended", message_id=message_id, until=until)
    return until
