"""Which hosts take a domain's mail: MX lookup as values (RFC 5321, section 5.1; RFC 7505).

Guarantees: :meth:`MxResolver.lookup` answers for any name and any DNS answer, however hostile, with an
:class:`MxAnswer`; doubt is ``UNKNOWN``, never "not found", because that would fail open.  The only errors raised are
:class:`BadNextHop` from :meth:`NextHop.parse` and :class:`NoResolver` when a resolver is built.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from restante.envelope import BadAddress, a_label
from restante.tls.resolve import MIN_TTL, NoResolver, Records, Resolver

__all__ = [
    "BadNextHop",
    "MxAnswer",
    "MxHost",
    "MxResolver",
    "NextHop",
    "NoResolver",
    "Outcome",
]

MAX_HOSTS: Final = 20
MAX_ADDRESSES: Final = 4

_HOST_NAME: Final = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*")


class BadNextHop(ValueError):
    """A next hop that no MTA would accept.  The caller treats the destination as unknown."""


@dataclass(frozen=True, slots=True)
class NextHop:
    """A destination as Postfix writes it: ``example.org``, ``[host]``, ``[192.0.2.1]``, each perhaps with ``:port``.

    ``direct`` means that brackets were given: no MX lookup.  ``port`` is ``None`` for the usual one.
    """

    name: str
    direct: bool = False
    port: int | None = None

    @classmethod
    def parse(cls, text: str) -> NextHop:
        """Read a next hop.  Raises :class:`BadNextHop` when it is neither a host name nor an address literal."""
        name, direct, port_text = text, False, ""
        if name.startswith("["):
            name, bracket, rest = name[1:].partition("]")
            if not bracket or (rest and not rest.startswith(":")):
                raise BadNextHop(f"{text!r}: brackets do not match")
            direct, port_text = True, rest[1:]
        elif name.count(":") == 1:
            name, _, port_text = name.partition(":")
        return cls(_canonical(name, direct=direct), direct, _port(port_text))

    def __str__(self) -> str:
        text = f"[{self.name}]" if self.direct else self.name
        return text if self.port is None else f"{text}:{self.port}"


def _canonical(name: str, *, direct: bool) -> str:
    if direct:
        literal = name[5:] if name[:5].lower() == "ipv6:" else name  # RFC 5321, section 4.1.3
        try:
            return str(ipaddress.ip_address(literal))
        except ValueError:
            pass
    try:
        name = a_label(name)
    except (BadAddress, UnicodeError) as error:
        raise BadNextHop(str(error)) from error
    if len(name) > 253 or not _HOST_NAME.fullmatch(name):
        raise BadNextHop(f"{name[:80]!r} is not a host name")
    return name


def _port(text: str) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= 5 and 0 < int(text) < 65_536):
        raise BadNextHop(f"{text[:20]!r} is not a port")
    return int(text)


class Outcome(StrEnum):
    """What the lookup says of the domain.  ``NO_MAIL`` is certain; any doubt is ``UNKNOWN``."""

    FOUND = "found"
    NO_MAIL = "no-mail"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class MxHost:
    """One MX host.  Without ``addresses``, ``trouble`` says why, and ``certain`` whether that is for sure.

    ``secure`` carries the AD bit of the address answers, for DANE (RFC 7672, section 2.2); ``expanded`` is the name
    that CNAME records lead to.
    """

    name: str
    preference: int
    addresses: tuple[str, ...] = ()
    trouble: str = ""
    certain: bool = True
    secure: bool = False
    expanded: str = ""


@dataclass(frozen=True, slots=True)
class MxAnswer:
    """Where mail for ``next_hop`` goes: hosts in order of preference, at most 20.  ``ttl`` is in seconds.

    ``secure`` carries the AD bit of the MX answer; it is worth what the path to the resolver is worth.
    """

    next_hop: NextHop
    outcome: Outcome
    reason: str = ""
    hosts: tuple[MxHost, ...] = ()
    ttl: int = MIN_TTL
    secure: bool = False


class MxResolver:
    """Looks up MX hosts and their addresses.

    ``nameservers`` are addresses, each perhaps with ``@port``; empty means the system's.  ``timeout`` bounds each
    question, in seconds.  Raises :class:`NoResolver` when there is none or one is malformed.
    """

    def __init__(self, nameservers: Sequence[str] = (), timeout: float = 5, max_questions: int = 100) -> None:
        self.resolver = Resolver(nameservers, timeout, max_questions)

    async def lookup(self, next_hop: NextHop) -> MxAnswer:
        """Find the hosts behind ``next_hop``.  Never raises for anything that DNS answers or does not."""
        if next_hop.direct:
            host = _literal(next_hop.name) or await self._host(next_hop.name, 0)
            return MxAnswer(next_hop, Outcome.FOUND, hosts=(host,), ttl=MIN_TTL)
        records = await self.resolver.ask(next_hop.name, "MX")
        if records.exists is None:
            return MxAnswer(next_hop, Outcome.UNKNOWN, f"MX lookup: {records.trouble}")
        if not records.name_exists:
            return MxAnswer(next_hop, Outcome.NO_MAIL, "the domain does not exist", ttl=records.ttl)
        if not records.exists:
            return await self._implicit(next_hop, records)
        exchanges = sorted({(preference, name) for preference, name in records.exchanges if name != "."})
        if not exchanges:
            # RFC 7505, section 3: a single MX of "." means that the domain accepts no mail.
            return MxAnswer(next_hop, Outcome.NO_MAIL, "the domain publishes a null MX", ttl=records.ttl)
        hosts = await asyncio.gather(*(self._host(name, preference) for preference, name in exchanges[:MAX_HOSTS]))
        return MxAnswer(next_hop, Outcome.FOUND, hosts=tuple(hosts), ttl=records.ttl, secure=records.secure)

    async def _implicit(self, next_hop: NextHop, mx: Records) -> MxAnswer:
        """RFC 5321, section 5.1: without MX records the domain itself is the host, with preference 0."""
        host = await self._host(next_hop.name, 0)
        if host.addresses or not host.certain:
            return MxAnswer(next_hop, Outcome.FOUND, "no MX record: the domain itself", (host,), mx.ttl, mx.secure)
        return MxAnswer(next_hop, Outcome.NO_MAIL, "the domain has neither an MX record nor an address", ttl=mx.ttl)

    async def _host(self, name: str, preference: int) -> MxHost:
        """Addresses of one MX host.  Its troubles are its own: they never decide for the domain."""
        if not _HOST_NAME.fullmatch(name):
            return MxHost(_printable(name), preference, trouble="the MX record does not name a host")
        v4, v6 = await asyncio.gather(self.resolver.ask(name, "A"), self.resolver.ask(name, "AAAA"))
        addresses = [text for text in (*v4.addresses[:MAX_ADDRESSES], *v6.addresses[:MAX_ADDRESSES]) if _usable(text)]
        if addresses:
            answered = [records for records in (v4, v6) if records.exists]
            secure = all(records.secure for records in answered)
            return MxHost(name, preference, tuple(addresses), secure=secure, expanded=answered[0].owner)
        for records in (v4, v6):
            if records.exists is None:
                return MxHost(name, preference, trouble=f"address lookup: {records.trouble}", certain=False)
        missing = "has no usable address" if v4.name_exists else "does not exist"
        return MxHost(name, preference, trouble=f"the MX host {missing}")


def _literal(name: str) -> MxHost | None:
    try:
        return MxHost(name, 0, (str(ipaddress.ip_address(name)),))
    except ValueError:
        return None


def _usable(address: str) -> bool:
    """Loopback and private addresses count: sites have them.  What cannot be a peer does not."""
    parsed = ipaddress.ip_address(address)
    return not (parsed.is_multicast or parsed.is_unspecified)


def _printable(name: str) -> str:
    return name.encode("ascii", "backslashreplace").decode("ascii")[:253]
