"""One-time links, access codes and pickup windows.

A link opens once: the claim is one conditional UPDATE, and whoever changes the row has won.  The message is opened
with the vault key inside the won claim, so that a link to something that cannot be decrypted is not used up.
Unknown, used, superseded, revoked and expired links all raise the same :class:`NoSuchLink`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from sqlalchemy import CursorResult, select, update
from sqlalchemy.orm import Session

from restante.store import audit, holding
from restante.store.engine import Store, new_id
from restante.store.models import Delivery, DeliveryState, JobKind, Link, LinkState, Message, PickupSession
from restante.tokens import code_hash, mint_code, mint_token, token_hash
from restante.vault import DataKey, Opener

PICKABLE = (DeliveryState.HELD, DeliveryState.OPENED)


class NoSuchLink(Exception):
    """No link with this token can be opened now.  Say the same to everyone, whatever the cause."""


class NoPickup(Exception):
    """There is no open pickup window for this cookie.  Ask for the link."""


@dataclass(frozen=True, slots=True)
class MintedLink:
    """A fresh link's secrets, which exist only in the notice that is being sent."""

    token: str = field(repr=False)
    code: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class LiveLink:
    """What the landing page may know before opening."""

    link_id: str
    delivery_id: str
    recipient: str
    needs_code: bool
    code_hash: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Pickup:
    """An open pickup window.  ``key`` opens the message and nothing else."""

    delivery_id: str
    message_id: str
    recipient: str
    sender: str
    size: int
    sent_at: float
    ends_at: float
    expires_at: float
    summary: bytes = field(repr=False)
    key: DataKey = field(repr=False)


def mint_link(store: Store, delivery_id: str, *, needs_code: bool, new_code: bool, now: float) -> MintedLink | None:
    """Supersede the delivery's live links by a fresh one; ``None`` when it can no longer be picked up.

    An access code that was issued before stays valid unless ``new_code``: a fresh link needs no second telephone call.
    """
    token = mint_token()
    with store.write() as session:
        delivery = session.get(Delivery, delivery_id, with_for_update=True)  # two at once would leave two live links
        if delivery is None or delivery.state not in PICKABLE:
            return None
        known_code = None if new_code else _latest_code(session, delivery_id)
        code = mint_code() if needs_code and known_code is None else None
        hashed = known_code if code is None else code_hash(code)
        session.execute(
            update(Link)
            .where(Link.delivery_id == delivery_id, Link.state == LinkState.LIVE)
            .values(state=LinkState.SUPERSEDED)
        )
        link = Link(
            id=new_id(),
            delivery_id=delivery_id,
            token_hash=token_hash(token),
            code_hash=hashed if needs_code else None,
            state=LinkState.LIVE,
            created_at=now,
            expires_at=session.get_one(Message, delivery.message_id).expires_at,
            used_at=None,
        )
        session.add(link)
        audit.record(
            session,
            now,
            "worker",
            "minted-link",
            message_id=delivery.message_id,
            delivery_id=delivery_id,
            code="new" if code else "kept" if link.code_hash else "none",
        )
    return MintedLink(token, code)


def _latest_code(session: Session, delivery_id: str) -> str | None:
    return session.scalar(
        select(Link.code_hash)
        .where(Link.delivery_id == delivery_id, Link.code_hash.is_not(None))
        .order_by(Link.created_at.desc())
        .limit(1)
    )


def find_live_link(store: Store, token: str, *, now: float) -> LiveLink:
    """The link behind ``token`` if it could be opened now.  Changes nothing.  Raises :class:`NoSuchLink`."""
    with store.read() as session:
        row = session.execute(
            select(Link, Delivery.recipient)
            .join(Delivery, Delivery.id == Link.delivery_id)
            .where(
                Link.token_hash == token_hash(token),
                Link.state == LinkState.LIVE,
                Link.expires_at > now,
                Delivery.state.in_(PICKABLE),
            )
        ).one_or_none()
    if row is None:
        raise NoSuchLink
    link, recipient = row
    return LiveLink(link.id, link.delivery_id, recipient, link.code_hash is not None, link.code_hash)


