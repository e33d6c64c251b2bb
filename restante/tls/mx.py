"""Which hosts take a domain's mail: MX lookup as values (RFC 5321, section 5.1; RFC 7505).

Guarantees: :meth:`MxResolver.lookup` answers for any name and any DNS answer, however hostile, with an
:class:`MxAnswer`; doubt is ``UNKNOWN``, never "not found", because that would fail open.  The only errors raised are
:class:`BadNextHop` from :meth:`NextHop.parse` and :class:`NoResolver` when a resolver is built.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import dns.asyncresolver
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.nameserver
import dns.rdatatype
import dns.resolver

from restante.envelope import BadAddress, a_label
from restante.errors import RestanteError

MAX_HOSTS: Final = 20
MAX_ADDRESSES: Final = 4
MIN_TTL: Final = 60
MAX_TTL: Final = 86_400

_HOST_NAME: Final = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*")
_DNS_FAILURES: Final = (dns.exception.DNSException, OSError, ValueError, EOFError)

logger = logging.getLogger(__name__)


class NoResolver(RestanteError):
    """No usable name server is configured.  Name one in the settings or mend ``/etc/resolv.conf``."""


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

    ``secure`` carries the AD bit of the address answers, for DANE (RFC 7672, section 2.2).
    """

    name: str
    preference: int
    addresses: tuple[str, ...] = ()
    trouble: str = ""
    certain: bool = True
    secure: bool = False


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


@dataclass(frozen=True, slots=True)
class _Records:
    """One DNS answer: ``exists`` is ``None`` when it is not known whether the name has such records."""

    exists: bool | None
    name_exists: bool = True
    values: tuple[tuple[int, str], ...] = ()
    ttl: int = MIN_TTL
    secure: bool = False
    trouble: str = ""


class MxResolver:
    """Looks up MX hosts and their addresses.

    ``nameservers`` are addresses, each perhaps with ``@port``; empty means the system's.  ``timeout`` bounds each
    question, in seconds.  Raises :class:`NoResolver` when there is none or one is malformed.
    """

    def __init__(self, nameservers: Sequence[str] = (), timeout: float = 5, max_questions: int = 100) -> None:
        try:
            self._resolver = dns.asyncresolver.Resolver(configure=not nameservers)
            if nameservers:
                self._resolver.nameservers = [_nameserver(text) for text in nameservers]
        except (dns.resolver.NoResolverConfiguration, ValueError) as error:
            raise NoResolver(f"no usable name server: {error}") from error
        self._resolver.lifetime = timeout
        self._resolver.timeout = timeout / 2
        # RFC 6840, section 5.7: the AD bit in a question asks for it in the answer.
        self._resolver.set_flags(dns.flags.RD | dns.flags.AD)
        self._resolver.use_edns(0, 0, 1232)
        self._slots = asyncio.Semaphore(max_questions)

    async def lookup(self, next_hop: NextHop) -> MxAnswer:
        """Find the hosts behind ``next_hop``.  Never raises for anything that DNS answers or does not."""
        if next_hop.direct:
            host = _literal(next_hop.name) or await self._host(next_hop.name, 0)
            return MxAnswer(next_hop, Outcome.FOUND, hosts=(host,), ttl=MIN_TTL)
        records = await self._ask(next_hop.name, "MX")
        if records.exists is None:
            return MxAnswer(next_hop, Outcome.UNKNOWN, f"MX lookup: {records.trouble}")
        if not records.name_exists:
            return MxAnswer(next_hop, Outcome.NO_MAIL, "the domain does not exist", ttl=records.ttl)
        if not records.exists:
            return await self._implicit(next_hop, records)
        exchanges = sorted({(preference, name) for preference, name in records.values if name != "."})
        if not exchanges:
            # RFC 7505, section 3: a single MX of "." means that the domain accepts no mail.
            return MxAnswer(next_hop, Outcome.NO_MAIL, "the domain publishes a null MX", ttl=records.ttl)
        hosts = await asyncio.gather(*(self._host(name, preference) for preference, name in exchanges[:MAX_HOSTS]))
        return MxAnswer(next_hop, Outcome.FOUND, hosts=tuple(hosts), ttl=records.ttl, secure=records.secure)

    async def _implicit(self, next_hop: NextHop, mx: _Records) -> MxAnswer:
        """RFC 5321, section 5.1: without MX records the domain itself is the host, with preference 0."""
        host = await self._host(next_hop.name, 0)
        if host.addresses or not host.certain:
            return MxAnswer(next_hop, Outcome.FOUND, "no MX record: the domain itself", (host,), mx.ttl, mx.secure)
        return MxAnswer(next_hop, Outcome.NO_MAIL, "the domain has neither an MX record nor an address", ttl=mx.ttl)

    async def _host(self, name: str, preference: int) -> MxHost:
        """Addresses of one MX host.  Its troubles are its own: they never decide for the domain."""
        if not _HOST_NAME.fullmatch(name):
            return MxHost(_printable(name), preference, trouble="the MX record does not name a host")
        v4, v6 = await asyncio.gather(self._ask(name, "A"), self._ask(name, "AAAA"))
        addresses = [text for _, text in (*v4.values[:MAX_ADDRESSES], *v6.values[:MAX_ADDRESSES]) if _usable(text)]
        if addresses:
            answered = [records for records in (v4, v6) if records.values]
            return MxHost(name, preference, tuple(addresses), secure=all(records.secure for records in answered))
        for records in (v4, v6):
            if records.exists is None:
                return MxHost(name, preference, trouble=f"address lookup: {records.trouble}", certain=False)
        missing = "has no usable address" if v4.name_exists else "does not exist"
        return MxHost(name, preference, trouble=f"the MX host {missing}")

    async def _ask(self, name: str, kind: str) -> _Records:
        async with self._slots:
            try:
                answer = await self._resolver.resolve(name + ".", kind, search=False, raise_on_no_answer=False)
                return _records(answer)
            except dns.resolver.NXDOMAIN as error:
                return _Records(False, name_exists=False, ttl=_negative_ttl(error))
            except dns.resolver.LifetimeTimeout:
                return _Records(None, trouble="no answer from DNS")
            except dns.resolver.NoNameservers:
                return _Records(None, trouble="DNS reports a failure")
            except _DNS_FAILURES as error:
                logger.info("DNS answer not usable: %s %s: %s", name, kind, type(error).__name__)
                return _Records(None, trouble=f"unusable DNS answer ({type(error).__name__})")


