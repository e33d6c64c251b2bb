"""The inbox of an enrolled recipient: what waits for the address, and opening it from there.

Nothing of a message's content is read for the list.  Opening is the claim on a link (:mod:`restante.store.links`): on
the live one where the notice brought one, which then is used up, else on one that is made for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import Select, exists, func, select
from sqlalchemy.orm import Session

from restante.access import CodeWay, Proof
from restante.enrolment_keys import plain_address
from restante.store import links
from restante.store.engine import Store, new_id
from restante.store.enrolments import Enrolled
from restante.store.models import AuditRecord, Delivery, DeliveryState, Link, LinkState, Message, PickupSession
from restante.tokens import mint_token, token_hash
from restante.vault import Opener

MOST_SHOWN = 200
LIFTED = "lifted"
"""What :func:`restante.store.freezing.lift` records."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """One message in the list.  ``openable`` is false where the rule asks for more than the sign-in: by the notice."""

    delivery_id: str
    sender: str
    sent_at: float
    expires_at: float
    opened: bool
    openable: bool


def waiting(store: Store, who: Enrolled, *, now: float) -> Sequence[Waiting]:
    """What waits for the recipient, the latest first, at most :data:`MOST_SHOWN`."""
    with store.read() as session:
        rows = session.execute(_of(who, now).order_by(Message.created_at.desc()).limit(MOST_SHOWN)).all()
    return [
        Waiting(
            delivery.id,
            message.sender,
            message.created_at,
            message.expires_at,
            delivery.state == DeliveryState.OPENED,
            _may_open(who, delivery, message, lifted=lifted),
        )
        for delivery, message, lifted in rows
        if plain_address(delivery.recipient) == plain_address(who.address)
    ]


def _of(who: Enrolled, now: float) -> Select[Delivery, Message, bool]:
    """By the domain, which has an index; case alone is left to the database, the rest to :func:`plain_address`."""
    plain = plain_address(who.address)
    # A copy that was frozen opens with a code alone: whoever opened it wrongly may be who is enrolled.
    lifted = exists().where(
        AuditRecord.message_id == Message.id, AuditRecord.delivery_id == Delivery.id, AuditRecord.action == LIFTED
    )
    return (
        select(Delivery, Message, lifted)
        .join(Message, Message.id == Delivery.message_id)
        .where(
            Delivery.domain == plain.rpartition("@")[2],
            func.lower(Delivery.recipient).in_([func.lower(who.address), func.lower(plain)]),
            Delivery.state.in_(links.PICKABLE),
            Message.expires_at > now,
        )
    )


def _may_open(who: Enrolled, delivery: Delivery, message: Message, *, lifted: bool) -> bool:
    allowed = who.may_open(accepted=message.enrolled, always_code=message.always_code)
    return allowed and delivery.frozen_at is None and not lifted


def open_waiting(
    store: Store,
    vault: Opener,
    who: Enrolled,
    delivery_id: str,
    *,
    window_seconds: float,
    now: float,
    secret_for: Callable[[str], str],
) -> str:
    """Open one of the recipient's messages; returns the secret of the pickup window.

    ``secret_for`` gives, for a link's id, a secret that only this browser can name again: a second click finds the
    window that the first one opened.  Raises :class:`restante.store.links.NoSuchLink` where there is no such message
    for this recipient now, and ``CannotOpen``; then nothing was used up.
    """
    with store.write() as session:
        _find(session, who, delivery_id, now)  # before anything is locked: it may be somebody else's
        _lock(session, delivery_id)
        message = _find(session, who, delivery_id, now)
        held = _held_window(session, delivery_id, secret_for, now)
        if held is not None:
            return held
        link_id = _live_link(session, delivery_id, now) or _fresh_link(session, delivery_id, message, now)
        secret = secret_for(link_id)
        links.claim_within(
            session, vault, link_id, window_seconds=window_seconds, now=now, secret=secret, proof=Proof.ENROLLED
        )
    return secret


def _find(session: Session, who: Enrolled, delivery_id: str, now: float) -> Message:
    found = session.execute(_of(who, now).where(Delivery.id == delivery_id)).one_or_none()
    if found is None or plain_address(found[0].recipient) != plain_address(who.address):
        raise links.NoSuchLink
    delivery, message, lifted = found
    if not _may_open(who, delivery, message, lifted=lifted):
        raise links.NoSuchLink
    return message


def _lock(session: Session, delivery_id: str) -> None:
    """Link, then message: the order in which a claim takes them, so that neither waits for the other."""
    session.execute(
        select(Link.id).where(Link.delivery_id == delivery_id, Link.state == LinkState.LIVE).with_for_update()
    )
    session.execute(select(Message.id).join(Delivery).where(Delivery.id == delivery_id).with_for_update(of=Message))
    session.expire_all()


def _held_window(session: Session, delivery_id: str, secret_for: Callable[[str], str], now: float) -> str | None:
    rows = session.execute(
        select(PickupSession.link_id, PickupSession.secret_hash)
        .where(PickupSession.delivery_id == delivery_id, PickupSession.ends_at > now)
        .order_by(PickupSession.opened_at.desc())
    ).all()
    return next((secret_for(link_id) for link_id, kept in rows if token_hash(secret_for(link_id)) == kept), None)


def _live_link(session: Session, delivery_id: str, now: float) -> str | None:
    return session.scalar(
        select(Link.id)
        .where(Link.delivery_id == delivery_id, Link.state == LinkState.LIVE, Link.expires_at > now)
        .order_by(Link.created_at.desc())
        .limit(1)
    )


def _fresh_link(session: Session, delivery_id: str, message: Message, now: float) -> str:
    """A link that nobody was sent: the claim on it is what makes one opening one."""
    link = Link(
        id=new_id(),
        delivery_id=delivery_id,
        token_hash=token_hash(mint_token()),
        number_hash=None,
        code_hash=None,
        code_way=CodeWay.ENROLLED,
        state=LinkState.LIVE,
        created_at=now,
        expires_at=message.expires_at,
        used_at=None,
    )
    session.add(link)
    session.flush()
    return link.id
