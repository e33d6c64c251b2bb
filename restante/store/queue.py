"""What a reviewer sees: pages of deliveries, one message with its key, pages of the audit trail.

Pages are by key, not by offset: page 1,000 costs what page 1 costs.  Only reading happens here; changes are
:mod:`restante.store.holding`'s.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sqlalchemy import Select, and_, func, or_, select, tuple_

from restante.store import audit
from restante.store.engine import Store
from restante.store.models import AuditRecord, Blob, Delivery, DeliveryState, Message

COUNTED_UP_TO = 10_000

_Query = TypeVar("_Query", bound=Select[*tuple[Any, ...]])


class NotInQueue(Exception):
    """There is no such delivery."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """The last row of a page: where the next one begins."""

    created_at: float
    id: str

    def __str__(self) -> str:
        return f"{self.created_at!r}~{self.id}"

    @classmethod
    def parse(cls, text: str) -> Cursor | None:
        """Inverse of ``str``; ``None`` for what is not a cursor."""
        created_at, _, identifier = text.partition("~")
        try:
            moment = float(created_at)
        except ValueError:
            return None
        return cls(moment, identifier) if math.isfinite(moment) and identifier.isalnum() else None


@dataclass(frozen=True, slots=True)
class Filter:
    """What to show.  ``sender`` and ``text`` match anywhere in the address; ``domain`` and ``rule`` match whole."""

    state: DeliveryState = DeliveryState.QUARANTINED
    sender: str = ""
    domain: str = ""
    rule: str = ""
    text: str = ""
    oldest_first: bool = False


@dataclass(frozen=True, slots=True)
class QueueRow:
    """One delivery in the list.  ``summary`` is still sealed."""

    delivery_id: str
    message_id: str
    created_at: float
    sender: str
    recipient: str
    state: str
    reason: str
    rule: str
    size: int
    blob_id: str
    wrapped_key: bytes | None = field(repr=False)
    summary: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class QueuePage:
    """A page; ``after`` is ``None`` on the last one."""

    rows: tuple[QueueRow, ...]
    after: Cursor | None


GAVE_REASON = "asked-to-read"


@dataclass(frozen=True, slots=True)
class SiblingDelivery:
    """One recipient's copy of the message under review."""

    delivery_id: str
    recipient: str
    state: str
    route: str
    reason: str
    changed_at: float


