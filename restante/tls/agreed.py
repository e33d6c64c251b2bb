"""TLS evidence under what is agreed with a domain: its own next hop, and the names that its certificate must carry.

Where nothing is agreed, the general engine answers.  Where names are agreed, only a certificate with one of them
counts as authenticated; a look under agreed names is never mixed up with a look at the same host without them.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, Final, Protocol

from restante.policy import DomainPolicy
from restante.tls.engine import ProbeSource, VerdictEngine
from restante.tls.evidence import Evidence
from restante.tls.probe import HostProber, ProbeSettings, load_trust

_MAX_ENGINES: Final = 1000


class Engine(Protocol):
    """Who answers what is known of a domain's TLS."""

    async def evidence(self, domain: str, *, recheck: bool = False) -> Evidence:
        """What is known of ``domain``."""

    async def close(self) -> None:
        """Stop what is under way."""


class AgreedEngine:
    """Asks ``general``, or looks for itself where certificate names are agreed.

    ``agreed`` gives the policy of a domain or next hop that is in force at that moment, so that a reload counts at
    once.  Build it inside the event loop that will use it.
    """

    def __init__(
        self,
        general: Engine,
        settings: ProbeSettings,
        agreed: Callable[[str], DomainPolicy | None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._general = general
        self._settings = settings
        self._agreed = agreed
        self._clock = clock
        self._engines: dict[tuple[str, ...], VerdictEngine] = {}

    async def evidence(self, domain: str, *, recheck: bool = False) -> Evidence:
        """What is known of ``domain``, at the next hop that is agreed for it.  Answers as :class:`VerdictEngine`."""
        agreed = self._agreed(domain) or self._agreed(domain.lower())
        if agreed is None:
            return await self._general.evidence(domain, recheck=recheck)
        destination = domain if agreed.reads_table else agreed.next_hop or domain
        engine = self._named(agreed.certificate_names) if agreed.certificate_names else self._general
        return await engine.evidence(destination, recheck=recheck)

    async def close(self) -> None:
        """Stop what is under way, here and in the general engine."""
        for engine in self._engines.values():
            await engine.close()
        await self._general.close()

    def _named(self, names: tuple[str, ...]) -> VerdictEngine:
        engine = self._engines.get(names)
        if engine is None:
            if len(self._engines) >= _MAX_ENGINES:  # a policy that was reloaded with other names a thousand times
                self._engines.clear()
            prober = NamedProber(self._settings, names, self._clock)
            sources = (ProbeSource(self._settings, self._clock, prober),)
            engine = VerdictEngine(self._settings, _Memory(), self._clock, sources)
            self._engines[names] = engine
        return engine


class NamedProber(HostProber):
    """A prober for which "verified" means: a trusted chain, and one of ``names`` in the certificate."""

    def __init__(self, settings: ProbeSettings, names: Collection[str], clock: Callable[[], float] = time.time) -> None:
        super().__init__(settings, clock)
        self._verifying = names_context(settings.ca_file, names)


def names_context(ca_file: Path | None, names: Collection[str]) -> ssl.SSLContext:
    """A client context that fails the handshake unless the peer's certificate carries one of ``names``.

    The host's own name still goes out as SNI.  Raises :class:`restante.tls.probe.BadTrustStore`.
    """
    wanted = frozenset(name.lower() for name in names)

    class Checking(ssl.SSLObject):
        def do_handshake(self) -> None:
            super().do_handshake()
            if not carries(self.getpeercert(), wanted):
                error = ssl.SSLCertVerificationError("certificate does not carry an agreed name")
                error.verify_code = 62  # X509_V_ERR_HOSTNAME_MISMATCH
                error.verify_message = f"the certificate carries none of the agreed names {', '.join(sorted(wanted))}"
                raise error

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.sslobject_class = Checking
    load_trust(context, ca_file)
    return context


def carries(certificate: Any, names: Collection[str]) -> bool:
    """Whether ``certificate``, as ``getpeercert`` gives it, carries one of ``names``; a wildcard covers one label."""
    for kind, value in (certificate or {}).get("subjectAltName", ()):
        shown = str(value).lower().rstrip(".")
        if kind != "DNS":
            continue
        if shown in names:
            return True
        if shown.startswith("*.") and any(name.partition(".")[2] == shown[2:] for name in names):
            return True
    return False


class _Memory:
    """Evidence for one set of names.  Not stored: the store knows domains, not names."""

    def __init__(self) -> None:
        self._kept: dict[str, Evidence] = {}

    def get(self, domain: str) -> Evidence | None:
        return self._kept.get(domain)

    def put(self, evidence: Evidence) -> None:
        self._kept[evidence.domain] = evidence
