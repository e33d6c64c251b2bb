"""MTA-STS policies in the database: they bind until they expire, also after a restart."""

from __future__ import annotations

from restante.store.engine import Store
from restante.store.models import StsPolicyRow
from restante.tls.sts_policy import KnownPolicy, Mode, StsPolicy


class StoredPolicies:
    """The policies of all domains, shared by every process.  Raises ``StoreUnavailable``."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def get(self, domain: str) -> KnownPolicy | None:
        """The last policy of ``domain``, perhaps expired."""
        with self._store.read() as session:
            row = session.get(StsPolicyRow, domain)
        if row is None:
            return None
        policy = StsPolicy(Mode(row.mode), tuple(row.mx["patterns"]), row.max_age)
        return KnownPolicy(row.domain, row.policy_id, policy, row.fetched_at)

    def put(self, known: KnownPolicy) -> None:
        """Replace what is kept for the domain."""
        with self._store.write() as session:
            session.merge(
                StsPolicyRow(
                    domain=known.domain,
                    policy_id=known.id,
                    mode=known.policy.mode,
                    mx={"patterns": list(known.policy.mx)},
                    max_age=known.policy.max_age,
                    fetched_at=known.fetched_at,
                    expires_at=known.expires_at,
                )
            )