@dataclass(frozen=True, slots=True)
class Review:
    """One message under review.  ``wrapped_key`` is ``None`` once its content was destroyed.

    ``four_eyes``: two reviewers must release it; ``approved_by`` is the first of them, as the audit trail names actors.
    """

    delivery_id: str
    message_id: str
    created_at: float
    expires_at: float
    sender: str
    recipient: str
    state: str
    reason: str
    rule: str
    requirement: str
    size: int
    blob_id: str
    deliveries: tuple[SiblingDelivery, ...]
    header_message_id: str
    wrapped_key: bytes | None = field(repr=False)
    summary: bytes = field(repr=False)
    four_eyes: bool = False
    approved_by: str | None = None
    frozen_at: float | None = None


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One record of the trail."""

    id: int
    at: float
    actor: str
    action: str
    message_id: str | None
    delivery_id: str | None
    detail: dict[str, Any]


def page(store: Store, wanted: Filter, *, after: Cursor | None = None, limit: int = 50) -> QueuePage:
    """The page of at most ``limit`` deliveries behind ``after``."""
    key = tuple_(Delivery.created_at, Delivery.id)
    query = _filtered(
        select(Delivery, Message, Blob.wrapped_key)
        .join(Message, Message.id == Delivery.message_id)
        .join(Blob, Blob.id == Message.blob_id),
        wanted,
    )
    if wanted.oldest_first:
        query = query.order_by(Delivery.created_at, Delivery.id)
    else:
        query = query.order_by(Delivery.created_at.desc(), Delivery.id.desc())
    if after is not None:
        edge = tuple_(after.created_at, after.id)
        query = query.where(key > edge if wanted.oldest_first else key < edge)
    with store.read() as session:
        found = session.execute(query.limit(limit + 1)).all()
        rows = tuple(_row(delivery, message, wrapped) for delivery, message, wrapped in found[:limit])
    return QueuePage(rows, Cursor(rows[-1].created_at, rows[-1].delivery_id) if len(found) > limit else None)


def count(store: Store, wanted: Filter) -> int:
    """How many deliveries match, counting no further than :data:`COUNTED_UP_TO` + 1."""
    query = _filtered(select(Delivery.id), wanted)
    if wanted.sender or wanted.rule or wanted.text:
        query = query.join(Message, Message.id == Delivery.message_id)
    with store.read() as session:
        return session.scalar(select(func.count()).select_from(query.limit(COUNTED_UP_TO + 1).subquery())) or 0


def _filtered(query: _Query, wanted: Filter) -> _Query:
    conditions = [Delivery.state == wanted.state]
    if wanted.sender:
        conditions.append(Message.sender.icontains(wanted.sender, autoescape=True))
    if wanted.domain:
        conditions.append(Delivery.domain == wanted.domain.lower())
    if wanted.rule:
        conditions.append(Message.rule == wanted.rule)
    if wanted.text:
        conditions.append(
            or_(
                Delivery.recipient.icontains(wanted.text, autoescape=True),
                Message.sender.icontains(wanted.text, autoescape=True),
                Delivery.reason.icontains(wanted.text, autoescape=True),
            )
        )
    return query.where(and_(*conditions))


def _row(delivery: Delivery, message: Message, wrapped_key: bytes | None) -> QueueRow:
    return QueueRow(
        delivery_id=delivery.id,
        message_id=message.id,
        created_at=delivery.created_at,
        sender=message.sender,
        recipient=delivery.recipient,
        state=delivery.state,
        reason=delivery.reason,
        rule=message.rule,
        size=message.size,
        blob_id=message.blob_id,
        wrapped_key=wrapped_key,
        summary=message.summary,
    )


def review(store: Store, delivery_id: str) -> Review:
    """One delivery with its message and its siblings.  Raises :class:`NotInQueue`."""
    with store.read() as session:
        delivery = session.get(Delivery, delivery_id)
        if delivery is None:
            raise NotInQueue
        message = delivery.message
        siblings = tuple(
            SiblingDelivery(each.id, each.recipient, each.state, each.route, each.reason, each.changed_at)
            for each in message.deliveries
        )
        return Review(
            delivery_id=delivery.id,
            message_id=message.id,
            created_at=delivery.created_at,
            expires_at=message.expires_at,
            sender=message.sender,
            recipient=delivery.recipient,
            state=delivery.state,
            reason=delivery.reason,
            rule=message.rule,
            requirement=message.requirement,
            size=message.size,
            blob_id=message.blob_id,
            deliveries=siblings,
            header_message_id=message.header_message_id,
            wrapped_key=message.blob.wrapped_key,
            summary=message.summary,
            four_eyes=message.four_eyes,
            approved_by=delivery.approved_by,
            frozen_at=delivery.frozen_at,
        )


def recipients(store: Store, delivery_ids: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Recipient and present state of each known delivery among ``delivery_ids``."""
    with store.read() as session:
        rows = session.execute(
            select(Delivery.id, Delivery.recipient, Delivery.state).where(Delivery.id.in_(delivery_ids))
        ).all()
    return {row[0]: (row[1], row[2]) for row in rows}


def record_view(store: Store, seen: Review, *, actor: str, now: float, part: int | None = None) -> None:
    """Keep in the audit trail that a reviewer looked at the content, or took the part of that number; 0 is all."""
    action, detail = ("viewed", {}) if part is None else ("downloaded", {"part": part})
    with store.write() as session:
        audit.record(session, now, actor, action, message_id=seen.message_id, delivery_id=seen.delivery_id, **detail)


def give_reason(store: Store, seen: Review, *, actor: str, reason: str, now: float) -> None:
    """Keep why a reviewer wants to see the content, before it is shown."""
    ids = {"message_id": seen.message_id, "delivery_id": seen.delivery_id}
    with store.write() as session:
        audit.record(session, now, actor, GAVE_REASON, **ids, reason=reason)


def gave_reason(store: Store, seen: Review, *, actor: str, since: float) -> bool:
    """Whether that reviewer has given a reason to see this copy since then."""
    query = select(AuditRecord.id).where(
        AuditRecord.message_id == seen.message_id,
        AuditRecord.delivery_id == seen.delivery_id,
        AuditRecord.actor == actor,
        AuditRecord.action == GAVE_REASON,
        AuditRecord.at >= since,
    )
    with store.read() as session:
        return session.scalar(query.limit(1)) is not None


def audit_page(
    store: Store, *, before: int | None = None, message_id: str = "", limit: int = 100
) -> tuple[tuple[AuditRow, ...], int | None]:
    """The newest ``limit`` records older than ``before``, and where the next page begins, if there is one."""
    query = select(AuditRecord).order_by(AuditRecord.id.desc()).limit(limit + 1)
    if before is not None:
        query = query.where(AuditRecord.id < before)
    if message_id:
        query = query.where(AuditRecord.message_id == message_id)
    with store.read() as session:
        found = session.scalars(query).all()
        rows = tuple(
            AuditRow(each.id, each.at, each.actor, each.action, each.message_id, each.delivery_id, each.detail)
            for each in found[:limit]
        )
    return rows, rows[-1].id if len(found) > limit else None
