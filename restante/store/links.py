"""One-time links, access codes and pickup windows.

What opens a link is, besides its token, the access code where one is needed, and else the number of the notice.  A
notice without a link has a number that stands in the token's place; it never opens without a code.

A link opens once: the claim is one conditional UPDATE, and whoever changes the row has won.  The message is opened
with the vault key inside the won claim, so that a link to something that cannot be decrypted is not used up.
Unknown, used, superseded, revoked and expired links all raise the same :class:`NoSuchLink`.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field

from sqlalchemy import CursorResult, bindparam, or_, select, update
from sqlalchemy.orm import Session

from restante.access import CodeWay, NoticeForm, Proof
from restante.reply import ReplyTo
from restante.store import audit, holding
from restante.store.blobs import require_readable
from restante.store.engine import Store, new_id
from restante.store.models import Base, Blob, Delivery, DeliveryState, Link, LinkState, Message, PickupSession
from restante.store.rows import put_rows
from restante.tokens import (
    code_hash,
    code_matches,
    mint_code,
    mint_number,
    mint_reference,
    mint_token,
    nobodys_hash,
    number_hash,
    phrase_matches,
    plain_number,
    token_hash,
)
from restante.vault import DataKey, Opener

PICKABLE = (DeliveryState.HELD, DeliveryState.OPENED)

# Built once: building a statement costs more than running it, and these are the recipients'.
_LIVE = (
    select(Link.id, Link.delivery_id, Link.code_hash, Link.code_way, Link.number_hash, Delivery.recipient)
    .join(Delivery, Delivery.id == Link.delivery_id)
    .where(
        Link.token_hash == bindparam("token"),
        Link.state == LinkState.LIVE,
        Link.expires_at > bindparam("now"),
        Delivery.state.in_(PICKABLE),
        Delivery.frozen_at.is_(None),
    )
)
_WIN = (
    update(Base.metadata.tables[Link.__tablename__])
    .where(Link.id == bindparam("link"), Link.state == LinkState.LIVE, Link.expires_at > bindparam("now"))
    .values(state=LinkState.USED, used_at=bindparam("now"))
    .returning(Link.delivery_id)
)
_SEALED = (
    select(Message.blob_id, Message.size, Message.summary, Message.expires_at, Blob.wrapped_key)
    .join(Delivery, Delivery.message_id == Message.id)
    .join(Blob, Blob.id == Message.blob_id)
    .where(Delivery.id == bindparam("delivery"))
)
_PICKUP = (
    select(
        Delivery.id,
        Delivery.message_id,
        Delivery.recipient,
        Message.sender,
        Message.size,
        Message.created_at,
        PickupSession.ends_at,
        Message.expires_at,
        Message.summary,
        Message.blob_id,
        Message.view_only,
        Message.reply,
        PickupSession.proof,
        Blob.wrapped_key,
    )
    .select_from(PickupSession)
    .join(Delivery, Delivery.id == PickupSession.delivery_id)
    .join(Message, Message.id == Delivery.message_id)
    .join(Blob, Blob.id == Message.blob_id)
    .where(
        PickupSession.secret_hash == bindparam("secret"),
        PickupSession.ends_at > bindparam("ended"),
        or_(
            PickupSession.ends_at > bindparam("now"),
            PickupSession.ends_at >= PickupSession.opened_at + bindparam("window"),
        ),
        Message.expires_at > bindparam("now"),
        Delivery.state == DeliveryState.OPENED,
        Delivery.frozen_at.is_(None),
    )
)
_WINDOW = (
    select(PickupSession.id)
    .join(Link, Link.id == PickupSession.link_id)
    .join(Delivery, Delivery.id == PickupSession.delivery_id)
    .join(Message, Message.id == Delivery.message_id)
    .where(
        PickupSession.secret_hash == bindparam("secret"),
        PickupSession.ends_at > bindparam("now"),
        Link.token_hash == bindparam("token"),
        Message.expires_at > bindparam("now"),
        Delivery.state == DeliveryState.OPENED,
    )
)


class NoSuchLink(Exception):
    """No link with this token can be opened now.  Say the same to everyone, whatever the cause."""


class NoPickup(Exception):
    """There is no open pickup window for this cookie.  Ask for the link."""


@dataclass(frozen=True, slots=True)
class MintedLink:
    """A fresh link's secrets, which exist only in the notice that is being sent.

    ``token`` is empty for a notice without a link.  ``code`` is ``None`` where none is needed, where an earlier one
    stays valid and where a phrase takes its place.
    """

    link_id: str
    token: str = field(repr=False)
    number: str = field(repr=False)
    code: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class LiveLink:
    """What the landing page may know before opening."""

    link_id: str
    delivery_id: str
    recipient: str
    needs_code: bool
    code_way: CodeWay
    code_hash: str | None = field(repr=False)
    number_hash: bytes | None = field(repr=False)

    def is_number(self, token: str, typed: str) -> bool:
        """Whether ``typed`` is the number of the notice that brought this link."""
        return self.number_hash is not None and hmac.compare_digest(self.number_hash, number_hash(token, typed))


@dataclass(frozen=True, slots=True)
class Pickup:
    """An open pickup window.  ``key`` opens the message and nothing else; ``proof`` is what it was opened with."""

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
    view_only: bool = False
    reply: ReplyTo = ReplyTo.SENDER
    proof: str = ""

    @property
    def may_reply(self) -> bool:
        """Whether the rule allows a reply, and there is somebody to get it."""
        return self.reply is not ReplyTo.NONE and bool(self.sender)


def mint_link(
    store: Store,
    delivery_id: str,
    *,
    needs_code: bool,
    new_code: bool,
    now: float,
    way: CodeWay = CodeWay.SENDER,
    phrase: str | None = None,
    form: NoticeForm = NoticeForm.LINK,
) -> MintedLink | None:
    """Supersede the delivery's live links by a fresh one; ``None`` when it can no longer be picked up.

    An access code that the sender was given before stays valid unless ``new_code``: a fresh link needs no second
    telephone call.  ``phrase`` is the hash of the agreed phrase, for that ``way``.  A notice without a link always
    needs a code.  Where the recipient signs in, there is neither link nor code, whatever else is asked for.
    """
    form = NoticeForm.NUMBER if way is CodeWay.ENROLLED else form
    token = mint_token() if form is NoticeForm.LINK else mint_reference()
    number = mint_number() if form is NoticeForm.LINK else token
    needs_code = (needs_code or form is NoticeForm.NUMBER) and way is not CodeWay.ENROLLED
    code: str | None = None
    with store.write() as session:
        delivery = session.get(Delivery, delivery_id, with_for_update=True)  # two at once would leave two live links
        if delivery is None or delivery.state not in PICKABLE or delivery.frozen_at is not None:
            return None
        hashed = phrase if way is CodeWay.PHRASE else None
        if way is CodeWay.SENDER and not new_code:
            hashed = _latest_code(session, delivery_id)
        if needs_code and hashed is None:
            code = mint_code()
            hashed = code_hash(code)
        link = Link(
            id=new_id(),
            delivery_id=delivery_id,
            token_hash=token_hash(token if form is NoticeForm.LINK else plain_number(token)),
            number_hash=number_hash(token, number) if form is NoticeForm.LINK else None,
            code_hash=hashed if needs_code else None,
            code_way=way,
            state=LinkState.LIVE,
            created_at=now,
            expires_at=session.get_one(Message, delivery.message_id).expires_at,
            used_at=None,
        )
        _supersede_by(session, link, delivery.message_id, new_code=code is not None)
    return MintedLink(link.id, token if form is NoticeForm.LINK else "", number, code)


def _supersede_by(session: Session, link: Link, message_id: str, *, new_code: bool) -> None:
    session.execute(
        update(Link)
        .where(Link.delivery_id == link.delivery_id, Link.state == LinkState.LIVE)
        .values(state=LinkState.SUPERSEDED)
    )
    session.add(link)
    code = "none" if link.code_hash is None else "new" if new_code else "kept"
    audit.record(
        session,
        link.created_at,
        "worker",
        "minted-link",
        message_id=message_id,
        delivery_id=link.delivery_id,
        code=code,
        way=link.code_way if link.code_hash or link.code_way == CodeWay.ENROLLED else "none",
    )


def _latest_code(session: Session, delivery_id: str) -> str | None:
    return session.scalar(
        select(Link.code_hash)
        .where(Link.delivery_id == delivery_id, Link.code_hash.is_not(None), Link.code_way == CodeWay.SENDER)
        .order_by(Link.created_at.desc())
        .limit(1)
    )


def code_went_to_sender(store: Store, link_id: str, *, now: float) -> None:
    """The way that was chosen for the code did not work: the sender has it, and the page behind the link says so."""
    with store.write() as session:
        link = session.get_one(Link, link_id)
        link.code_way = CodeWay.SENDER
        message_id = session.get_one(Delivery, link.delivery_id).message_id
        audit.record(session, now, "worker", "code-went-to-sender", message_id=message_id, delivery_id=link.delivery_id)


def renew_code(store: Store, delivery_id: str, *, actor: str, now: float) -> str:
    """A new access code in the place of the latest one, for a link that is live and for fresh ones; the old is worth
    nothing.  Whoever asked for it passes it on.  Raises :class:`NoSuchLink` where no code is asked for.
    """
    code = mint_code()
    hashed = code_hash(code)  # before the transaction: it takes its time
    latest = (
        select(Link.id)
        .where(Link.delivery_id == delivery_id, Link.code_hash.is_not(None))
        .order_by(Link.created_at.desc())
        .limit(1)
        .scalar_subquery()
    )
    open_to_it = select(Delivery.id).where(Delivery.state.in_(PICKABLE), Delivery.frozen_at.is_(None))
    with store.write() as session:
        changed = session.execute(
            update(Link)
            .where(Link.id == latest, Link.delivery_id.in_(open_to_it))
            .values(code_hash=hashed, code_way=CodeWay.SENDER)
        )
        if not isinstance(changed, CursorResult) or changed.rowcount != 1:
            raise NoSuchLink
        message_id = session.get_one(Delivery, delivery_id).message_id
        audit.record(session, now, actor, "renewed-code", message_id=message_id, delivery_id=delivery_id)
    return code


def find_live_link(store: Store, token: str, *, now: float) -> LiveLink:
    """The link behind ``token`` if it could be opened now.  Changes nothing.  Raises :class:`NoSuchLink`."""
    with store.read() as session:
        link = session.connection().execute(_LIVE, {"token": token_hash(token), "now": now}).one_or_none()
    if link is None:
        raise NoSuchLink
    if link.code_hash is None and link.number_hash is None:
        raise NoSuchLink  # for who signs in; or of a time when an address was typed: a fresh link has a number
    return LiveLink(
        link_id=link.id,
        delivery_id=link.delivery_id,
        recipient=link.recipient,
        needs_code=link.code_hash is not None,
        code_way=CodeWay(link.code_way),
        code_hash=link.code_hash,
        number_hash=link.number_hash,
    )


def is_code(link: LiveLink | None, typed: str) -> bool:
    """Whether ``typed`` is the code, or the phrase, of ``link``.  Works as hard for no link, and for one without code.

    A caller that stays silent about which links exist asks this in every case.
    """
    if link is not None and link.code_hash is not None and link.code_way is CodeWay.PHRASE:
        return phrase_matches(link.code_hash, typed)
    return code_matches((link.code_hash if link is not None else None) or nobodys_hash(), typed)


def claim(
    store: Store,
    vault: Opener,
    link_id: str,
    *,
    window_seconds: float,
    now: float,
    secret: str | None = None,
    proof: Proof = Proof.NUMBER,
) -> str:
    """Open the link, once: returns the secret of the pickup window that was created, for the winner's cookie.

    ``secret``, where given, is one that only the browser in question can name again: when the answer to its first
    try is lost, it finds its window by :func:`holds_window`.  The caller has checked the access code, or that a person
    is there, and says so by ``proof``.  Raises :class:`NoSuchLink` when someone was first or the time is over,
    ``CannotOpen`` when the message cannot be decrypted; the link is then still live.
    """
    secret = secret or mint_token()
    with store.write() as session:
        claim_within(session, vault, link_id, window_seconds=window_seconds, now=now, secret=secret, proof=proof)
    return secret


def claim_within(
    session: Session, vault: Opener, link_id: str, *, window_seconds: float, now: float, secret: str, proof: Proof
) -> None:
    """What :func:`claim` does, in the caller's transaction, which whatever is raised must undo."""
    session.flush()  # what follows goes past the session
    connection = session.connection()
    won = connection.execute(_WIN, {"link": link_id, "now": now}).one_or_none()
    if won is None:
        raise NoSuchLink
    try:
        holding.opened(session, won.delivery_id, proof=proof, now=now)
    except holding.IllegalTransition:
        raise NoSuchLink from None
    message = connection.execute(_SEALED, {"delivery": won.delivery_id}).one()
    key = vault.unwrap(message.blob_id, message.wrapped_key)
    key.open_note(message.summary, "summary")
    require_readable(session, key, message.size)
    window = {
        "id": new_id(),
        "secret_hash": token_hash(secret),
        "link_id": link_id,
        "delivery_id": won.delivery_id,
        "opened_at": now,
        "ends_at": min(now + window_seconds, message.expires_at),
        "proof": proof,
    }
    put_rows(session, PickupSession, [window])


