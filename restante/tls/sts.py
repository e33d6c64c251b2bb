"""MTA-STS as a source of evidence (RFC 8461).

A policy that was fetched binds until it expires, whatever becomes of its record or its server; it is fetched again
daily, and when the record's id changes.

Guarantees: a domain under ``enforce`` is MTA-STS when one host of the policy proves its name, and UNKNOWN otherwise,
with ``policy`` saying so: delivery waits, and never falls back to less.  A policy that was never had decides nothing.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final, Protocol, TypeVar

from restante.tls import verdict
from restante.tls.engine import Passed, Question
from restante.tls.evidence import Evidence, Level, MxEvidence, Published
from restante.tls.mx import MxHost
from restante.tls.probe import HostProber
from restante.tls.resolve import Resolver
from restante.tls.sts_fetch import CannotFetch, PolicyFetcher
from restante.tls.sts_policy import MAX_PATTERNS, BadPolicy, KnownPolicy, Mode, parse_policy, policy_id

REFRESH: Final = verdict.DAY
# RFC 8461, section 3.3: a server that failed is left alone for a while.
RETRY: Final = 5 * verdict.MINUTE
AGAIN: Final = verdict.HOUR
Kept = TypeVar("Kept")
_REMEMBERED: Final = 10_000

logger = logging.getLogger(__name__)


class PolicyCache(Protocol):
    """Where policies outlive the process.  Called from threads; may raise, and then nothing is known of the domain."""

    def get(self, domain: str) -> KnownPolicy | None:
        """The last policy kept for ``domain``, perhaps expired."""

    def put(self, known: KnownPolicy) -> None:
        """Keep ``known`` in the place of what was kept for its domain."""


class PoliciesInMemory:
    """A cache that keeps nothing: the source remembers what it fetched for as long as it lives."""

    def get(self, domain: str) -> KnownPolicy | None:  # noqa: ARG002 (the protocol's)
        """Nothing."""
        return None

    def put(self, known: KnownPolicy) -> None:
        """Do nothing."""


class StsSource:
    """The second source, for domains without DANE."""

    def __init__(
        self,
        resolver: Resolver,
        fetcher: PolicyFetcher,
        prober: HostProber,
        cache: PolicyCache,
        port: int = 25,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._resolver = resolver
        self._fetcher = fetcher
        self._prober = prober
        self._cache = cache
        self._port = port
        self._clock = clock
        self._known: OrderedDict[str, KnownPolicy] = OrderedDict()
        self._failed: OrderedDict[str, tuple[float, str]] = OrderedDict()

    async def evidence(self, question: Question) -> Evidence | Passed | None:
        """MTA-STS evidence, UNKNOWN with ``policy`` MTA-STS, or nothing for a domain without a policy to enforce."""
        hop = question.mx.next_hop
        if hop.direct or hop.port is not None:
            return None  # policies are published for domains, not for a next hop that the operator chose
        known, trouble = await self._policy(hop.name)
        if known is None:
            return Passed(f"MTA-STS decides nothing: {trouble}", AGAIN) if trouble else None
        if known.policy.mode is Mode.NONE:
            return None
        outside = [host.name for host in question.mx.hosts if not known.policy.allows(host.name)]
        if known.policy.mode is Mode.TESTING:
            fails = f"; not in it: {outside[0]}" if outside else ""
            return Passed(f"the MTA-STS policy is in testing, so it binds nobody{fails}")
        shown = await asyncio.gather(*(self._host(host, known, question) for host in question.mx.hosts))
        found = judge(question, known, shown, self._clock())
        return replace(found, notes=(f"MTA-STS policy kept from before: {trouble}",)) if trouble else found

    async def close(self) -> None:
        """Nothing is left under way: the prober is closed by its owner."""

    async def _policy(self, domain: str) -> tuple[KnownPolicy | None, str]:
        """The policy in force, and what went wrong in looking for a newer one."""
        known = self._known.get(domain) or await asyncio.to_thread(self._cache.get, domain)
        now = self._clock()
        if known is not None and known.expires_at <= now:
            known = None
        record = await self._resolver.ask(f"_mta-sts.{domain}", "TXT")
        trouble = f"its record cannot be looked up: {record.trouble}" if record.exists is None else ""
        identity = policy_id(record.texts)
        renewed = identity is not None and (known is None or identity != known.id)
        old = known is not None and now - known.fetched_at >= REFRESH
        if renewed or old:
            try:
                known, trouble = await self._fetched(domain, identity or (known.id if known else "")), ""
            except (CannotFetch, BadPolicy) as error:
                trouble = str(error)
                _keep(self._failed, domain, (self._clock(), trouble))
        return known, trouble

    async def _fetched(self, domain: str, identity: str) -> KnownPolicy:
        failed_at, reason = self._failed.get(domain, (-RETRY, ""))
        if self._clock() - failed_at < RETRY:
            raise CannotFetch(reason)
        policy = parse_policy(await self._fetcher.fetch(domain))
        known = KnownPolicy(domain, identity, policy, self._clock())
        self._failed.pop(domain, None)
        _keep(self._known, domain, known)
        try:
            await asyncio.to_thread(self._cache.put, known)
        except Exception:  # request boundary: what cannot be stored is still in force, and in memory
            logger.exception("MTA-STS policy cannot be stored")
        return known

    async def _host(self, host: MxHost, known: KnownPolicy, question: Question) -> MxEvidence:
        if not known.policy.allows(host.name):
            return MxEvidence(host.name, host.preference, Level.NONE, "is not in the domain's MTA-STS policy")
        look = await self._prober.look(host, self._port, confirm=question.confirm, recheck=question.recheck)
        return replace(look.evidence, preference=host.preference)


def judge(question: Question, known: KnownPolicy, shown: Sequence[MxEvidence], now: float) -> Evidence:
    """Evidence of a domain under ``enforce``.  Pure.  It is never good for longer than the policy."""
    patterns = known.policy.postfix_patterns
    if len(patterns) > MAX_PATTERNS:
        patterns = tuple(host.host for host in shown if known.policy.allows(host.host))
    proved = [host for host in shown if host.level is Level.PKIX]
    doubtful = [host for host in shown if host.level is Level.UNKNOWN]
    first = (*proved, *doubtful, *shown)[0]
    base = Evidence(
        question.domain,
        Level.MTA_STS if proved else Level.UNKNOWN,
        f"{first.host}: {first.reason}" if proved else f"no host of the MTA-STS policy: {first.host}: {first.reason}",
        now,
        now,
        now,
        hosts=tuple(shown),
        policy=Published.MTA_STS,
        match=patterns,
    )
    found = verdict.dated(base, question.previous)
    if not proved:
        return found
    end = max(known.expires_at, now + verdict.MINUTE)
    return replace(found, fresh_until=min(now + REFRESH, end), stale_until=min(found.stale_until, end))


def _keep(memory: OrderedDict[str, Kept], key: str, value: Kept) -> None:
    memory[key] = value
    memory.move_to_end(key)
    while len(memory) > _REMEMBERED:
        memory.popitem(last=False)
