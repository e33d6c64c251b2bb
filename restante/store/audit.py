"""The audit trail: one record for each transition, in the same transaction."""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import Session

from restante.store.models import AuditRecord
from restante.store.rows import put_rows


def record(
    session: Session,
    now: float,
    actor: str,
    action: str,
    *,
    message_id: str | None = None,
    delivery_id: str | None = None,
    **detail: Any,
) -> None:
    """Add one record.  ``actor`` is "milter", "intake", "worker", "recipient", "sender" or "admin:NAME".

    No secrets in ``detail``.
    """
    put_rows(session, AuditRecord, [row(now, actor, action, message_id=message_id, delivery_id=delivery_id, **detail)])


def row(
    now: float, actor: str, action: str, *, message_id: str | None = None, delivery_id: str | None = None, **detail: Any
) -> dict[str, Any]:
    """What :func:`record` adds, for who adds several at once."""
    return {
        "at": now,
        "actor": actor,
        "action": action,
        "message_id": message_id,
        "delivery_id": delivery_id,
        "detail": detail,
    }
