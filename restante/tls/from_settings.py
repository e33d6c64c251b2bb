"""The verdict engine as the settings ask for it: DANE first, then MTA-STS, then a probe."""

from __future__ import annotations

import time
from collections.abc import Callable

from restante.settings import TlsSettings
from restante.tls.dane import DaneSource
from restante.tls.engine import EvidenceCache, EvidenceSource, ProbeSource, VerdictEngine
from restante.tls.probe import HostProber, ProbeSettings
from restante.tls.resolve import Resolver
from restante.tls.sts import PoliciesInMemory, PolicyCache, StsSource
from restante.tls.sts_fetch import FetchSettings, PolicyFetcher
from restante.tls.trust import ResolverTrust


def verdict_engine(
    tls: TlsSettings,
    ehlo_name: str,
    cache: EvidenceCache,
    policies: PolicyCache | None = None,
    clock: Callable[[], float] = time.time,
) -> VerdictEngine:
    """An engine with every source that ``tls`` turns on.  Build it inside the event loop that will use it.

    Without ``policies`` MTA-STS policies are forgotten with the engine.

    Raises :class:`restante.tls.mx.NoResolver` or :class:`restante.tls.probe.BadTrustStore` on unusable settings.
    """
    probe = probe_settings(tls, ehlo_name)
    prober = HostProber(probe, clock)
    resolver = Resolver(probe.nameservers, probe.dns_timeout, 2 * probe.max_probes)
    sources: list[EvidenceSource] = []
    if tls.dane:
        trust = ResolverTrust(resolver, tls.trust_ad, tls.dnssec_signed_name, tls.dnssec_broken_name, clock)
        sources.append(DaneSource(resolver, trust, prober, probe.port, clock))
    if tls.mta_sts:
        fetch = FetchSettings(tls.sts_seconds, tls.ca_file, tls.sts_private_addresses, tls.sts_port)
        sources.append(
            StsSource(
                resolver, PolicyFetcher(fetch, resolver), prober, policies or PoliciesInMemory(), probe.port, clock
            )
        )
    sources.append(ProbeSource(probe, clock, prober))
    return VerdictEngine(probe, cache, clock, tuple(sources), tls.canaries)


def probe_settings(tls: TlsSettings, ehlo_name: str) -> ProbeSettings:
    """The ``[tls]`` section, with this host's name for EHLO."""
    return ProbeSettings(
        ehlo_name=ehlo_name,
        dns_timeout=tls.dns_seconds,
        connect_timeout=tls.connect_seconds,
        banner_timeout=tls.banner_seconds,
        total_timeout=tls.total_seconds,
        port=tls.port,
        ca_file=tls.ca_file,
        nameservers=tls.nameservers,
        max_probes=tls.max_probes,
        source_address=tls.source_address,
        confirm_pause=tls.confirm_pause_seconds,
    )
