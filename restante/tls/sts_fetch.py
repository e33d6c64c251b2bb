"""Fetching MTA-STS policies (RFC 8461, section 3.3), from whatever server a stranger's domain names.

Guarantees: only HTTPS with a verified certificate; no redirect, no proxy; no address but public ones unless that is
allowed, and the address that was judged is the one connected to; at most 64 KiB, and ``timeout`` seconds in all.
Whatever goes wrong is :class:`CannotFetch`.
"""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx

from restante.tls.probe import BadTrustStore
from restante.tls.resolve import Resolver
from restante.tls.sts_policy import MAX_POLICY

_AT_ONCE: Final = 20
_ADDRESSES: Final = 4
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")  # RFC 6052
_FAILURES: Final = (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL, OSError, ValueError)


class CannotFetch(Exception):
    """No policy could be had.  The text says why; a policy that is still in force stays so."""


@dataclass(frozen=True, slots=True)
class FetchSettings:
    """``timeout`` is in seconds; ``ca_file`` ``None`` is the system's store; ``port`` is another one only in labs."""

    timeout: float = 10
    ca_file: Path | None = None
    private_addresses: bool = False
    port: int = 443


class PolicyFetcher:
    """Fetches policies.  Raises :class:`restante.tls.probe.BadTrustStore` when ``ca_file`` cannot be read."""

    def __init__(self, settings: FetchSettings, resolver: Resolver) -> None:
        self._settings = settings
        self._resolver = resolver
        self._context = _context(settings.ca_file)
        self._slots = asyncio.Semaphore(_AT_ONCE)

    async def fetch(self, domain: str) -> bytes:
        """The policy file of ``domain``, unread.  Raises :class:`CannotFetch`."""
        host = f"mta-sts.{domain}"
        try:
            async with self._slots, asyncio.timeout(self._settings.timeout):
                return await self._fetch(host, await self._addresses(host))
        except TimeoutError:
            raise CannotFetch(f"{host} takes too long") from None

    async def _addresses(self, host: str) -> list[str]:
        answers = await asyncio.gather(self._resolver.ask(host, "A"), self._resolver.ask(host, "AAAA"))
        found = [address for answer in answers for address in answer.addresses[:_ADDRESSES]]
        allowed = [address for address in found if self._settings.private_addresses or is_public(address)]
        if allowed:
            return allowed
        if found:
            raise CannotFetch(f"{host} has only private addresses")
        trouble = next((answer.trouble for answer in answers if answer.exists is None), "no address")
        raise CannotFetch(f"{host}: {trouble}")

    async def _fetch(self, host: str, addresses: list[str]) -> bytes:
        failure = CannotFetch(f"{host}: no address")
        async with httpx.AsyncClient(
            verify=self._context, trust_env=False, follow_redirects=False, timeout=self._settings.timeout
        ) as client:
            for address in addresses:
                try:
                    return await self._get(client, host, address)
                except httpx.ConnectError as error:
                    failure = CannotFetch(f"{host}: {_words(error)}")
                except _FAILURES as error:
                    raise CannotFetch(f"{host}: {_words(error)}") from None
        raise failure

    async def _get(self, client: httpx.AsyncClient, host: str, address: str) -> bytes:
        # The address goes into the URL, so that nobody resolves the name a second time and elsewhere.
        where = f"[{address}]" if ":" in address else address
        request = client.build_request(
            "GET",
            f"https://{where}:{self._settings.port}/.well-known/mta-sts.txt",
            headers={"Host": host, "User-Agent": "Restante", "Accept": "text/plain", "Accept-Encoding": "identity"},
            extensions={"sni_hostname": host},
        )
        response = await client.send(request, stream=True)
        try:
            _refuse(host, response)
            body = bytearray()
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > MAX_POLICY:
                    raise CannotFetch(f"{host}: the policy is too large")
            return bytes(body)
        finally:
            await response.aclose()


def is_public(address: str) -> bool:
    """Whether ``address`` can be a stranger's server: not ours, not our network's, not one that hides such."""
    parsed = ipaddress.ip_address(address)
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed in _NAT64:
            return is_public(str(ipaddress.IPv4Address(int(parsed) & 0xFFFFFFFF)))
        if parsed.ipv4_mapped or parsed.sixtofour or parsed.teredo:
            return False
    return parsed.is_global and not parsed.is_multicast


def _refuse(host: str, response: httpx.Response) -> None:
    """RFC 8461, section 3.3: only 200 counts, and redirects are not followed."""
    if response.is_redirect or response.has_redirect_location:
        raise CannotFetch(f"{host} answers with a redirect")
    if response.status_code != 200:
        raise CannotFetch(f"{host} answers with status {response.status_code}")
    kind = response.headers.get("Content-Type", "text/plain").partition(";")[0].strip().lower()
    if kind != "text/plain":
        # RFC 8461, section 3.2: a page that a site's users may write is not the site's policy.
        raise CannotFetch(f"{host} answers with another type than text/plain")
    if response.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
        raise CannotFetch(f"{host} answers with compressed content")


def _words(error: Exception) -> str:
    text = "".join(c if c.isprintable() else "?" for c in str(error)[:160])
    return text or type(error).__name__


def _context(ca_file: Path | None) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
    except (OSError, ssl.SSLError) as error:
        raise BadTrustStore(f"trusted certificates {ca_file}: {error}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
