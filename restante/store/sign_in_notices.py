"""Telling an address that its ways to sign in were changed: a promise to the worker, in the transaction of the change.

Changes within :data:`GATHER_SECONDS` share one mail.  Nobody can fill a mailbox with such mails: past
:data:`PER_ADDRESS` there is one more, when the day is over, with all that happened meanwhile; nothing goes untold.

The mail goes to the recipient of a copy, whom the job names by the copy's id: no address is written here.  Changes to
one address come one after the other, since each holds the row of the enrolment, or the right to make it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from restante.sign_in_changes import Change, Changed
from restante.store import audit, throttle
from restante.store.engine import Store
from restante.store.jobs import job_row
from restante.store.models import AuditRecord, Delivery, Enrolment, JobKind, OutboxJob, OutboxState
from restante.store.rows import put_rows
from restante.store.throttle import Limit

GATHER_SECONDS = 120.0
PER_ADDRESS = Limit("sign-in-notices", 10, 86_400)
MOST_LINES = 12
ENROLLED = "enrolled"
"""What :func:`restante.store.enrolments.enrol` records."""


def promise(
    session: Session, address_hash: bytes, delivery_id: str | None, changes: Sequence[Change], *, now: float
) -> None:
    """Have the recipient of the copy told of ``changes``, in the caller's transaction.

    ``address_hash`` is what the enrolment is found by.  Where there is no such copy any more nobody can be told, and
    the audit record says so.
    """
    delivery = session.get(Delivery, delivery_id) if delivery_id is not None else None
    if delivery is None:
        audit.record(session, now, "worker", "untold-sign-in-change", changes=[str(one) for one in changes])
        return
    made = [Changed(one, now).kept() for one in changes]
    address = address_hash.hex()
    waiting = _waiting(session, address)
    if waiting is not None:
        waiting.payload = {**waiting.payload, "changes": _shortened([*waiting.payload["changes"], *made])}
        session.flush()
        return
    within, ends_at = throttle.count_within(session, PER_ADDRESS.of(address), now=now)
    payload = {"delivery": delivery.id, "address": address, "changes": made}
    row = job_row(JobKind.SIGN_IN, delivery.message_id, payload, now)
    put_rows(session, OutboxJob, [{**row, "due_at": now + GATHER_SECONDS if within else ends_at}])


def copy_of(session: Session, row: Enrolment) -> str | None:
    """The copy on which the enrolment was made; ``None`` where that is not known.

    Both were written in one transaction, at one moment, which the audit trail has an index on.
    """
    made = select(AuditRecord).where(AuditRecord.at == row.created_at, AuditRecord.action == ENROLLED)
    return next((one.delivery_id for one in session.scalars(made) if one.detail.get("enrolment") == row.id), None)


def again_in_clear(store: Store, job_id: str, *, now: float) -> bool:
    """Promise a notice once more, without TLS, which was there and is gone; false where there was no such notice.

    It is the same mail, and is not counted again.
    """
    with store.write() as session:
        job = session.get(OutboxJob, job_id)
        if job is None or job.kind != JobKind.SIGN_IN:
            return False
        payload = {**job.payload, "clear": True}
        put_rows(session, OutboxJob, [job_row(JobKind.SIGN_IN, job.message_id, payload, now)])
        return True


def _waiting(session: Session, address: str) -> OutboxJob | None:
    """The job for this address that no worker has taken yet, locked."""
    untouched = (
        OutboxJob.kind == JobKind.SIGN_IN,
        OutboxJob.state == OutboxState.PENDING,
        OutboxJob.attempts == 0,
    )
    rows = session.execute(select(OutboxJob.id, OutboxJob.payload).where(*untouched)).all()
    found = next((row.id for row in rows if row.payload["address"] == address and "clear" not in row.payload), None)
    if found is None:
        return None
    locked = select(OutboxJob).where(OutboxJob.id == found, *untouched).with_for_update()
    return session.scalar(locked.execution_options(populate_existing=True))


def _shortened(changes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without the earliest of what was done most often, where there are too many: the last of each kind stays."""
    while len(changes) > MOST_LINES:
        ((most, _),) = Counter(one["what"] for one in changes).most_common(1)
        changes.remove(next(one for one in changes if one["what"] == most))
    return changes
