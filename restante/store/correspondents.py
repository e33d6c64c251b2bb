"""Whom this site writes to, so that a rule can tell a slip of the pen: kept as keyed digests, never as addresses.

For each message that went out, up to three rows: sender and recipient together, the recipient's domain, and what the
domain looks like (:func:`restante.policy.lookalike.skeleton`).  A row counts the days on which it was seen, so that
one busy day makes nobody frequent.  What cannot be written is forgotten: this memory is never worth a message.
"""

from __future__ import annotations

import hmac
import threading
import time
from collections.abc import Collection, Iterable
from typing import Final

import structlog
from sqlalchemy import case, delete, func, select
from sqlalchemy.dialects import postgresql, sqlite

from restante.envelope import Address
from restante.marks import derive
from restante.policy.facts import Acquaintances, Strangers
from restante.policy.lookalike import disguises, skeleton
from restante.settings import Settings
from restante.store.engine import Store, StoreUnavailable
from restante.store.models import Correspondent

DAY: Final = 86_400.0
MOST_NOTED: Final = 200_000
"""Pairs of addresses that a process remembers of one day; beyond, it learns no more until the next."""

_BATCH: Final = 500

log = structlog.get_logger()


class Digests:
    """Addresses and domains as 16 bytes under a key that only this site has."""

    def __init__(self, route_secret: bytes) -> None:
        self._key = derive(route_secret, "correspondents")

    def of(self, *parts: str) -> bytes:
        """The digest of ``parts``, of which the first says what they are."""
        return hmac.digest(self._key, "\0".join(parts).encode("utf-8", "surrogateescape"), "sha256")[:16]

    def contact(self, sender: Address, recipient: Address) -> bytes:
        """Of one who wrote to another."""
        return self.of("contact", _spelled(sender), _spelled(recipient))

    def domain(self, domain: str) -> bytes:
        """Of a domain that was written to."""
        return self.of("domain", domain)

    def look(self, seen: str) -> bytes:
        """Of what such a domain looks like."""
        return self.of("look", seen)


def _spelled(address: Address) -> str:
    return f"{address.text.rpartition('@')[0]}@{address.domain}".lower()


class Correspondents:
    """What the store knows of earlier mail; asked only when a rule wants to know."""

    def __init__(self, store: Store, digests: Digests, frequent_days: int) -> None:
        self._store, self._digests, self._frequent_days = store, digests, frequent_days

    def wrote(self, sender: Address, recipients: Collection[Address]) -> bool:
        """Whether ``sender`` has written to every one of ``recipients``.  Raises ``StoreUnavailable``."""
        wanted = {self._digests.contact(sender, one) for one in recipients}
        return wanted <= self._known(wanted, 1)

    def mistaken(self, domains: Collection[str]) -> frozenset[str]:
        """Those of ``domains`` that are not frequent but look like one that is.  Raises ``StoreUnavailable``."""
        itself = {domain: self._digests.domain(domain) for domain in domains}
        frequent = self._known(itself.values(), self._frequent_days)
        strange = [domain for domain in domains if itself[domain] not in frequent]
        looks = {domain: {self._digests.look(seen) for seen in disguises(domain)} for domain in strange}
        return frozenset(domain for domain in strange if self._known(looks[domain], self._frequent_days))

    def _known(self, digests: Iterable[bytes], days: int) -> frozenset[bytes]:
        wanted = list(digests)
        found: set[bytes] = set()
        with self._store.read() as session:
            for start in range(0, len(wanted), _BATCH):
                batch = wanted[start : start + _BATCH]
                query = select(Correspondent.digest).where(Correspondent.digest.in_(batch), Correspondent.days >= days)
                found.update(session.scalars(query))
        return frozenset(found)


def acquaintances_of(settings: Settings, store: Store, route_secret: bytes) -> Acquaintances:
    """Whom this site has written to; strangers all where it does not learn."""
    if not settings.correspondents.learn:
        return Strangers()
    return Correspondents(store, Digests(route_secret), settings.correspondents.frequent_days)


class Learner:
    """Notes whom mail went to and writes it down from time to time, in a thread of its own.

    Noting touches neither disk nor database.  Safe to share between threads; make it after a fork.
    """

    def __init__(self, store: Store, digests: Digests, pause_seconds: float) -> None:
        self._store, self._digests, self._pause = store, digests, pause_seconds
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._day = 0
        self._seen: set[int] = set()
        self._pending: set[bytes] = set()
        self._thread: threading.Thread | None = None

    def note(self, sender: Address, recipients: Iterable[Address], *, now: float) -> None:
        """``sender`` has written to ``recipients``, none of them of this site."""
        if not sender.text:
            return  # a bounce is nobody's choice of a recipient
        # Python's own hash, with this process's secret: nearly all mail is to somebody who was written to today.
        pairs = {hash((sender.text, one.text, one.domain)): one for one in recipients if one.domain}
        with self._lock:
            if self._day != int(now // DAY):
                self._day, self._seen = int(now // DAY), set()
            fresh = [one for pair, one in pairs.items() if pair not in self._seen]
            if not fresh or len(self._seen) > MOST_NOTED:
                return
            self._seen.update(pairs)
            for one in fresh:
                self._pending.add(self._digests.contact(sender, one))
                self._pending.add(self._digests.domain(one.domain))
                self._pending.add(self._digests.look(skeleton(one.domain)))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="correspondents", daemon=True)
                self._thread.start()

    def flush(self, *, now: float | None = None) -> None:
        """Write down what was noted.  A store that is not there costs the memory of it, nothing else."""
        with self._lock:
            pending, self._pending = self._pending, set()
        if not pending:
            return
        try:
            learn(self._store, pending, now=time.time() if now is None else now)
        except StoreUnavailable as error:
            log.warning("correspondents-not-kept", count=len(pending), error=str(error))

    def close(self) -> None:
        """Write down the rest."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()
        self.flush()

    def _run(self) -> None:
        while not self._over.wait(self._pause):
            self.flush()


def learn(store: Store, digests: Collection[bytes], *, now: float) -> None:
    """Count one more day for each of ``digests`` that has not had this one yet."""
    insert = postgresql.insert if store.engine.dialect.name == "postgresql" else sqlite.insert
    today = int(now // DAY)
    statement = insert(Correspondent)
    later = statement.excluded.last_day > Correspondent.last_day
    statement = statement.on_conflict_do_update(
        index_elements=[Correspondent.digest],
        set_={
            "days": case((later, Correspondent.days + 1), else_=Correspondent.days),
            "last_day": case((later, statement.excluded.last_day), else_=Correspondent.last_day),
        },
    )
    # In one order everywhere: PostgreSQL would find two writers in each other's way otherwise.
    rows = [{"digest": digest, "days": 1, "last_day": today} for digest in sorted(digests)]
    with store.write() as session:
        for start in range(0, len(rows), _BATCH):
            session.execute(statement, rows[start : start + _BATCH])


def forget(store: Store, *, keep_days: int, most: int, now: float) -> None:
    """Delete what was not seen for ``keep_days``, and the oldest beyond ``most`` rows."""
    today = int(now // DAY)
    with store.write() as session:
        session.execute(delete(Correspondent).where(Correspondent.last_day < today - keep_days))
        excess = (session.scalar(select(func.count()).select_from(Correspondent)) or 0) - most
        if excess > 0:
            oldest = select(Correspondent.digest).order_by(Correspondent.last_day, Correspondent.days).limit(excess)
            session.execute(delete(Correspondent).where(Correspondent.digest.in_(oldest)))
