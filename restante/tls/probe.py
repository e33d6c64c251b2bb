"""The STARTTLS probe: what one MX host shows a client that asks for TLS (RFC 3207).

Connect, wait patiently for the banner, EHLO with our real name, STARTTLS, handshake with SNI at TLS 1.2 or better,
EHLO again under TLS, QUIT.  Never MAIL FROM.  A bad certificate is not "no TLS", and doubt is never a firm no:
refusals, 4xx, timeouts, cut replies and TLS that ends before the second EHLO is answered are UNKNOWN.
:meth:`HostProber.look` always answers, within ``2 * total_timeout`` plus the pause.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from restante.errors import RestanteError
from restante.tls.chain import presented_chain
from restante.tls.evidence import Level, MxEvidence
from restante.tls.flight import SingleFlight
from restante.tls.mx import MxHost
from restante.tls.wire import ConnectionEndedError, Reply, Wire, WireError

_QUIT_TIMEOUT: Final = 2.0
_REMEMBERED_HOSTS: Final = 10_000
# A large hoster's MX stands behind thousands of domains, whose deliveries may all fail at once.
_LOOKS_A_MINUTE: Final = 20
_REMEMBER: Final = {Level.PKIX: 3600.0, Level.ENCRYPTED: 3600.0, Level.NONE: 600.0, Level.UNKNOWN: 30.0}
# OpenSSL's words for "secure enough to encrypt, too weak to trust": decided by the handshake without verification.
_WEAK_CERTIFICATE: Final = ("_TOO_SMALL", "_TOO_WEAK", "_KEY_TOO", "LEGACY")


class BadTrustStore(RestanteError):
    """The file of trusted certificates cannot be read.  Mend ``ca_file`` in the settings."""


@dataclass(frozen=True)
class ProbeSettings:
    """How to look.  Times are seconds.

    ``ehlo_name`` must be our real name.  ``ca_file`` ``None`` is the system's store; ``nameservers`` are addresses,
    each perhaps with ``@port``, empty for the system's.  ``max_probes`` bounds simultaneous connections;
    ``confirm_pause`` lies between a no and the second look that confirms it.
    """

    ehlo_name: str
    dns_timeout: float = 5
    connect_timeout: float = 10
    banner_timeout: float = 30
    total_timeout: float = 60
    port: int = 25
    ca_file: Path | None = None
    nameservers: tuple[str, ...] = ()
    max_probes: int = 50
    source_address: str = ""
    confirm_pause: float = 1.0


@dataclass(frozen=True, slots=True)
class HostLook:
    """What looking at one host gave, and when.  ``confirmed`` tells a no that was seen twice in a row.

    ``chain`` is what the peer presented, in DER, its own certificate first; only where it was asked for.  ``count`` is
    how often the host was looked at within the minute that began at ``since``.
    """

    evidence: MxEvidence
    looked_at: float
    confirmed: bool = False
    chain: tuple[bytes, ...] = ()
    since: float = 0.0
    count: int = 0


@dataclass(frozen=True, slots=True)
class _Finding:
    """The end of one connection, before it has a host and an address."""

    level: Level
    reason: str
    tls_version: str = ""
    cipher: str = ""
    certificate: str = ""
    reachable: bool = True
    retry_unverified: bool = False
    chain: tuple[bytes, ...] = ()


class HostProber:
    """Looks at MX hosts; simultaneous and recent questions about one host share one connection.

    Raises :class:`BadTrustStore` when it is built with a ``ca_file`` that cannot be read.
    """

    def __init__(self, settings: ProbeSettings, clock: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._clock = clock
        self._verifying = _verifying_context(settings.ca_file)
        self._accepting = _accepting_context()
        self._slots = asyncio.Semaphore(settings.max_probes)
        self._seen: OrderedDict[tuple[str, int], HostLook] = OrderedDict()
        self._flights: SingleFlight[tuple[str, int, bool, bool, bool], HostLook] = SingleFlight()

    async def look(
        self, host: MxHost, port: int, *, confirm: bool, recheck: bool = False, chain: bool = False
    ) -> HostLook:
        """What ``host`` shows on ``port``.

        ``confirm`` looks a second time after a firm no; ``recheck`` does not answer from memory, unless the host has
        been looked at too often within a minute; ``chain`` asks for the certificates that the peer presents.
        """
        seen = self._seen.get((host.name, port))
        recheck = recheck and not self._too_often(seen)
        if seen is not None and not recheck and self._still_good(seen, confirm=confirm, chain=chain):
            return seen
        key = (host.name, port, confirm, recheck, chain)
        return await self._flights.run(key, lambda: self._look(host, port, confirm=confirm, chain=chain))

    async def close(self) -> None:
        """Cancel what is under way."""
        await self._flights.close()

    def _too_often(self, seen: HostLook | None) -> bool:
        return seen is not None and seen.count >= _LOOKS_A_MINUTE and self._clock() - seen.since < 60

    def _still_good(self, seen: HostLook, *, confirm: bool, chain: bool) -> bool:
        level = seen.evidence.level
        if chain and not seen.chain and level in (Level.PKIX, Level.ENCRYPTED):
            return False
        settled = level is not Level.NONE or seen.confirmed or not confirm
        return settled and self._clock() - seen.looked_at < _REMEMBER[level]

    async def _look(self, host: MxHost, port: int, *, confirm: bool, chain: bool) -> HostLook:
        (evidence, presented), confirmed = await self._probe(host, port), False
        if confirm and evidence.level is Level.NONE:
            await asyncio.sleep(self._settings.confirm_pause)
            evidence, presented = await self._probe(host, port)
            confirmed = evidence.level is Level.NONE
        now, before = self._clock(), self._seen.get((host.name, port))
        counts = before is not None and now - before.since < 60
        since, count = (before.since, before.count + 1) if before is not None and counts else (now, 1)
        look = HostLook(evidence, now, confirmed, presented if chain else (), since, count)
        self._seen[host.name, port] = look
        self._seen.move_to_end((host.name, port))
        while len(self._seen) > _REMEMBERED_HOSTS:
            self._seen.popitem(last=False)
        return look

    async def _probe(self, host: MxHost, port: int) -> tuple[MxEvidence, tuple[bytes, ...]]:
        """Try the host's addresses in turn until one answers."""
        last = MxEvidence(host.name, host.preference, Level.UNKNOWN, host.trouble, reachable=not host.certain)
        chain: tuple[bytes, ...] = ()
        async with self._slots:
            try:
                async with asyncio.timeout(self._settings.total_timeout):
                    for address in host.addresses:
                        last, chain = await self._probe_address(host, address, port)
                        if last.reachable:
                            break
            except TimeoutError:
                last = replace(last, reason="took too long altogether", reachable=True)
        return last, chain

    async def _probe_address(self, host: MxHost, address: str, port: int) -> tuple[MxEvidence, tuple[bytes, ...]]:
        # An address literal has no name to send or to verify (RFC 6066, section 3).
        name = None if host.name == address else host.name
        finding = await self._converse(address, port, self._verifying if name else self._accepting, name)
        if finding.retry_unverified:
            encrypted = await self._converse(address, port, self._accepting, name)
            finding = replace(encrypted, certificate=finding.certificate)
        evidence = MxEvidence(
            host.name,
            host.preference,
            finding.level,
            finding.reason,
            address,
            finding.tls_version,
            finding.cipher,
            finding.certificate,
            finding.reachable,
        )
        return evidence, finding.chain

    async def _converse(self, address: str, port: int, context: ssl.SSLContext, name: str | None) -> _Finding:
        try:
            async with asyncio.timeout(self._settings.connect_timeout):
                wire = await Wire.connect(address, port, self._settings.source_address)
        except TimeoutError:
            return _Finding(Level.UNKNOWN, "connection timed out", reachable=False)
        except OSError as error:
            return _Finding(Level.UNKNOWN, f"cannot connect: {_errno_text(error)}", reachable=False)
        try:
            async with asyncio.timeout(self._settings.banner_timeout) as patience:
                banner = await wire.reply()
                patience.reschedule(None)
                finding = await self._exchange(wire, banner)
                if finding is None:
                    finding = await self._introduce_again(wire, await _negotiate(wire, context, name))
        except TimeoutError:
            return _Finding(Level.UNKNOWN, "no greeting in time")
        except (WireError, OSError) as error:
            return _Finding(Level.UNKNOWN, _words(error))
        else:
            await _quit(wire)
            return finding
        finally:
            wire.close()

    async def _exchange(self, wire: Wire, banner: Reply) -> _Finding | None:
        """Banner to STARTTLS.  ``None`` when the peer is ready for the handshake."""
        if banner.code != 220:
            # 421 is a rate limit, 554 often a blocklist: neither says anything about TLS.
            return _Finding(Level.UNKNOWN, f"greeted with {banner}")
        refusal = _without_starttls(await wire.command(f"EHLO {self._settings.ehlo_name}"))
        if refusal is not None:
            return refusal
        ready = await wire.command("STARTTLS")
        if ready.code == 220:
            return None
        if 400 <= ready.code < 500:
            return _Finding(Level.UNKNOWN, f"answered STARTTLS with {ready}")
        return _Finding(Level.NONE, f"offers STARTTLS but refuses it: {ready}")

    async def _introduce_again(self, wire: Wire, finding: _Finding) -> _Finding:
        """EHLO under TLS (RFC 3207, section 4.2), whatever it is answered with.

        In TLS 1.3 a server rejects a client's certificate, or the lack of one, only after the client's handshake is
        done (RFC 8446, section 4.4.2.4).
        """
        if not finding.tls_version:
            return finding
        try:
            await wire.command(f"EHLO {self._settings.ehlo_name}")
        except ssl.SSLError as error:
            text = (error.reason or "protocol error").replace("_", " ").lower()
            return _Finding(Level.UNKNOWN, f"TLS failed after the handshake: {text}")
        except (WireError, OSError) as error:
            return _Finding(Level.UNKNOWN, f"after the TLS handshake: {_words(error)}")
        return finding