def claim(
    store: Store, vault: Opener, link_id: str, *, window_seconds: float, now: float, secret: str | None = None
) -> str:
    """Open the link, once: returns the secret of the pickup window that was created, for the winner's cookie.

    ``secret``, where given, is one that only the browser in question can name again: when the answer to its first
    try is lost, it finds its window by :func:`holds_window`.  The caller has checked the access code, or that a person
    is there.  Raises :class:`NoSuchLink` when someone was first or the time is over, ``CannotOpen`` when the message
    cannot be decrypted; the link is then still live.
    """
    secret = secret or mint_token()
    with store.write() as session:
        won = session.execute(
            update(Link)
            .where(Link.id == link_id, Link.state == LinkState.LIVE, Link.expires_at > now)
            .values(state=LinkState.USED, used_at=now)
        )
        if not isinstance(won, CursorResult) or won.rowcount != 1:
            raise NoSuchLink
        link = session.get_one(Link, link_id)
        try:
            holding.opened(session, link.delivery_id, now=now)
        except holding.IllegalTransition:
            raise NoSuchLink from None
        delivery = session.get_one(Delivery, link.delivery_id)
        message = session.get_one(Message, delivery.message_id)
        vault.unwrap(message.blob_id, message.blob.wrapped_key).open_note(message.summary, "summary")
        session.add(
            PickupSession(
                id=new_id(),
                secret_hash=token_hash(secret),
                link_id=link_id,
                delivery_id=link.delivery_id,
                opened_at=now,
                ends_at=min(now + window_seconds, message.expires_at),
            )
        )
    return secret


def find_pickup(store: Store, vault: Opener, secret: str, *, now: float) -> Pickup:
    """The open pickup window behind a cookie.

    Raises :class:`NoPickup`, also after expiry or recall, and ``CannotOpen``.
    """
    with store.read() as session:
        row = session.execute(
            select(PickupSession, Delivery, Message)
            .join(Delivery, Delivery.id == PickupSession.delivery_id)
            .join(Message, Message.id == Delivery.message_id)
            .where(
                PickupSession.secret_hash == token_hash(secret),
                PickupSession.ends_at > now,
                Message.expires_at > now,
                Delivery.state == DeliveryState.OPENED,
            )
        ).one_or_none()
        if row is None:
            raise NoPickup
        window, delivery, message = row
        key = vault.unwrap(message.blob_id, message.blob.wrapped_key)
    return Pickup(
        delivery_id=delivery.id,
        message_id=message.id,
        recipient=delivery.recipient,
        sender=message.sender,
        size=message.size,
        sent_at=message.created_at,
        ends_at=window.ends_at,
        expires_at=message.expires_at,
        summary=key.open_note(message.summary, "summary"),
        key=key,
    )


def holds_window(store: Store, token: str, secret: str, *, now: float) -> bool:
    """Whether ``secret`` belongs to an open pickup window that was opened with the link ``token``."""
    with store.read() as session:
        found = session.scalar(
            select(PickupSession.id)
            .join(Link, Link.id == PickupSession.link_id)
            .join(Delivery, Delivery.id == PickupSession.delivery_id)
            .join(Message, Message.id == Delivery.message_id)
            .where(
                PickupSession.secret_hash == token_hash(secret),
                PickupSession.ends_at > now,
                Link.token_hash == token_hash(token),
                Message.expires_at > now,
                Delivery.state == DeliveryState.OPENED,
            )
        )
    return found is not None


def close_window(store: Store, secret: str, *, now: float) -> bool:
    """End the pickup window of ``secret`` before its time; false when it was not open."""
    with store.write() as session:
        window = session.scalar(
            select(PickupSession).where(PickupSession.secret_hash == token_hash(secret), PickupSession.ends_at > now)
        )
        if window is None:
            return False
        window.ends_at = now
        message_id = session.get_one(Delivery, window.delivery_id).message_id
        audit.record(session, now, "recipient", "closed-window", message_id=message_id, delivery_id=window.delivery_id)
    return True


def request_fresh_link(store: Store, token: str, *, now: float) -> bool:
    """Queue a fresh link for the mailbox that ``token`` was sent to, whatever became of that link.

    Returns whether anything was queued; never show that to whoever asked.
    """
    with store.write() as session:
        found = session.execute(
            select(Delivery, Message)
            .join(Link, Link.delivery_id == Delivery.id)
            .join(Message, Message.id == Delivery.message_id)
            .where(Link.token_hash == token_hash(token), Delivery.state.in_(PICKABLE), Message.expires_at > now)
        ).one_or_none()
        if found is None:
            return False
        delivery, message = found
        payload = {"deliveries": [delivery.id], "cause": "fresh"}
        holding.queue_job(session, JobKind.NOTIFY, message.id, payload, now)
        audit.record(session, now, "recipient", "asked-fresh-link", message_id=message.id, delivery_id=delivery.id)
    return True
