"""Signing in as an enrolled recipient: what a try is compared with, and the session that a right one begins.

A session is a row: it ends on the server, at its time, at sign-out or with the enrolment, whatever the browser holds.
A one-time code and a count of a passkey are used up by one conditional statement each, so that of two
answers that are the same only one counts.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from sqlalchemy import CursorResult, delete, select, update
from sqlalchemy.orm import Session

from restante.enrolment_keys import PortalKeys
from restante.store import audit, enrolments
from restante.store.engine import Store, new_id
from restante.store.enrolments import Enrolled
from restante.store.models import Enrolment, Passkey, RecipientSession
from restante.tokens import token_hash


class NotSignedIn(Exception):
    """Nothing to sign in with, a used code, or the session is over: all the same to whoever asks."""


@dataclass(frozen=True, slots=True)
class PasswordWay:
    """What a typed password and one-time code are compared with."""

    enrolment_id: str
    password_hash: str = field(repr=False)
    secret: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class PasskeyWay:
    """What an answer of a passkey is verified with."""

    enrolment_id: str
    passkey_id: str
    user_handle: bytes
    sign_count: int
    public_key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A recipient whose browser has proved itself, until ``ends_at``."""

    enrolled: Enrolled
    session_id: str
    ends_at: float


def password_way(store: Store, keys: PortalKeys, address: str) -> PasswordWay | None:
    """The password of whoever is enrolled with ``address``."""
    with store.read() as session:
        row = session.scalar(select(Enrolment).where(Enrolment.address_hash == keys.common.address_hash(address)))
        kept = enrolments.open_password(keys, row) if row is not None else None
        return PasswordWay(row.id, *kept) if row is not None and kept is not None else None


def passkey_way(store: Store, keys: PortalKeys, credential_id: bytes) -> PasskeyWay | None:
    """The passkey with this id."""
    with store.read() as session:
        found = session.execute(
            select(Enrolment, Passkey)
            .join(Passkey, Passkey.enrolment_id == Enrolment.id)
            .where(Passkey.credential_hash == enrolments.credential_hash(credential_id))
        ).one_or_none()
        if found is None:
            return None
        row, passkey = found
        key = enrolments.open_passkey(keys, row, passkey)
        return PasskeyWay(row.id, passkey.id, row.user_handle, passkey.sign_count, key) if key is not None else None


def begin_by_password(store: Store, way: PasswordWay, step: int, secret: str, *, seconds: float, now: float) -> None:
    """Begin the session of ``secret`` with the one-time code of ``step``.

    Raises :class:`NotSignedIn` where that code, or a later one, was used before.
    """
    with store.write() as session:
        used = session.execute(
            update(Enrolment).where(Enrolment.id == way.enrolment_id, Enrolment.last_step < step).values(last_step=step)
        )
        _begin(session, used, way.enrolment_id, "password", secret, seconds, now)


def begin_by_passkey(store: Store, way: PasskeyWay, count: int, secret: str, *, seconds: float, now: float) -> None:
    """Begin the session of ``secret``; ``count`` is what the passkey counts now.

    Raises :class:`NotSignedIn` where it counted as far before (WebAuthn, section 6.1.1); one that always says 0 does
    not count.
    """
    with store.write() as session:
        further = Passkey.sign_count < count if count else Passkey.sign_count == 0
        used = session.execute(update(Passkey).where(Passkey.id == way.passkey_id, further).values(sign_count=count))
        _begin(session, used, way.enrolment_id, "passkey", secret, seconds, now)


def begin_after_enrolling(store: Store, enrolment_id: str, secret: str, *, seconds: float, now: float) -> None:
    """Begin the session of ``secret`` for whoever has just shown the new way.  Raises :class:`NotSignedIn`."""
    with store.write() as session:
        there = session.execute(update(Enrolment).where(Enrolment.id == enrolment_id).values(id=enrolment_id))
        _begin(session, there, enrolment_id, "enrolling", secret, seconds, now)


def _begin(
    session: Session, used: object, enrolment_id: str, way: str, secret: str, seconds: float, now: float
) -> None:
    if not isinstance(used, CursorResult) or used.rowcount != 1:
        raise NotSignedIn
    session.execute(delete(RecipientSession).where(RecipientSession.ends_at <= now))
    session.add(
        RecipientSession(
            id=new_id(),
            secret_hash=token_hash(secret),
            enrolment_id=enrolment_id,
            created_at=now,
            ends_at=now + seconds,
        )
    )
    audit.record(session, now, "recipient", "signed-in", enrolment=enrolment_id, way=way)


def signed_in(store: Store, keys: PortalKeys, secret: str, *, now: float) -> SignedIn:
    """Whose session ``secret`` is.  Raises :class:`NotSignedIn`."""
    with store.read() as session:
        row = session.scalar(
            select(RecipientSession).where(
                RecipientSession.secret_hash == token_hash(secret), RecipientSession.ends_at > now
            )
        )
        enrolled = enrolments.load(session, keys.common, row.enrolment_id) if row is not None else None
        if row is None or enrolled is None:
            raise NotSignedIn
        return SignedIn(enrolled, row.id, row.ends_at)


def sign_out(store: Store, who: SignedIn, *, now: float) -> None:
    """End this one session."""
    with store.write() as session:
        session.execute(update(RecipientSession).where(RecipientSession.id == who.session_id).values(ends_at=now))
        audit.record(session, now, "recipient", "signed-out", enrolment=who.enrolled.id)
