"""The verdict engine: TLS evidence of a domain, from memory, from the store, or by looking.

Guarantees: :meth:`VerdictEngine.evidence` always answers with evidence; what cannot be found out, or fails inside,
is UNKNOWN.  Simultaneous questions for one domain are one lookup, which goes on when a caller gives up.
Lifetimes are those of :mod:`restante.tls.verdict`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Protocol

from restante.tls import verdict
from restante.tls.canaries import Canaries
from restante.tls.evidence import Evidence
from restante.tls.flight import FlightCancelledError, SingleFlight
from restante.tls.mx import BadNextHop, MxAnswer, MxResolver, NextHop
from restante.tls.probe import HostProber, ProbeSettings

__all__ = ["EvidenceCache", "EvidenceSource", "Passed", "ProbeSettings", "ProbeSource", "Question", "VerdictEngine"]

_MEMORY_ENTRIES: Final = 20_000
# Another worker may learn something new: the store is read again after this many seconds.
_MEMORY_SECONDS: Final = 300.0

logger = logging.getLogger(__name__)


class EvidenceCache(Protocol):
    """Where evidence outlives the process.  Both are called from threads; either may raise, at the cost of a lookup."""

    def get(self, domain: str) -> Evidence | None:
        """The last evidence kept for ``domain``, however old."""

    def put(self, evidence: Evidence) -> None:
        """Keep ``evidence`` in the place of what was kept for its domain."""


@dataclass(frozen=True, slots=True)
class Question:
    """What a source is asked: a domain whose MX hosts are known, with what was known before.

    ``confirm`` asks that a firm no be seen twice; ``recheck`` that nothing remembered be used.
    """

    domain: str
    mx: MxAnswer
    now: float
    previous: Evidence | None
    confirm: bool
    recheck: bool


@dataclass(frozen=True, slots=True)
class Passed:
    """A source's answer when the next is to be asked, with what people should know.

    ``again_within``, in seconds, shortens the life of what the next source finds: this one may know more then.
    """

    note: str
    again_within: float | None = None


class EvidenceSource(Protocol):
    """One way to learn of a domain's TLS: DANE, MTA-STS, a probe.  The first that answers decides."""

    async def evidence(self, question: Question) -> Evidence | Passed | None:
        """Evidence; :class:`Passed` or ``None`` when this source has nothing to decide and the next is to be asked."""

    async def close(self) -> None:
        """Stop what is under way."""


class ProbeSource:
    """The last source: look at every MX host.  Always has an answer."""

    def __init__(
        self, settings: ProbeSettings, clock: Callable[[], float] = time.time, prober: HostProber | None = None
    ) -> None:
        self._prober = prober or HostProber(settings, clock)
        self._port = settings.port
        self._clock = clock

    async def evidence(self, question: Question) -> Evidence:
        """Probe all hosts at once, and judge by the per-MX rule."""
        port = question.mx.next_hop.port or self._port
        looks = await asyncio.gather(
            *(
                self._prober.look(host, port, confirm=question.confirm, recheck=question.recheck)
                for host in question.mx.hosts
            )
        )
        placed = [
            replace(look, evidence=replace(look.evidence, preference=host.preference))
            for look, host in zip(looks, question.mx.hosts, strict=True)
        ]
        return verdict.judge(question.domain, placed, self._clock(), question.previous)

    async def close(self) -> None:
        """Cancel probes under way."""
        await self._prober.close()