def _without_starttls(ehlo: Reply) -> _Finding | None:
    """What an EHLO reply that offers no STARTTLS means; ``None`` when it offers it."""
    if ehlo.code in (500, 502):
        return _Finding(Level.NONE, f"does not know EHLO, so offers no STARTTLS: {ehlo}")
    if ehlo.code != 250:
        return _Finding(Level.UNKNOWN, f"answered EHLO with {ehlo}")
    return None if ehlo.offers("STARTTLS") else _Finding(Level.NONE, "does not offer STARTTLS")


async def _negotiate(wire: Wire, context: ssl.SSLContext, name: str | None) -> _Finding:
    """The handshake.  Whatever fails here, failed after the peer had agreed to TLS: that is a firm no."""
    if wire.pending:
        # RFC 3207, section 6, and CVE-2011-0411: somebody on the path writes into the session.
        return _Finding(Level.NONE, "plain text was injected after STARTTLS")
    try:
        tls = await wire.handshake(context, name)
    except ssl.SSLCertVerificationError as error:
        return _Finding(Level.NONE, "", certificate=error.verify_message or "not verifiable", retry_unverified=True)
    except ssl.SSLError as error:
        reason = error.reason or "protocol error"
        weak = context.verify_mode is ssl.CERT_REQUIRED and any(word in reason for word in _WEAK_CERTIFICATE)
        text = reason.replace("_", " ").lower()
        return _Finding(Level.NONE, f"TLS handshake failed: {text}", certificate=text, retry_unverified=weak)
    except ValueError as error:
        # The ssl module refuses to send some legal host names as SNI.
        return _Finding(Level.UNKNOWN, f"host name cannot be sent in a handshake: {error}")
    except (ConnectionEndedError, ConnectionError):
        return _Finding(Level.NONE, "broke off the TLS handshake")
    cipher = tls.cipher()
    verified = context.verify_mode is ssl.CERT_REQUIRED
    return _Finding(
        Level.PKIX if verified else Level.ENCRYPTED,
        "certificate chain and name verified" if verified else "TLS without a verifiable certificate",
        tls.version() or "",
        cipher[0] if cipher else "",
        "verified" if verified else "not verified",
        chain=presented_chain(tls),
    )


