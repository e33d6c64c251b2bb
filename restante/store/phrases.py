"""Phrases that were agreed with recipients beforehand, and open their messages in the place of an access code.

Only a slow hash is kept.  A new phrase counts for notices that are sent from then on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from restante.envelope import Address, BadAddress
from restante.errors import RestanteError
from restante.store import audit
from restante.store.engine import Store
from restante.store.models import AgreedPhrase
from restante.tokens import SHORTEST_PHRASE, phrase_hash, plain_phrase

FEWEST_CHARACTERS = 6  # different ones


class BadPhrase(RestanteError):
    """The phrase is too easy to guess, or the recipient is no address, or nothing is agreed.  The text says which."""


@dataclass(frozen=True, slots=True)
class Agreed:
    """That a phrase is agreed with a recipient, since when and by whom; ``changed_at`` is in Unix seconds."""

    recipient: str
    changed_at: float
    changed_by: str


def agree(store: Store, recipient: str, phrase: str, *, actor: str, now: float) -> None:
    """Set the recipient's phrase, in the place of an earlier one.  Raises :class:`BadPhrase`."""
    plain = plain_phrase(phrase)
    if len(plain) < SHORTEST_PHRASE or len(set(plain)) < FEWEST_CHARACTERS:
        raise BadPhrase(
            f"the phrase is too easy to guess: take at least {SHORTEST_PHRASE} characters,"
            f" {FEWEST_CHARACTERS} different ones, or let restante phrase set make one"
        )
    key, hashed = _key(recipient), phrase_hash(phrase)
    with store.write() as session:
        row = session.get(AgreedPhrase, key, with_for_update=True)
        if row is None:
            session.add(AgreedPhrase(recipient=key, phrase_hash=hashed, changed_at=now, changed_by=actor))
        else:
            row.phrase_hash, row.changed_at, row.changed_by = hashed, now, actor
        _record(session, key, actor, "agreed-phrase", now)


def forget(store: Store, recipient: str, *, actor: str, now: float) -> None:
    """Remove the recipient's phrase: from the next notice on, codes go to the sender.  Raises :class:`BadPhrase`."""
    key = _key(recipient)
    with store.write() as session:
        row = session.get(AgreedPhrase, key)
        if row is None:
            raise BadPhrase(f"no phrase is agreed with {recipient}")
        session.execute(delete(AgreedPhrase).where(AgreedPhrase.recipient == key))
        _record(session, key, actor, "forgot-phrase", now)


def hash_for(store: Store, recipient: str) -> str | None:
    """The hash of the phrase that is agreed with the recipient; ``None`` where none is."""
    with store.read() as session:
        return session.scalar(select(AgreedPhrase.phrase_hash).where(AgreedPhrase.recipient == _key(recipient)))


def everyone(store: Store) -> Sequence[Agreed]:
    """With whom a phrase is agreed, by address."""
    with store.read() as session:
        rows = session.scalars(select(AgreedPhrase).order_by(AgreedPhrase.recipient)).all()
    return [Agreed(row.recipient, row.changed_at, row.changed_by) for row in rows]


def _key(recipient: str) -> str:
    """What an address is looked up by: people do not tell upper from lower case."""
    try:
        parsed = Address.parse(recipient)
    except BadAddress as error:
        raise BadPhrase(str(error)) from None
    return f"{parsed.text.rpartition('@')[0].casefold()}@{parsed.domain}"[:320]


def _record(session: Session, recipient: str, actor: str, action: str, now: float) -> None:
    audit.record(session, now, actor, action, recipient=recipient)
