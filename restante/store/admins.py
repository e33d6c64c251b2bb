"""Administrators and their sessions.

A session is a row: it ends on the server, at its time, at sign-out or when its administrator is disabled, whatever
the browser still holds.  Only hashes of passwords and of session secrets are stored.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from sqlalchemy import delete, select, update
from sqlalchemy.exc import IntegrityError

from restante.errors import RestanteError
from restante.store import audit
from restante.store.engine import Store, new_id
from restante.store.models import Administrator, AdminSession
from restante.tokens import mint_token, nobodys_hash, password_hash, password_matches, token_hash

SHORTEST_PASSWORD = 12
_NAME = re.compile(r"[a-z0-9][a-z0-9._@-]{0,62}")


class BadAdministrator(RestanteError):
    """The name is taken, unknown or not a name, or the password is too short.  Choose another."""


class NotSignedIn(Exception):
    """Wrong name, wrong password, disabled, or the session is over: all the same to whoever asks."""


@dataclass(frozen=True, slots=True)
class SignedIn:
    """An administrator whose browser has proved itself."""

    administrator_id: str
    name: str
    role: str
    ends_at: float
    session_id: str = field(repr=False)

    @property
    def actor(self) -> str:
        """The name in audit records."""
        return f"admin:{self.name}"


def add(store: Store, name: str, password: str, *, role: str = "reviewer", now: float) -> str:
    """Add an administrator; returns the id.  Raises :class:`BadAdministrator`."""
    name = name.strip().lower()
    if not _NAME.fullmatch(name):
        raise BadAdministrator(f"{name!r} is not a name: use letters, digits and . _ @ -")
    if len(password) < SHORTEST_PASSWORD:
        raise BadAdministrator(f"the password is shorter than {SHORTEST_PASSWORD} characters")
    hashed = password_hash(password)
    row = Administrator(id=new_id(), name=name, password_hash=hashed, role=role, created_at=now, disabled_at=None)
    try:
        with store.write() as session:
            session.add(row)
            session.flush()
            audit.record(session, now, "operator", "added-administrator", name=name, role=role)
    except IntegrityError:
        raise BadAdministrator(f"there is an administrator {name} already") from None
    return row.id


def disable(store: Store, name: str, *, now: float) -> None:
    """End the administrator's sessions and let no new one begin.  Raises :class:`BadAdministrator`."""
    with store.write() as session:
        row = session.scalar(select(Administrator).where(Administrator.name == name.strip().lower()))
        if row is None:
            raise BadAdministrator(f"there is no administrator {name}")
        row.disabled_at = now
        session.execute(delete(AdminSession).where(AdminSession.administrator_id == row.id))
        audit.record(session, now, "operator", "disabled-administrator", name=row.name)


def sign_in(store: Store, name: str, password: str, *, session_seconds: float, now: float) -> str:
    """Begin a session; returns its secret for the cookie.  Raises :class:`NotSignedIn`.

    Takes as long for a name that does not exist as for a wrong password.
    """
    with store.read() as session:
        row = session.scalar(
            select(Administrator).where(
                Administrator.name == name.strip().lower()[:64], Administrator.disabled_at.is_(None)
            )
        )
    right = password_matches(row.password_hash if row else nobodys_hash(), password)
    if row is None or not right:
        raise NotSignedIn
    secret = mint_token()
    with store.write() as session:
        session.execute(delete(AdminSession).where(AdminSession.ends_at <= now))
        session.add(
            AdminSession(
                id=new_id(),
                secret_hash=token_hash(secret),
                administrator_id=row.id,
                created_at=now,
                ends_at=now + session_seconds,
            )
        )
        audit.record(session, now, f"admin:{row.name}", "signed-in")
    return secret


def signed_in(store: Store, secret: str, *, now: float) -> SignedIn:
    """Who the session secret belongs to.  Raises :class:`NotSignedIn`."""
    return session_of(store, token_hash(secret), now=now)


def session_of(store: Store, secret_hash: bytes, *, now: float) -> SignedIn:
    """The same by what is stored of the secret."""
    with store.read() as session:
        row = session.execute(
            select(AdminSession, Administrator)
            .join(Administrator, Administrator.id == AdminSession.administrator_id)
            .where(
                AdminSession.secret_hash == secret_hash,
                AdminSession.ends_at > now,
                Administrator.disabled_at.is_(None),
            )
        ).one_or_none()
    if row is None:
        raise NotSignedIn
    begun, who = row
    return SignedIn(who.id, who.name, who.role, begun.ends_at, begun.id)


def sign_out(store: Store, who: SignedIn, *, now: float) -> None:
    """End this one session."""
    with store.write() as session:
        session.execute(update(AdminSession).where(AdminSession.id == who.session_id).values(ends_at=now))
        audit.record(session, now, who.actor, "signed-out")