async def _quit(wire: Wire) -> None:
    """Be polite; what the peer makes of it changes nothing."""
    with contextlib.suppress(TimeoutError, WireError, OSError, ssl.SSLError):
        async with asyncio.timeout(_QUIT_TIMEOUT):
            await wire.command("QUIT")


def _words(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"connection failed: {_errno_text(error)}"
    return str(error)


def _errno_text(error: OSError) -> str:
    """The system's words: asyncio replaces them with an address."""
    return os.strerror(error.errno).lower() if error.errno is not None else type(error).__name__


def load_trust(context: ssl.SSLContext, ca_file: Path | None) -> None:
    """Have ``context`` trust the certificates in ``ca_file``, or the system's.  Raises :class:`BadTrustStore`."""
    try:
        if ca_file is None:
            context.load_default_certs(ssl.Purpose.SERVER_AUTH)
        else:
            context.load_verify_locations(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise BadTrustStore(f"trusted certificates {ca_file}: {error}") from error


def _verifying_context(ca_file: Path | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    load_trust(context, ca_file)
    return context


def _accepting_context() -> ssl.SSLContext:
    """Encrypts to anyone, but not with anything: anonymous ciphers and keys below OpenSSL's level 1 are no TLS.

    Postfix at ``encrypt`` would take weaker keys still, so what passes here is never refused there.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_ciphers("DEFAULT:!aNULL:!eNULL:@SECLEVEL=1")
    return context
