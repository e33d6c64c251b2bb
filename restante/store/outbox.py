"""The outbox: jobs that the worker keeps trying until they are done or given up.

A job is leased by moving its due time forward in one conditional UPDATE, so that several workers never do one job at
the same time, and a job whose worker died comes back by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import CursorResult, select, update
from sqlalchemy.orm import Session

from restante.access import CodeWay, NoticeForm
from restante.receipts import Receipt
from restante.store.engine import Store
from restante.store.models import Delivery, Message, OutboxJob, OutboxState, ReceiptNote

LEASE_SECONDS = 900


@dataclass(frozen=True, slots=True)
class Job:
    """A leased job.  ``sealed`` holds a data key, sealed to the worker."""

    id: str
    kind: str
    message_id: str
    attempts: int
    created_at: float
    payload: dict[str, Any]
    sealed: bytes | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Copy:
    """One recipient's copy as a notice speaks of it.

    ``suspected``: the recipient has said once that somebody else opened it.
    """

    delivery_id: str
    recipient: str
    domain: str
    route: str
    state: str
    reason: str
    suspected: bool = False


@dataclass(frozen=True, slots=True)
class Case:
    """A held message as the worker may know it: the envelope and the copies, nothing of the content."""

    message_id: str
    sender: str
    header_message_id: str
    created_at: float
    expires_at: float
    rule: str
    requirement: str
    always_code: bool
    code_way: CodeWay
    notice: NoticeForm
    enrolled: bool
    blob_id: str
    size: int
    copies: tuple[Copy, ...]

    def needs_code(self, copy: Copy, *, tls: bool) -> bool:
        """Whether an access code is asked for, where the notice goes under enforced TLS, or does not.

        Once somebody else has opened a copy, its recipient's mailbox proves nothing any more.
        """
        return self.always_code or not tls or self.notice is NoticeForm.NUMBER or copy.suspected

    def copy(self, delivery_id: str) -> Copy | None:
        """The copy with this delivery id."""
        return next((copy for copy in self.copies if copy.delivery_id == delivery_id), None)


def due_ids(store: Store, *, now: float, limit: int = 50) -> Sequence[str]:
    """Up to ``limit`` jobs that are due, the longest due first."""
    with store.read() as session:
        return session.scalars(
            select(OutboxJob.id)
            .where(OutboxJob.state == OutboxState.PENDING, OutboxJob.due_at <= now)
            .order_by(OutboxJob.due_at)
            .limit(limit)
        ).all()


def lease(store: Store, job_id: str, *, now: float) -> Job | None:
    """Take the job for :data:`LEASE_SECONDS`; ``None`` when another worker has it or it is no longer due."""
    with store.write() as session:
        won = session.execute(
            update(OutboxJob)
            .where(OutboxJob.id == job_id, OutboxJob.state == OutboxState.PENDING, OutboxJob.due_at <= now)
            .values(due_at=now + LEASE_SECONDS, attempts=OutboxJob.attempts + 1)
        )
        if not isinstance(won, CursorResult) or won.rowcount != 1:
            return None
        row = session.get_one(OutboxJob, job_id)
        return Job(row.id, row.kind, row.message_id, row.attempts, row.created_at, row.payload, row.sealed)


def load_case(store: Store, message_id: str) -> Case:
    """What a job needs to know of its message."""
    with store.read() as session:
        message = session.get_one(Message, message_id)
        suspected = _suspected(session, message_id)
        copies = tuple(_copy(row, suspected=row.id in suspected) for row in _deliveries(session, message_id))
    return Case(
        message_id=message.id,
        sender=message.sender,
        header_message_id=message.header_message_id,
        created_at=message.created_at,
        expires_at=message.expires_at,
        rule=message.rule,
        requirement=message.requirement,
        always_code=message.always_code,
        code_way=CodeWay(message.code_way),
        notice=NoticeForm(message.notice),
        enrolled=message.enrolled,
        blob_id=message.blob_id,
        size=message.size,
        copies=copies,
    )


def _deliveries(session: Session, message_id: str) -> Sequence[Delivery]:
    return session.scalars(select(Delivery).where(Delivery.message_id == message_id).order_by(Delivery.recipient)).all()


def _suspected(session: Session, message_id: str) -> frozenset[str]:
    noted = select(ReceiptNote.delivery_id).join(Delivery).where(Delivery.message_id == message_id)
    return frozenset(session.scalars(noted.where(ReceiptNote.event == Receipt.NOT_ME)))


def _copy(row: Delivery, *, suspected: bool) -> Copy:
    return Copy(row.id, row.recipient, row.domain, row.route, row.state, row.reason, suspected)


def finish(store: Store, job_id: str) -> None:
    """The job is done."""
    _settle(store, job_id, state=OutboxState.DONE, sealed=None, last_error="")


def give_up(store: Store, job_id: str, error: str) -> None:
    """The job will not be tried again; its row stays, with the reason."""
    _settle(store, job_id, state=OutboxState.FAILED, sealed=None, last_error=error[:500])


def retry(store: Store, job: Job, error: str, *, due_at: float, payload: dict[str, Any] | None = None) -> None:
    """Try again at ``due_at``, with another ``payload`` where a part of the job is done."""
    _settle(store, job.id, due_at=due_at, last_error=error[:500], payload=payload or job.payload)


def _settle(store: Store, job_id: str, **values: Any) -> None:
    with store.write() as session:
        session.execute(update(OutboxJob).where(OutboxJob.id == job_id).values(**values))
