"""Counting tries at a secret, for all processes together.

A try is counted before the secret is looked at and given back when it was right, so that many tries at once cannot
slip past the limit; nobody waits until that is on disk.  A try that is refused counts nowhere: whoever is blocked
under a narrow limit (one link from one client) uses up nothing of the wide one (the link from anywhere), and so cannot
lock out anyone else.

Where strangers at many addresses have used up a wide limit, there is a reserve: few tries for each network that has
none of the wide limit left, so that whoever knows the secret still gets in (:func:`take_or_reserve`).
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from sqlalchemy import BindParameter, bindparam, case, delete, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from restante.store.engine import Store
from restante.store.models import Base, Throttle


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

    def __init__(self, retry_after: float, counter: Counter) -> None:
        super().__init__(f"too many tries; again in {retry_after:.0f} s")
        self.retry_after, self.counter = retry_after, counter


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


def network_key(address: str | None) -> str:
    """What counts as one network: an IPv4 /24, or an IPv6 /48, which is what one customer of a provider has."""
    try:
        parsed = ipaddress.ip_address(client_key(address).partition("/")[0])
    except ValueError:
        return "unknown"
    return str(ipaddress.ip_network((parsed, 24 if parsed.version == 4 else 48), strict=False))


def take(store: Store, counters: Iterable[Counter], *, now: float) -> None:
    """Count one try under each of ``counters``.  Raises :class:`Throttled`, and then none of them counted."""
    with store.write(durable=False) as session:
        for counter in _in_order(counters):
            count, ends_at = _count(session, counter, now)
            if count > counter.limit.tries:
                raise Throttled(max(1.0, ends_at - now), counter)


def take_or_reserve(
    store: Store, narrow: Sequence[Counter], wide: Counter, reserve: Sequence[Counter], *, now: float
) -> Sequence[Counter]:
    """Count one try under ``narrow`` and ``wide``, or where ``wide`` is used up, under ``narrow`` and ``reserve``.

    Returns what was counted, to be given back when the try was right.  Raises :class:`Throttled`.
    """
    try:
        take(store, ordinary := (*narrow, wide), now=now)
    except Throttled as error:
        if error.counter != wide:
            raise
        take(store, rest := (*narrow, *reserve), now=now)
        return rest
    return ordinary


def count_within(session: Session, counter: Counter, *, now: float) -> tuple[bool, float]:
    """Count once, in the caller's transaction: whether that is within the limit, and when the window ends."""
    count, ends_at = _count(session, counter, now)
    return count <= counter.limit.tries, ends_at


def give_back(store: Store, counters: Iterable[Counter]) -> None:
    """The try was right: it does not count."""
    with store.write(durable=False) as session:
        session.connection().execute(_GIVE_BACK, [{"key": counter.bucket} for counter in _in_order(counters)])


def purge(store: Store, *, now: float) -> None:
    """Forget what no longer limits anything."""
    with store.write() as session:
        session.execute(delete(Throttle).where(Throttle.window_ends_at <= now))


def _in_order(counters: Iterable[Counter]) -> Sequence[Counter]:
    """Always the same order, so that two transactions cannot wait for each other."""
    return sorted(counters, key=lambda counter: counter.bucket)


_TABLE = Base.metadata.tables[Throttle.__tablename__]


def _counting(insert: Any) -> Any:
    over = Throttle.window_ends_at <= bindparam("now")
    ends_at: BindParameter[float] = bindparam("ends_at")
    statement = insert(_TABLE).values(bucket=bindparam("key"), count=1, window_ends_at=ends_at)
    return statement.on_conflict_do_update(
        index_elements=[Throttle.bucket],
        set_={
            "count": case((over, 1), else_=Throttle.count + 1),
            "window_ends_at": case((over, ends_at), else_=Throttle.window_ends_at),
        },
    ).returning(Throttle.count, Throttle.window_ends_at)


# Built once: building a statement costs more than running it.
_COUNT: Mapping[str, Any] = MappingProxyType(
    {"postgresql": _counting(postgresql.insert), "sqlite": _counting(sqlite.insert)}
)
_GIVE_BACK = (
    update(_TABLE).where(Throttle.bucket == bindparam("key"), Throttle.count > 0).values(count=Throttle.count - 1)
)


def _count(session: Session, counter: Counter, now: float) -> tuple[int, float]:
    connection = session.connection()
    values = {"key": counter.bucket, "now": now, "ends_at": now + counter.limit.seconds}
    row = connection.execute(_COUNT[connection.dialect.name], values).one()
    return int(row[0]), float(row[1])
