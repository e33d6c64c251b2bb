"""Where commands get TLS evidence from: the store where there is one, and the network where that is allowed."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import click

from restante.cli import Invocation
from restante.credentials import Credential, read_credential
from restante.policy import DomainPolicy, Policy, load_policy
from restante.policy.facts import Acquaintances, Strangers
from restante.settings import TlsSettings
from restante.store.correspondents import acquaintances_of
from restante.store.engine import Store, StoreUnavailable
from restante.store.evidence import StoredEvidence
from restante.tls.agreed import AgreedEngine
from restante.tls.engine import EvidenceCache
from restante.tls.evidence import Evidence
from restante.tls.from_settings import probe_settings, verdict_engine
from restante.transport_maps import resolve_next_hops


class Memory:
    """An evidence cache for one command."""

    def __init__(self) -> None:
        self._kept: dict[str, Evidence] = {}

    def get(self, domain: str) -> Evidence | None:
        """What this command has learned of ``domain``."""
        return self._kept.get(domain)

    def put(self, evidence: Evidence) -> None:
        """Keep it until the command ends."""
        self._kept[evidence.domain] = evidence


class ReadOnly:
    """What another cache knows, and what this command learns: that is kept here alone."""

    def __init__(self, known: EvidenceCache) -> None:
        self._known = known
        self._own = Memory()

    def get(self, domain: str) -> Evidence | None:
        """What this command has learned of ``domain``, else what was known."""
        return self._own.get(domain) or self._known.get(domain)

    def put(self, evidence: Evidence) -> None:
        """Keep it until the command ends."""
        self._own.put(evidence)


@contextmanager
def acquaintances(invocation: Invocation) -> Iterator[Acquaintances]:
    """Whom this site has written to, as the milter knows it; strangers all where that cannot be known here."""
    if not (invocation.settings_exist and invocation.settings.correspondents.learn):
        yield Strangers()
        return
    settings = invocation.settings
    store = Store(settings.database)
    try:
        yield acquaintances_of(settings, store, read_credential(settings.credentials, Credential.ROUTE))
    finally:
        store.close()


@contextmanager
def evidence_cache(invocation: Invocation) -> Iterator[EvidenceCache]:
    """The store's evidence; without settings, or with a database that does not answer, a memory of the command's own.

    A SQLite file that does not exist yet is not created: it would belong to whoever runs the command.
    """
    if not invocation.settings_exist:
        yield Memory()
        return
    url = invocation.settings.database
    if url.startswith("sqlite:///") and not Path(url.removeprefix("sqlite:///")).exists():
        yield Memory()
        return
    store = Store(url)
    try:
        try:
            kept = StoredEvidence(store)
            kept.get("localhost")
        except StoreUnavailable as error:
            click.echo(f"restante: {error}; going on without stored evidence", err=True)
            yield Memory()
        else:
            yield kept
    finally:
        store.close()


def agreed_with(invocation: Invocation, destination: str) -> DomainPolicy | None:
    """What the policy of the settings says of a domain or next hop; ``None`` without settings."""
    return _policy(invocation).destination_policy(destination)


def _policy(invocation: Invocation) -> Policy:
    if not invocation.settings_exist:
        return Policy.default()
    settings = invocation.settings
    return resolve_next_hops(load_policy(settings.policy, frozenset(settings.internal_domains)))


def _engine(invocation: Invocation, cache: EvidenceCache) -> AgreedEngine:
    """The worker's engine, which knows what is agreed with domains.  Build it inside the loop that will use it."""
    if invocation.settings_exist:
        tls, our_name = invocation.settings.tls, invocation.settings.hostname
    else:
        tls, our_name = TlsSettings(), socket.getfqdn()
    policies = cache.policies if isinstance(cache, StoredEvidence) else None
    agreed = _policy(invocation).destination_policy
    return AgreedEngine(verdict_engine(tls, our_name, cache, policies), probe_settings(tls, our_name), agreed)


def look(
    invocation: Invocation, cache: EvidenceCache, domains: Iterable[str], *, recheck: bool = False
) -> dict[str, Evidence]:
    """Evidence of each domain, from ``cache`` or by looking at its MX hosts."""

    async def ask() -> dict[str, Evidence]:
        engine = _engine(invocation, cache)
        try:
            names = list(domains)
            found = await asyncio.gather(*(engine.evidence(name, recheck=recheck) for name in names))
        finally:
            await engine.close()
        return dict(zip(names, found, strict=True))

    return asyncio.run(ask())


def look_at_many(
    invocation: Invocation,
    cache: EvidenceCache,
    domains: Iterator[str],
    take: Callable[[Evidence], None],
    *,
    concurrency: int,
    recheck: bool = False,
) -> None:
    """Give ``take`` the evidence of each domain, as it comes, with at most ``concurrency`` looks under way."""

    async def work(engine: AgreedEngine) -> None:
        for name in domains:  # one iterator for all: each takes the next
            take(replace(await engine.evidence(name, recheck=recheck), domain=name))

    async def ask() -> None:
        engine = _engine(invocation, cache)
        try:
            async with asyncio.TaskGroup() as tasks:
                for _ in range(concurrency):
                    tasks.create_task(work(engine))
        finally:
            await engine.close()

    asyncio.run(ask())


def stored(cache: EvidenceCache, domains: Iterable[str]) -> dict[str, Evidence]:
    """Evidence of each domain that ``cache`` may still answer for; the others are left out."""
    found = ((name, cache.get(name)) for name in domains)
    now = time.time()
    return {name: evidence for name, evidence in found if evidence is not None and now < evidence.stale_until}
