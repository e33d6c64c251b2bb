"""What became of a message, as its sender may know it: where each copy is, and what happened to it and when.

Nothing of the content, and no reviewer's name.  What happened is read from the audit trail.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from restante.store.delivered import Found, of_message
from restante.store.engine import Store
from restante.store.models import LIVE_STATES, AuditRecord, Delivery, DeliveryState, Link, Message

CLOCK_SECONDS = 60.0
"""How much earlier than a message its delivery may seem to be, where clocks differ."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened.  ``actor`` is "sender", "recipient", "reviewer" or "restante"."""

    at: float
    action: str
    actor: str
    detail: dict[str, Any]


@dataclass(frozen=True, slots=True)
class SentCopy:
    """One recipient's copy.  ``coded``: it opens with an access code that the sender can replace."""

    delivery_id: str
    recipient: str
    route: str
    state: str
    reason: str
    frozen_at: float | None
    coded: bool
    events: tuple[Event, ...]
    went: tuple[Found, ...]

    @property
    def waits(self) -> bool:
        """Whether the recipient can collect it, or could if it were not frozen."""
        return self.state in {DeliveryState.HELD, DeliveryState.OPENED}


@dataclass(frozen=True, slots=True)
class Sent:
    """A message.  ``extend_until`` is as long as it can be kept at most; 0 for no longer than now."""

    message_id: str
    sender: str
    created_at: float
    expires_at: float
    extend_until: float
    copies: tuple[SentCopy, ...]
    events: tuple[Event, ...]

    def copy(self, delivery_id: str) -> SentCopy | None:
        """The copy of that id, where it is one of this message."""
        return next((one for one in self.copies if one.delivery_id == delivery_id), None)

    def extensible(self, now: float) -> bool:
        """Whether the sender can have it kept longer."""
        alive = any(one.state in LIVE_STATES for one in self.copies)
        return alive and now < self.expires_at < self.extend_until


def look(store: Store, message_id: str) -> Sent:
    """What became of the message of that id."""
    with store.read() as session:
        message = session.get_one(Message, message_id)
        deliveries = session.scalars(
            select(Delivery).where(Delivery.message_id == message_id).order_by(Delivery.recipient)
        ).all()
        coded = _coded(session, [one.id for one in deliveries])
        happened = _events(session, message_id)
    went = [
        one
        for one in of_message(store, message.header_message_id, {each.recipient for each in deliveries})
        if one.at >= message.created_at - CLOCK_SECONDS  # the sender chose the id, perhaps that of another message
    ]
    return Sent(
        message_id=message.id,
        sender=message.sender,
        created_at=message.created_at,
        expires_at=message.expires_at,
        extend_until=message.extend_until or 0,
        copies=tuple(_copy(one, coded, happened, went) for one in deliveries),
        events=tuple(happened.get(None, ())),
    )


def _copy(
    row: Delivery, coded: frozenset[str], happened: dict[str | None, list[Event]], went: Sequence[Found]
) -> SentCopy:
    return SentCopy(
        delivery_id=row.id,
        recipient=row.recipient,
        route=row.route,
        state=row.state,
        reason=row.reason,
        frozen_at=row.frozen_at,
        coded=row.id in coded,
        events=tuple(happened.get(row.id, ())),
        went=tuple(one for one in went if one.delivered.recipient == row.recipient),
    )


def _coded(session: Session, delivery_ids: Sequence[str]) -> frozenset[str]:
    query = select(Link.delivery_id).where(Link.delivery_id.in_(delivery_ids), Link.code_hash.is_not(None))
    return frozenset(session.scalars(query))


def _events(session: Session, message_id: str) -> dict[str | None, list[Event]]:
    happened: dict[str | None, list[Event]] = {}
    for row in session.scalars(
        select(AuditRecord).where(AuditRecord.message_id == message_id).order_by(AuditRecord.id)
    ):
        if row.actor.startswith("admin:") and row.action != "lifted" and not row.action.startswith("became-"):
            continue  # that a reviewer reads, say, is no business of the sender's
        event = Event(row.at, row.action, _ACTORS.get(row.actor.partition(":")[0], "restante"), row.detail)
        happened.setdefault(row.delivery_id, []).append(event)
    return happened


_ACTORS = {"sender": "sender", "recipient": "recipient", "admin": "reviewer"}
