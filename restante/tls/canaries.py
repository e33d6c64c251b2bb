"""Canary domains tell a domain that does no TLS from somebody near us who strips STARTTLS for every destination.

A "no" is believed only while the canaries, domains well known to do TLS, do not say no as well.  One canary with TLS
is enough.  Canaries that cannot be reached, or do not exist, say nothing: then a "no" stands as it is.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final

from restante.tls import verdict
from restante.tls.evidence import Evidence, Level
from restante.tls.flight import FlightCancelledError, SingleFlight

__all__ = ["Canaries"]

_HEALTHY_SECONDS: Final = 15 * 60.0
_STRIPPED_SECONDS: Final = 2 * 60.0

logger = logging.getLogger(__name__)


class Canaries:
    """``domains`` are looked at, all at once, when a "no" is to be believed, and then not again for a while."""

    def __init__(self, domains: tuple[str, ...], clock: Callable[[], float] = time.time) -> None:
        self._domains = domains
        self._clock = clock
        self._flight: SingleFlight[str, str] = SingleFlight()
        self._trouble = ""
        self._until = 0.0

    async def doubt(
        self, found: Evidence, previous: Evidence | None, look: Callable[[str], Awaitable[Evidence]]
    ) -> Evidence:
        """``found`` as it is, or UNKNOWN where the canaries show that it says nothing about its domain.

        ``look`` finds out about a domain without asking the canaries.
        """
        if found.level is not Level.NONE or not self._domains:
            return found
        try:
            trouble = await self._flight.run("canaries", lambda: self._ask(look))
        except FlightCancelledError:
            trouble = "the engine was closed while the canary domains were asked"
        if not trouble:
            return found
        hosts = tuple(replace(host, level=Level.UNKNOWN) for host in found.hosts)
        doubted = replace(found, level=Level.UNKNOWN, reason=f"{trouble} ({found.reason})", hosts=hosts)
        return verdict.dated(doubted, previous)

    async def close(self) -> None:
        """Cancel what is under way."""
        await self._flight.close()

    async def _ask(self, look: Callable[[str], Awaitable[Evidence]]) -> str:
        """Why no "no" can be believed now; empty when it can."""
        if self._clock() >= self._until:
            seen = await asyncio.gather(*(look(domain) for domain in self._domains))
            refused = [one for one in seen if any(host.level is Level.NONE for host in one.hosts)]
            able = any(one.level in verdict.POSITIVE_LEVELS for one in seen)
            self._trouble = "" if able or not refused else _words(refused)
            self._until = self._clock() + (_STRIPPED_SECONDS if self._trouble else _HEALTHY_SECONDS)
            if self._trouble:
                logger.error("starttls-stripped-nearby: %s", self._trouble)
        return self._trouble


def _words(refused: list[Evidence]) -> str:
    names = ", ".join(one.domain for one in refused)
    return f"canary domains seem to do no TLS either, so something near this host strips STARTTLS: {names}"
