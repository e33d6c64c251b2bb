"""The row of a job for the worker, for whoever promises something in a transaction of its own."""

from __future__ import annotations

from typing import Any

from restante.store.engine import new_id
from restante.store.models import JobKind, OutboxState


def job_row(
    kind: JobKind, message_id: str, payload: dict[str, Any], now: float, *, sealed: bytes | None = None
) -> dict[str, Any]:
    """A job that is due at once.  ``sealed`` is a data key, sealed to the worker."""
    return {
        "id": new_id(),
        "kind": kind,
        "message_id": message_id,
        "payload": payload,
        "sealed": sealed,
        "state": OutboxState.PENDING,
        "attempts": 0,
        "created_at": now,
        "due_at": now,
        "last_error": "",
    }
