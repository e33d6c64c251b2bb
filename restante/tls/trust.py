"""Whether the AD bit of our resolvers may be believed (RFC 4035, section 4.9.3; RFC 7672, section 2.1).

Guarantees: :meth:`ResolverTrust.ask` never raises, and never says yes unless the operator said so, or every name
server is on this host, gave AD for a signed name and did not answer for a deliberately broken one.
"""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from restante.tls.resolve import Resolver
from restante.tls.trust_mode import BROKEN_NAME, SIGNED_NAME, TrustAd

_AGAIN_TRUSTED: Final = 3600.0
_AGAIN_REFUSED: Final = 300.0
_AGAIN_UNDECIDED: Final = 30.0


@dataclass(frozen=True, slots=True)
class Trust:
    """``trusted`` is ``None`` where the test could not be made, and ``reason`` says what was seen."""

    trusted: bool | None
    reason: str


class ResolverTrust:
    """Tests the name servers when first asked, and again from time to time: hourly while they pass.

    ``signed_name`` must be signed under the resolver's trust anchor and exist; ``broken_name`` must have signatures
    that do not validate.  A private root without such a name passes when it does not exist.
    """

    def __init__(
        self,
        resolver: Resolver,
        mode: TrustAd = TrustAd.AUTO,
        signed_name: str = SIGNED_NAME,
        broken_name: str = BROKEN_NAME,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._resolver = resolver
        self._mode = mode
        self._signed_name = signed_name
        self._broken_name = broken_name
        self._clock = clock
        self._lock = asyncio.Lock()
        self._known: Trust | None = None
        self._until = 0.0

    async def ask(self) -> Trust:
        """Whether AD may be believed now."""
        if self._mode is TrustAd.YES:
            return Trust(True, "the settings vouch for the resolver")
        if self._mode is TrustAd.NO:
            return Trust(False, "the settings say not to believe the resolver")
        async with self._lock:
            if self._known is None or self._clock() >= self._until:
                self._known = await self._test()
                waits = {True: _AGAIN_TRUSTED, False: _AGAIN_REFUSED, None: _AGAIN_UNDECIDED}
                self._until = self._clock() + waits[self._known.trusted]
            return self._known

    async def _test(self) -> Trust:
        servers = self._resolver.nameservers
        for server in servers:
            if not _on_this_host(server):
                # Whoever is on the path to it can set one bit.
                return Trust(False, f"resolver {server} is not on this host")
        answers = await asyncio.gather(*(self._test_one(server) for server in servers))
        refused = [answer for answer in answers if answer.trusted is False]
        undecided = [answer for answer in answers if answer.trusted is None]
        return (*refused, *undecided, *answers)[0]

    async def _test_one(self, server: str) -> Trust:
        resolver = self._resolver.one(server)
        signed, broken = await asyncio.gather(
            resolver.ask(self._signed_name, "SOA"), resolver.ask(self._broken_name, "A")
        )
        if signed.exists is None:
            return Trust(None, f"resolver {server} could not be tested: {signed.trouble}")
        if not signed.secure:
            return Trust(False, f"resolver {server} does not validate DNSSEC: no AD for {self._signed_name}")
        if broken.exists:
            # Permissive validators answer too: what is bogus would look unsigned.
            return Trust(False, f"resolver {server} answers for {self._broken_name}, whose signatures are broken")
        return Trust(True, f"resolver {server} validates DNSSEC")


def _on_this_host(server: str) -> bool:
    address, _, _ = server.partition("@")
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
