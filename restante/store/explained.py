"""The audit records of explanations: who had which decision explained, and why."""

from __future__ import annotations

from restante.store import audit
from restante.store.engine import Store
from restante.store.queue import Review


def record_message(store: Store, seen: Review, *, actor: str, reason: str, now: float) -> None:
    """Keep that ``actor`` looks at the masked content of a message, for ``reason``, before it is shown."""
    with store.write() as session:
        audit.record(
            session, now, actor, "explained", message_id=seen.message_id, delivery_id=seen.delivery_id, reason=reason
        )


def record_file(store: Store, *, actor: str, size: int, now: float) -> None:
    """Keep that ``actor`` had a file of ``size`` bytes explained.  Nothing else of it is kept anywhere."""
    with store.write() as session:
        audit.record(session, now, actor, "explained-file", size=size)
