"""When a copy was opened, for whoever shows a right to know: a stranger with a dead link is told nothing."""

from __future__ import annotations

from sqlalchemy import select

from restante.access import CodeWay
from restante.store.engine import Store
from restante.store.links import PICKABLE, LiveLink
from restante.store.models import Delivery, Link, Message, PickupSession
from restante.tokens import token_hash


def coded_link(store: Store, token: str, *, now: float) -> LiveLink | None:
    """The link behind ``token``, live or not, where a code belongs to it and its message is still here.

    For comparing the code and for nothing else: it may not open anything any more.
    """
    with store.read() as session:
        row = session.execute(
            select(Link, Delivery.recipient)
            .join(Delivery, Delivery.id == Link.delivery_id)
            .join(Message, Message.id == Delivery.message_id)
            .where(
                Link.token_hash == token_hash(token),
                Link.code_hash.is_not(None),
                Delivery.state.in_(PICKABLE),
                Message.expires_at > now,
            )
        ).one_or_none()
    if row is None:
        return None
    link, recipient = row
    return LiveLink(
        link_id=link.id,
        delivery_id=link.delivery_id,
        recipient=recipient,
        needs_code=True,
        code_way=CodeWay(link.code_way),
        code_hash=link.code_hash,
        number_hash=None,  # with one, the limits on tries would tell a dead link from one that never was
    )


def openings(store: Store, delivery_id: str, *, besides: str = "") -> tuple[float, ...]:
    """When the copy was opened, in Unix seconds, but for the window whose cookie is ``besides``."""
    query = select(PickupSession.opened_at).where(
        PickupSession.delivery_id == delivery_id, PickupSession.secret_hash != token_hash(besides)
    )
    with store.read() as session:
        return tuple(session.scalars(query.order_by(PickupSession.opened_at)).all())
