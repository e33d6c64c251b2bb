"""Where commands get TLS evidence from: the store where there is one, and the network where that is allowed."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from restante.cli import Invocation
from restante.settings import TlsSettings
from restante.store.engine import Store, StoreUnavailable
from restante.store.evidence import StoredEvidence
from restante.tls.engine import EvidenceCache
from restante.tls.evidence import Evidence
from restante.tls.from_settings import verdict_engine


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


def look(
    invocation: Invocation, cache: EvidenceCache, domains: Iterable[str], *, recheck: bool = False
) -> dict[str, Evidence]:
    """Evidence of each domain, from ``cache`` or by looking at its MX hosts."""
    if invocation.settings_exist:
        tls, our_name = invocation.settings.tls, invocation.settings.hostname
    else:
        tls, our_name = TlsSettings(), socket.getfqdn()

    policies = cache.policies if isinstance(cache, StoredEvidence) else None

    async def ask() -> dict[str, Evidence]:
        engine = verdict_engine(tls, our_name, cache, policies)
        try:
            names = list(domains)
            found = await asyncio.gather(*(engine.evidence(name, recheck=recheck) for name in names))
        finally:
            await engine.close()
        return dict(zip(names, found, strict=True))

    return asyncio.run(ask())


def stored(cache: EvidenceCache, domains: Iterable[str]) -> dict[str, Evidence]:
    """Evidence of each domain that ``cache`` may still answer for; the others are left out."""
    found = ((name, cache.get(name)) for name in domains)
    now = time.time()
    return {name: evidence for name, evidence in found if evidence is not None and now < evidence.stale_until}
