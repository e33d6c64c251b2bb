"""Since when and how often domains were seen with TLS, and the alarm when one that was suddenly shows none.

A domain that was seen with TLS at least twice, the last time within seven days, and now firmly shows none, may have
somebody on the path who strips STARTTLS.  Its mail is held anyway; the alarm tells people: one audit record and one
error in the log for each loss, in the transaction that stores the evidence.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from restante.store import audit
from restante.store.engine import Store
from restante.store.models import AuditRecord, TlsHistory
from restante.tls.evidence import Evidence, Level
from restante.tls.verdict import POSITIVE_LEVELS, POSITIVE_STALE

ALARM: Final = "strip-alarm"
TOLD: Final = "strip-alarm-told"
DAY: Final = 86_400.0
_LONG_SEEN: Final = 2

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class History:
    """What is remembered of a domain.  Times are Unix seconds, 0 for never."""

    positives: int
    last_positive_at: float
    alarmed_at: float

    @property
    def alarming(self) -> bool:
        """Whether the domain has lost its TLS and has not been seen with it again."""
        return self.alarmed_at > self.last_positive_at


def history(store: Store, domain: str) -> History | None:
    """What is remembered of ``domain``; ``None`` when it was never seen with TLS."""
    with store.read() as session:
        row = session.get(TlsHistory, domain)
        return History(row.positives, row.last_positive_at, row.alarmed_at) if row is not None else None


def note(session: Session, evidence: Evidence) -> None:
    """Take ``evidence`` into the history, and raise the alarm where it shows a loss.  In the caller's transaction."""
    if evidence.level in POSITIVE_LEVELS:
        seen(session, evidence.domain, evidence.checked_at)
    elif evidence.level is Level.NONE:
        _compare(session, evidence)


def seen(session: Session, domain: str, moment: float) -> None:
    """``domain`` was seen with TLS at ``moment``, by a check or by a delivery.  In the caller's transaction."""
    row = session.get(TlsHistory, domain)
    if row is None:
        session.add(TlsHistory(domain=domain, positives=1, last_positive_at=moment, alarmed_at=0.0))
    elif moment > row.last_positive_at:
        recent = moment - row.last_positive_at < POSITIVE_STALE
        row.positives = row.positives + 1 if recent else 1
        row.last_positive_at = moment


def _compare(session: Session, evidence: Evidence) -> None:
    row = session.get(TlsHistory, evidence.domain)
    if row is None or row.positives < _LONG_SEEN or row.alarmed_at > row.last_positive_at:
        return
    if evidence.checked_at - row.last_positive_at >= POSITIVE_STALE:
        return
    row.alarmed_at = evidence.checked_at
    audit.record(
        session,
        evidence.checked_at,
        "worker",
        ALARM,
        domain=evidence.domain,
        reason=evidence.reason,
        positives=row.positives,
        last_positive_at=row.last_positive_at,
    )
    log.error(ALARM, domain=evidence.domain, reason=evidence.reason, positives=row.positives)


def alarms_to_tell(store: Store, *, now: float) -> list[str]:
    """Domains whose alarm nobody has been told of, sorted; empty while the last mail is less than a day old."""
    with store.read() as session:
        last = session.scalar(
            select(AuditRecord).where(AuditRecord.action == TOLD).order_by(AuditRecord.id.desc()).limit(1)
        )
        if last is not None and now - last.at < DAY:
            return []
        told_id = last.id if last is not None else 0
        details = session.scalars(
            select(AuditRecord.detail).where(AuditRecord.action == ALARM, AuditRecord.id > told_id).limit(1000)
        ).all()
    return sorted({str(detail.get("domain", "")) for detail in details})


def told(store: Store, domains: list[str], *, now: float) -> None:
    """Record that the operator was told of ``domains``."""
    with store.write() as session:
        audit.record(session, now, "worker", TOLD, domains=domains[:100])
