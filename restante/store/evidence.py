"""The evidence cache in the database."""

from __future__ import annotations

from restante.store import tls_history
from restante.store.engine import Store
from restante.store.models import TlsEvidence
from restante.store.sts_policies import StoredPolicies
from restante.tls.evidence import Evidence


class StoredEvidence:
    """What was learned of each domain, shared by every process.  Raises ``StoreUnavailable``."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @property
    def policies(self) -> StoredPolicies:
        """The MTA-STS policies in the same store."""
        return StoredPolicies(self._store)

    def get(self, domain: str) -> Evidence | None:
        """The latest evidence of ``domain``, however old; ``None`` where there is none or it is unreadable."""
        with self._store.read() as session:
            row = session.get(TlsEvidence, domain)
        if row is None:
            return None
        try:
            return Evidence.from_dict(row.evidence)
        except (KeyError, TypeError, ValueError):
            return None  # written by another version: as good as not known

    def history(self, domain: str) -> tls_history.History | None:
        """How often and when ``domain`` was seen with TLS; ``None`` when it never was."""
        return tls_history.history(self._store, domain)

    def put(self, evidence: Evidence) -> None:
        """Replace what is known of the domain; a loss of TLS raises the strip alarm in the same transaction."""
        with self._store.write() as session:
            session.merge(
                TlsEvidence(
                    domain=evidence.domain,
                    level=evidence.level,
                    checked_at=evidence.checked_at,
                    stale_until=evidence.stale_until,
                    evidence=evidence.to_dict(),
                )
            )
            tls_history.note(session, evidence)
