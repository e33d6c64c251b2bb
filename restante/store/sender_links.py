"""The sender's way to the page about a message: a link in the confirmation, and a session in one browser.

The link is random, belongs to one message, and lives a while longer than it.  It opens nothing by itself: a person
types the number of the confirmation, which no program finds on the page or in the link, and the browser gets a session
that ends after its time.  The same link begins another session in another browser; each beginning is recorded.
"""

from __future__ import annotations

import hmac
from contextlib import suppress
from dataclasses import dataclass, field

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from restante.store import audit
from restante.store.engine import Store, new_id
from restante.store.models import Message, SenderLink, SenderSession
from restante.tokens import mint_number, mint_token, number_hash, token_hash

AFTER_SECONDS = 14 * 86_400.0
"""How long after the end of the message its sender can still look up what became of it."""


class NoSuchSenderLink(Exception):
    """No link with this token leads anywhere now.  Say the same to everyone, whatever the cause."""


class NoSenderSession(Exception):
    """This cookie begins nothing any more.  Ask for the link."""


@dataclass(frozen=True, slots=True)
class MintedSenderLink:
    """A fresh link's secrets, which exist only in the mail that is being sent."""

    token: str = field(repr=False)
    number: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class FoundSenderLink:
    """A link that leads somewhere."""

    link_id: str
    message_id: str
    number_hash: bytes = field(repr=False)

    def is_number(self, token: str, typed: str) -> bool:
        """Whether ``typed`` is the number of the mail that brought this link."""
        return hmac.compare_digest(self.number_hash, number_hash(token, typed))


@dataclass(frozen=True, slots=True)
class Visit:
    """A sender's session.  ``sender_digest`` finds the sender's preferences."""

    message_id: str
    ends_at: float
    sender_digest: bytes = field(repr=False)


def mint(store: Store, message_id: str, sender_digest: bytes, *, now: float) -> MintedSenderLink:
    """A link to the page about ``message_id``.  Earlier ones stay good: each is in a mail of its own."""
    minted = MintedSenderLink(mint_token(), mint_number())
    with store.write() as session:
        session.add(
            SenderLink(
                id=new_id(),
                message_id=message_id,
                token_hash=token_hash(minted.token),
                number_hash=number_hash(minted.token, minted.number),
                sender_digest=sender_digest,
                created_at=now,
            )
        )
    return minted


def find(store: Store, token: str, *, now: float) -> FoundSenderLink:
    """The link behind ``token``.  Changes nothing.  Raises :class:`NoSuchSenderLink`."""
    with store.read() as session:
        row = session.scalar(
            select(SenderLink)
            .join(Message, Message.id == SenderLink.message_id)
            .where(SenderLink.token_hash == token_hash(token), Message.expires_at > now - AFTER_SECONDS)
        )
    if row is None:
        raise NoSuchSenderLink
    return FoundSenderLink(row.id, row.message_id, row.number_hash)


def begin(store: Store, link: FoundSenderLink, secret: str, *, seconds: float, now: float) -> None:
    """Begin a session of ``seconds``, whose cookie is ``secret``.  A second click finds the one that is there."""
    with suppress(IntegrityError), store.write() as session:  # the other click of a double click was first
        known = session.scalar(select(SenderSession).where(SenderSession.secret_hash == token_hash(secret)))
        if known is not None and known.ends_at > now:
            return
        if known is None:
            known = SenderSession(id=new_id(), secret_hash=token_hash(secret), link_id=link.link_id)
            session.add(known)
        known.opened_at, known.ends_at = now, now + seconds
        audit.record(session, now, "sender", "opened-sender-page", message_id=link.message_id)


def find_visit(store: Store, secret: str, *, now: float) -> Visit:
    """The session behind a cookie.  Raises :class:`NoSenderSession`."""
    with store.read() as session:
        row = session.execute(
            select(SenderSession.ends_at, SenderLink.message_id, SenderLink.sender_digest)
            .join(SenderLink, SenderLink.id == SenderSession.link_id)
            .join(Message, Message.id == SenderLink.message_id)
            .where(
                SenderSession.secret_hash == token_hash(secret),
                SenderSession.ends_at > now,
                Message.expires_at > now - AFTER_SECONDS,
            )
        ).one_or_none()
    if row is None:
        raise NoSenderSession
    return Visit(row.message_id, row.ends_at, row.sender_digest)


def end(store: Store, secret: str, *, now: float) -> None:
    """End the session of ``secret`` before its time."""
    with store.write() as session:
        row = session.scalar(
            select(SenderSession).where(SenderSession.secret_hash == token_hash(secret), SenderSession.ends_at > now)
        )
        if row is not None:
            row.ends_at = now
