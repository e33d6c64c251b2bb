"""The socketmaps of the worker: TLS policy for Postfix (smtp_tls_policy_maps), and verdicts for the milter.

``policy`` serves the transport ``restante-tls``, ``policy-auth`` the transport ``restante-auth``, ``verdict`` the
milter.  Guarantees: for every destination but our own intake the answer is mandatory TLS or a temporary error;
plain ``dane`` and ``may``, which can mean clear text, are never said.  What a domain publishes itself, by DANE or
MTA-STS, binds on both transports, also while its hosts fail it.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
from collections.abc import Callable, Mapping
from typing import Final, Protocol

from restante.policy import DomainPolicy
from restante.postfix import AUTHENTICATED_TRANSPORT, HOP_AUTH_MAP, HOP_MAP, TLS_TRANSPORT
from restante.tls.evidence import Evidence, Level, Published
from restante_milter.socketmap import Handler, Reply, Status

# Without evidence the name that is verified is the one that MX lookup gave.
_SECURE: Final = "secure match=hostname servername=hostname"


class Engine(Protocol):
    """What the maps need of :class:`restante.tls.engine.VerdictEngine`."""

    async def evidence(self, domain: str, *, recheck: bool = False) -> Evidence:
        """What is known of ``domain``."""


def nothing_agreed(_destination: str) -> DomainPolicy | None:
    """For who has no policies for domains."""
    return None


def tls_maps(
    engine: Engine,
    fallback: str,
    agreed: Callable[[str], DomainPolicy | None] = nothing_agreed,
    *,
    verdict_budget: float = 8,
    policy_budget: float = 8,
) -> Mapping[str, Handler]:
    """The maps for :class:`restante_milter.socketmap.SocketmapServer`.

    ``fallback`` is the intake exactly as ``smtp_fallback_relay`` has it: ``[127.0.0.1]:10025``.  The budgets are
    seconds after which a lookup goes on without the asker; Postfix itself gives up on an idle socketmap after 10.
    ``agreed`` gives what is agreed for a domain or a next hop, and binds on every transport.
    """
    known = _Known(engine)

    async def policy(key: str) -> Reply:
        if key == fallback:
            return Reply.ok("none")
        partner = agreed(key)
        if partner is not None and partner.authenticated:
            return await policy_auth(key)
        # An address has no domain to publish anything.
        evidence = None if _is_literal(key) else await known.within(key, policy_budget)
        return Reply.ok((evidence and published_policy(evidence)) or "encrypt")

    async def policy_auth(key: str) -> Reply:
        if key == fallback:
            return Reply.ok("none")
        partner = agreed(key)
        if partner is not None and partner.certificate_names:
            return Reply.ok(f"secure match={':'.join(partner.certificate_names)} servername=hostname")
        evidence = await known.within(key, policy_budget)
        return Reply.ok(authenticated_policy(evidence) if evidence else _SECURE)

    async def verdict(key: str) -> Reply:
        evidence = await known.within(key, verdict_budget)
        if evidence is None:
            return Reply.temp("still looking")
        # Under the name that was asked for, so that the client can tell that the answer is to its question.
        return Reply.ok(json.dumps({**evidence.to_dict(), "domain": key}, separators=(",", ":")))

    return {
        "policy": policy,
        "policy-auth": policy_auth,
        "verdict": verdict,
        HOP_MAP: _hops(agreed, TLS_TRANSPORT),
        HOP_AUTH_MAP: _hops(agreed, AUTHENTICATED_TRANSPORT),
    }


def _hops(agreed: Callable[[str], DomainPolicy | None], transport: str) -> Handler:
    """An access table for our re-injection: mail for a domain with a next hop of its own is sent there.

    The worker submits recipients of one next hop at a time, because a FILTER moves the whole message.
    """

    async def hop(key: str) -> Reply:
        _, at, domain = key.rpartition("@")
        partner = agreed(domain.lower()) if at and domain else None
        if partner is None or not partner.next_hop or partner.reads_table:
            return Reply(Status.NOT_FOUND)
        return Reply.ok(f"FILTER {transport}:{partner.next_hop}")

    return hop


def published_policy(evidence: Evidence) -> str | None:
    """The policy that the domain publishes itself; ``None`` where there is none."""
    if evidence.level is Level.DANE or evidence.policy is Published.DANE:
        return "dane-only"
    if evidence.policy is Published.MTA_STS:
        return f"secure match={':'.join(evidence.match) or 'hostname'} servername=hostname"
    return None


def authenticated_policy(evidence: Evidence) -> str:
    """The policy for a peer that must prove its name: only hosts that did so before, where that is known."""
    published = published_policy(evidence)
    if published is not None:
        return published
    if evidence.level is Level.PKIX:
        verified = [host.host for host in evidence.hosts if host.level is Level.PKIX]
        if verified:
            return f"secure match={':'.join(verified)} servername=hostname"
    return _SECURE


def _is_literal(key: str) -> bool:
    try:
        ipaddress.ip_address(key.removeprefix("[").partition("]")[0])
    except ValueError:
        return False
    return True


class _Known:
    """Asks the engine within a budget.  The engine's own lookup goes on when the budget is spent."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def within(self, domain: str, budget: float) -> Evidence | None:
        try:
            async with asyncio.timeout(budget):
                return await self._engine.evidence(domain)
        except TimeoutError:
            return None