class VerdictEngine:
    """Answers what is known of a domain's TLS.  Build it inside the event loop that will use it.

    ``sources`` are asked in order after MX lookup; by default only the probe.  While ``canaries`` do no TLS either, no
    domain's "no" is believed.  Raises
    :class:`restante.tls.mx.NoResolver` or :class:`restante.tls.probe.BadTrustStore` on unusable settings.
    """

    def __init__(
        self,
        settings: ProbeSettings,
        cache: EvidenceCache,
        clock: Callable[[], float] = time.time,
        sources: tuple[EvidenceSource, ...] | None = None,
        canaries: tuple[str, ...] = (),
    ) -> None:
        self._resolver = MxResolver(settings.nameservers, settings.dns_timeout, 2 * settings.max_probes)
        self._sources = sources if sources is not None else (ProbeSource(settings, clock),)
        self._canaries = Canaries(canaries, clock)
        self._cache = cache
        self._clock = clock
        self._memory: OrderedDict[str, tuple[float, Evidence]] = OrderedDict()
        self._flights: SingleFlight[tuple[str, bool], Evidence] = SingleFlight()

    async def evidence(self, domain: str, *, recheck: bool = False) -> Evidence:
        """What is known of ``domain``: a name, or a next hop as Postfix writes it (``[host]``, ``[host]:port``).

        Fresh evidence comes from memory or the store; stale evidence too, while it is refreshed in the background.
        ``recheck`` is for a delivery that has just failed: look again now, and confirm a no at once.
        """
        if not recheck:
            remembered = self._remembered(domain)
            if remembered is not None:
                return remembered
        try:
            next_hop = NextHop.parse(domain)
        except BadNextHop as error:
            return Evidence.unknown(domain, f"not a domain: {error}", self._clock())
        name = str(next_hop)
        if not recheck:
            known = self._remembered(name) or await self._stored(name)
            if known is not None:
                if known.fresh_until <= self._clock():
                    self._flights.start((name, False), lambda: self._look(next_hop, recheck=False))
                return known
        try:
            return await self._flights.run((name, recheck), lambda: self._look(next_hop, recheck=recheck))
        except FlightCancelledError:
            return Evidence.unknown(name, "the engine was closed during the lookup", self._clock())

    async def close(self) -> None:
        """Cancel lookups under way; those who wait for them are told UNKNOWN."""
        await self._flights.close()
        await self._canaries.close()
        for source in self._sources:
            await source.close()

    def _remembered(self, name: str) -> Evidence | None:
        entry = self._memory.get(name)
        if entry is None:
            return None
        until, evidence = entry
        if self._clock() < until:
            self._memory.move_to_end(name)
            return evidence
        del self._memory[name]
        return None

    def _remember(self, evidence: Evidence) -> None:
        until = min(evidence.fresh_until, self._clock() + _MEMORY_SECONDS)
        self._memory[evidence.domain] = (until, evidence)
        self._memory.move_to_end(evidence.domain)
        while len(self._memory) > _MEMORY_ENTRIES:
            self._memory.popitem(last=False)

    async def _stored(self, name: str) -> Evidence | None:
        """What the store has, if it may still be used."""
        known = await self._from_cache(name)
        if known is None or known.stale_until <= self._clock():
            return None
        self._remember(known)
        return known

    async def _from_cache(self, name: str) -> Evidence | None:
        try:
            return await asyncio.to_thread(self._cache.get, name)
        except Exception:  # request boundary: a store that fails costs a lookup, never an answer
            logger.exception("evidence store cannot be read")
            return None

    async def _look(self, next_hop: NextHop, *, recheck: bool) -> Evidence:
        name = str(next_hop)
        try:
            previous = await self._from_cache(name)
            found = await self._find_out(next_hop, previous, recheck=recheck)
            found = await self._canaries.doubt(found, previous, self._look_at_canary)
        except Exception:  # task boundary: whatever goes wrong inside is "unknown" outside, and never fresh
            logger.exception("lookup of TLS evidence failed")
            return Evidence.unknown(name, "the lookup failed inside Restante; see its log", self._clock())
        kept = verdict.to_remember(previous, found)
        self._remember(kept)
        try:
            await asyncio.to_thread(self._cache.put, kept)
        except Exception:  # request boundary: an answer that cannot be stored is still the answer
            logger.exception("evidence cannot be stored")
        return found if recheck else kept

    async def _look_at_canary(self, domain: str) -> Evidence:
        return await self._find_out(NextHop.parse(domain), None, recheck=False)

    async def _find_out(self, next_hop: NextHop, previous: Evidence | None, *, recheck: bool) -> Evidence:
        name = str(next_hop)
        mx = await self._resolver.lookup(next_hop)
        settled = verdict.without_hosts(name, mx, self._clock(), previous)
        if settled is not None:
            return settled
        confirm = recheck or verdict.must_confirm(previous)
        question = Question(name, mx, self._clock(), previous, confirm, recheck)
        passed: list[Passed] = []
        for source in self._sources:
            found = await source.evidence(question)
            if isinstance(found, Evidence):
                return _with_remarks(found, passed)
            if found is not None:
                passed.append(found)
        return Evidence.unknown(name, "no source of evidence has an answer", self._clock())


def _with_remarks(found: Evidence, passed: list[Passed]) -> Evidence:
    """``found`` with what the sources before said, and no longer fresh than they allow."""
    if not passed:
        return found
    limits = [one.again_within for one in passed if one.again_within is not None]
    fresh_until = min([found.fresh_until, *(found.checked_at + limit for limit in limits)])
    return replace(found, fresh_until=fresh_until, notes=(*(one.note for one in passed), *found.notes))