def _literal(name: str) -> MxHost | None:
    try:
        return MxHost(name, 0, (str(ipaddress.ip_address(name)),))
    except ValueError:
        return None


def _records(answer: dns.resolver.Answer) -> _Records:
    secure = bool(answer.response.flags & dns.flags.AD)
    if answer.rrset is None:
        return _Records(False, ttl=_soa_ttl(answer.response), secure=secure)
    if answer.rdtype == dns.rdatatype.MX:
        values = tuple((record.preference, _name_text(record.exchange)) for record in answer.rrset)
    else:
        values = tuple((0, str(record.address)) for record in answer.rrset)
    return _Records(True, values=values, ttl=_bounded(answer.rrset.ttl), secure=secure)


def _name_text(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True).lower() if name != dns.name.root else "."


def _negative_ttl(error: dns.resolver.NXDOMAIN) -> int:
    responses = error.kwargs.get("responses") or {}
    return max((_soa_ttl(response) for response in responses.values()), default=MIN_TTL)


def _soa_ttl(response: dns.message.Message) -> int:
    """RFC 2308, section 5: the lesser of the SOA's own TTL and its minimum field."""
    for rrset in response.authority:
        if rrset.rdtype == dns.rdatatype.SOA:
            return _bounded(min(rrset.ttl, rrset[0].minimum))
    return MIN_TTL


def _bounded(ttl: int) -> int:
    return max(MIN_TTL, min(ttl, MAX_TTL))


def _usable(address: str) -> bool:
    """Loopback and private addresses count: sites have them.  What cannot be a peer does not."""
    parsed = ipaddress.ip_address(address)
    return not (parsed.is_multicast or parsed.is_unspecified)


def _printable(name: str) -> str:
    return name.encode("ascii", "backslashreplace").decode("ascii")[:253]


def _nameserver(text: str) -> dns.nameserver.Nameserver:
    address, _, port = text.partition("@")
    ipaddress.ip_address(address)
    return dns.nameserver.Do53Nameserver(address, int(port or 53))
