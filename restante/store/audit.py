"""The audit trail: one record for each transition, in the same transaction."""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import Session

from restante.store.models import AuditRecord


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
    """Add one record.  ``actor`` is "milter", "intake", "worker", "recipient" or "admin:NAME".

    No secrets in ``detail``.
    """
    session.add(
        AuditRecord(at=now, actor=actor, action=action, message_id=message_id, delivery_id=delivery_id, detail=detail)
    )
