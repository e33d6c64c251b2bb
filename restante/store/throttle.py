"""Counting tries at a secret, for all processes together.

A try is counted before the secret is looked at and given back when it was right, so that many tries at once cannot
slip past the limit.  A try that is refused counts nowhere: whoever is blocked under a narrow limit (one link from one
client) uses up nothing of the wide one (the link from anywhere), and so cannot lock out anyone else.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import case, delete, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from restante.store.engine import Store
from restante.store.models import Throttle


@dataclass(frozen=True, slots=True)
class Limit:
    """At most ``tries`` within ``seconds`` for each thing that is counted under ``name``."""

    name: str
    tries: int
    seconds: float

    def of(self, *key: str) -> Counter:
        """The counter of one thing: a link, a client, a pair of them."""
        parts = b"".join(len(part.encode()).to_bytes(4, "big") + part.encode() for part in (self.name, *key))
        return Counter(self, hashlib.sha256(b"restante-throttle/" + parts).digest())


@dataclass(frozen=True, slots=True)
class Counter:
    """One limit for one thing."""

    limit: Limit
    bucket: bytes


class Throttled(Exception):
    """Too many tries.  Refuse without looking at the secret; ``retry_after`` is in seconds."""

    def __init__(self, retry_after: float) -> None:
        super().__init__(f"too many tries; again in {retry_after:.0f} s")
        self.retry_after = retry_after


def client_key(address: str | None) -> str:
    """What counts as one client: an IPv4 address, or an IPv6 /64, which one subscriber has as a whole."""
    try:
        parsed = ipaddress.ip_address(address or "")
    except ValueError:
        return "unknown"
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)


def take(store: Store, counters: Iterable[Counter], *, now: float) -> None:
    """Count one try under each of ``counters``.  Raises :class:`Throttled`, and then none of them counted."""
    with store.write() as session:
        for counter in _in_order(counters):
            count, ends_at = _count(session, counter, now)
            if count > counter.limit.tries:
                raise Throttled(max(1.0, ends_at - now))


def give_back(store: Store, counters: Iterable[Counter]) -> None:
    """The try was right: it does not count."""
    with store.write() as session:
        for counter in _in_order(counters):
            session.execute(
                update(Throttle)
                .where(Throttle.bucket == counter.bucket, Throttle.count > 0)
                .values(count=Throttle.count - 1)
            )


def purge(store: Store, *, now: float) -> None:
    """Forget what no longer limits anything."""
    with store.write() as session:
        session.execute(delete(Throttle).where(Throttle.window_ends_at <= now))


def _in_order(counters: Iterable[Counter]) -> Sequence[Counter]:
    """Always the same order, so that two transactions cannot wait for each other."""
    return sorted(counters, key=lambda counter: counter.bucket)


def _count(session: Session, counter: Counter, now: float) -> tuple[int, float]:
    dialect: Any = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
    over = Throttle.window_ends_at <= now
    ends_at = now + counter.limit.seconds
    statement = dialect.insert(Throttle).values(bucket=counter.bucket, count=1, window_ends_at=ends_at)
    statement = statement.on_conflict_do_update(
        index_elements=[Throttle.bucket],
        set_={
            "count": case((over, 1), else_=Throttle.count + 1),
            "window_ends_at": case((over, ends_at), else_=Throttle.window_ends_at),
        },
    ).returning(Throttle.count, Throttle.window_ends_at)
    row = session.execute(statement).one()
    return int(row[0]), float(row[1])