def find_pickup(
    store: Store, vault: Opener, secret: str, *, now: float, late_seconds: float = 0, window_seconds: float = 0
) -> Pickup:
    """The open pickup window behind a cookie, or one of ``window_seconds`` that ended by itself ``late_seconds`` ago.

    Raises :class:`NoPickup`, also after expiry or recall, and ``CannotOpen``.
    """
    return pickup_of(
        store, vault, token_hash(secret), now=now, late_seconds=late_seconds, window_seconds=window_seconds
    )


def pickup_of(
    store: Store, vault: Opener, secret_hash: bytes, *, now: float, late_seconds: float = 0, window_seconds: float = 0
) -> Pickup:
    """The same by what is stored of the cookie's secret."""
    with store.read() as session:
        moments = {"now": now, "ended": now - late_seconds, "window": window_seconds}
        row = session.connection().execute(_PICKUP, {"secret": secret_hash, **moments}).one_or_none()
    if row is None:
        raise NoPickup
    key = vault.unwrap(row.blob_id, row.wrapped_key)
    return Pickup(
        delivery_id=row.id,
        message_id=row.message_id,
        recipient=row.recipient,
        sender=row.sender,
        size=row.size,
        sent_at=row.created_at,
        ends_at=row.ends_at,
        expires_at=row.expires_at,
        summary=key.open_note(row.summary, "summary"),
        key=key,
        view_only=row.view_only,
        reply=ReplyTo(row.reply),
        proof=row.proof,
    )


def holds_window(store: Store, token: str, secret: str, *, now: float) -> bool:
    """Whether ``secret`` belongs to an open pickup window that was opened with the link ``token``."""
    with store.read() as session:
        names = {"secret": token_hash(secret), "token": token_hash(token), "now": now}
        return session.connection().execute(_WINDOW, names).one_or_none() is not None


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
