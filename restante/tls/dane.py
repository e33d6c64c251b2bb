"""DANE for SMTP as a source of evidence (RFC 7672).

TLSA records are asked for only behind signed MX and address records.  A domain is DANE when every MX host that has
addresses has usable TLSA records.

Guarantees: what DNS cannot answer, or answers with broken signatures, is UNKNOWN, and so is a domain whose hosts
fail their own TLSA records: its evidence says ``policy`` DANE, so that delivery waits and never falls back to less.
An unsigned domain, or one unsigned host, is no DANE: then the next source is asked.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from restante.tls import tlsa, verdict
from restante.tls.engine import Passed, Question
from restante.tls.evidence import Evidence, Level, MxEvidence, Published
from restante.tls.mx import MxHost
from restante.tls.probe import HostLook, HostProber
from restante.tls.resolve import MAX_TTL, Resolver, Tlsa
from restante.tls.trust import ResolverTrust

SHORTEST: Final = 3 * verdict.MINUTE
LONGEST: Final = verdict.HOUR
STALE: Final = verdict.DAY


@dataclass(frozen=True, slots=True)
class Pins:
    """What DNS pins for one MX host that has addresses.

    ``base`` is the TLSA base domain (RFC 7672, section 2.2.3).  Without ``usable`` records, ``lacking`` says why
    there are none for sure, or ``trouble`` why that is not known.
    """

    host: MxHost
    base: str = ""
    usable: tuple[Tlsa, ...] = ()
    lacking: str = ""
    trouble: str = ""
    published: bool = False
    ttl: int = MAX_TTL


class DaneSource:
    """The first source: DANE where the resolver may be trusted with it."""

    def __init__(
        self,
        resolver: Resolver,
        trust: ResolverTrust,
        prober: HostProber,
        port: int = 25,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._resolver = resolver
        self._trust = trust
        self._prober = prober
        self._port = port
        self._clock = clock

    async def evidence(self, question: Question) -> Evidence | Passed | None:
        """DANE evidence, UNKNOWN with ``policy`` DANE, or nothing for a domain that has no DANE."""
        mx = question.mx
        # RFC 7672, section 2.2.1: an unsigned MX answer can name any host.  A next hop in brackets is our own choice.
        if not (mx.secure or mx.next_hop.direct):
            return None
        hosts = [host for host in mx.hosts if host.addresses]
        if not any(host.secure or host.expanded not in ("", host.name) for host in hosts):
            return None
        trust = await self._trust.ask()
        if trust.trusted is None:
            return verdict.dated(Evidence.unknown(question.domain, trust.reason, self._clock()), question.previous)
        if not trust.trusted:
            return Passed(f"DANE is not used: {trust.reason}")
        port = mx.next_hop.port or self._port
        pins = await asyncio.gather(*(self._pins(host, port) for host in hosts))
        lacking = [one for one in pins if one.lacking]
        if lacking:
            return _in_part(lacking[0]) if any(one.published for one in pins) else None
        shown = await asyncio.gather(*(self._host(one, port, question) for one in pins))
        return judge(question, pins, shown, self._clock())

    async def close(self) -> None:
        """Nothing is left under way: the prober is closed by its owner."""

    async def _pins(self, host: MxHost, port: int) -> Pins:
        expanded = host.expanded or host.name
        if host.secure:
            # RFC 7672, section 2.2.3: the fully expanded name first, then the initial one.
            bases = list(dict.fromkeys((expanded, host.name)))
        elif expanded != host.name:
            # RFC 7672, section 2.2.2: an alias may be signed although its target is not.
            alias = await self._resolver.ask(host.name, "CNAME")
            if alias.exists is None:
                return Pins(host, trouble=f"CNAME lookup: {alias.trouble}")
            if not (alias.exists and alias.secure):
                return Pins(host, lacking="its address is not signed")
            bases = [host.name]
        else:
            return Pins(host, lacking="its address is not signed")
        for base in bases:
            records = await self._resolver.ask(f"_{port}._tcp.{base}", "TLSA")
            if records.exists is None:
                return Pins(host, base, trouble=f"TLSA lookup: {records.trouble}")
            if records.exists and records.secure:
                good = tlsa.usable(records.tlsa)
                lacking = "" if good else "its TLSA records are not usable"
                return Pins(host, base, good, lacking, published=True, ttl=records.ttl)
        return Pins(host, lacking="it has no signed TLSA record")

    async def _host(self, pins: Pins, port: int, question: Question) -> MxEvidence:
        """Look at one host, and hold what it presents against its pins."""
        host = pins.host
        if pins.trouble:
            return MxEvidence(host.name, host.preference, Level.UNKNOWN, pins.trouble)
        # RFC 7672, section 8.1: SNI is the TLSA base domain.
        asked = replace(host, name=pins.base)
        look = await self._prober.look(asked, port, confirm=question.confirm, recheck=question.recheck, chain=True)
        found = self._compare(look, pins, question)
        if found.level is Level.NONE and look.chain and look.looked_at < question.now:
            # Certificate and records change together: what was remembered may be from before.
            look = await self._prober.look(asked, port, confirm=question.confirm, recheck=True, chain=True)
            found = self._compare(look, pins, question)
        return replace(found, host=host.name, preference=host.preference)

    def _compare(self, look: HostLook, pins: Pins, question: Question) -> MxEvidence:
        seen = look.evidence
        if seen.level is Level.NONE:
            return replace(seen, reason=f"publishes TLSA records, but {seen.reason}")
        if seen.level not in (Level.PKIX, Level.ENCRYPTED):
            return seen
        # RFC 7672, section 3.2.2: names that an anchor's certificate may carry.
        names = [pins.base, pins.host.name]
        if not question.mx.next_hop.direct:
            names.append(question.mx.next_hop.name)
        result = tlsa.match(look.chain, pins.usable, names, self._clock())
        if result.matched:
            return replace(seen, level=Level.DANE, reason=result.reason)
        return replace(seen, level=Level.NONE, reason=f"TLSA does not match: {result.reason}")


def _in_part(lacking: Pins) -> Passed:
    """The all-MX rule: an attacker chooses the host without pins."""
    return Passed(f"DANE is published in part, so it protects nobody: {lacking.host.name}: {lacking.lacking}")


def judge(question: Question, pins: Sequence[Pins], shown: Sequence[MxEvidence], now: float) -> Evidence:
    """Evidence of a domain none of whose hosts is known to lack usable TLSA records.  Pure.

    One host that proves itself suffices: delivery contacts no other.  Hosts that could not be looked at leave the
    domain what DNS says it is; hosts that all fail, or whose records are not known, leave it UNKNOWN.
    """
    proved = [host for host in shown if host.level is Level.DANE]
    failed = [host for host in shown if host.level is Level.NONE]
    known = [one for one in pins if one.usable]
    base = Evidence(question.domain, Level.UNKNOWN, "", now, now, now, hosts=tuple(shown), policy=Published.DANE)
    if proved:
        level, reason = Level.DANE, f"{proved[0].host}: {proved[0].reason}"
    elif failed:
        level, reason = Level.UNKNOWN, f"{failed[0].host}: {failed[0].reason}"
    elif len(known) < len(pins):
        troubled = next(one for one in pins if one.trouble)
        level, reason = Level.UNKNOWN, f"{troubled.host.name}: {troubled.trouble}"
    else:
        level, reason = Level.DANE, f"every MX host has usable TLSA records; none could be looked at ({_first(shown)})"
    found = verdict.dated(replace(base, level=level, reason=reason), question.previous)
    if level is not Level.DANE:
        return found
    ttl = min([float(question.mx.ttl), *(float(one.ttl) for one in known)])
    fresh_until = now + max(SHORTEST, min(ttl, LONGEST))
    return replace(found, fresh_until=fresh_until, stale_until=fresh_until + STALE)


def _first(shown: Sequence[MxEvidence]) -> str:
    return f"{shown[0].host}: {shown[0].reason}"
