"""DNS questions and answers as values.

Guarantees: :meth:`Resolver.ask` answers for any name and any DNS answer, however hostile, with :class:`Records`;
doubt is ``exists=None``, never "not found", because that would fail open.  :class:`NoResolver` is raised only when a
resolver is built.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import dns.asyncresolver
import dns.exception
import dns.flags
import dns.immutable
import dns.message
import dns.name
import dns.nameserver
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rdtypes.tlsabase
import dns.resolver

from restante.errors import RestanteError

MIN_TTL: Final = 60
MAX_TTL: Final = 86_400

_DNS_FAILURES: Final = (dns.exception.DNSException, OSError, ValueError, EOFError)

logger = logging.getLogger(__name__)


class NoResolver(RestanteError):
    """No usable name server is configured.  Name one in the settings or mend ``/etc/resolv.conf``."""


@dataclass(frozen=True, slots=True)
class Tlsa:
    """One TLSA record as published (RFC 6698, section 2.1); it may be unusable."""

    usage: int
    selector: int
    matching: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Records:
    """One DNS answer: ``exists`` is ``None`` when it is not known whether the name has such records.

    ``owner`` is the name that CNAME records lead to; ``secure`` carries the AD bit; ``ttl`` is in seconds.  Of
    ``exchanges`` (preference and host), ``addresses``, ``texts`` and ``tlsa`` only what was asked for is filled.
    """

    exists: bool | None
    name_exists: bool = True
    owner: str = ""
    ttl: int = MIN_TTL
    secure: bool = False
    trouble: str = ""
    exchanges: tuple[tuple[int, str], ...] = ()
    addresses: tuple[str, ...] = ()
    texts: tuple[bytes, ...] = ()
    tlsa: tuple[Tlsa, ...] = ()


@dns.immutable.immutable
class _AnyTlsa(dns.rdtypes.tlsabase.TLSABase):
    """A TLSA record whose digest may have any length."""

    __slots__ = ()
    _cert_length_by_mtype = {}  # noqa: RUF012 (as in the class above)


def _read_any_tlsa() -> None:
    """Make dnspython read TLSA records with digests of a wrong length.

    Since 2.9 it refuses the whole answer for one of them, which would turn a record to be ignored (RFC 6698, section
    4.1) into a domain that cannot be looked up.  Its way to register types refuses the ones that it knows.
    """
    classes = dns.rdata._rdata_classes  # noqa: SLF001
    classes[dns.rdataclass.IN, dns.rdatatype.TLSA] = _AnyTlsa


class Resolver:
    """Asks name servers.

    ``nameservers`` are addresses, each perhaps with ``@port``; empty means the system's.  ``timeout`` bounds each
    question, in seconds.  Raises :class:`NoResolver` when there is none or one is malformed.
    """

    def __init__(self, nameservers: Sequence[str] = (), timeout: float = 5, max_questions: int = 100) -> None:
        _read_any_tlsa()
        self._resolver = _configured(nameservers, timeout)
        self._timeout = timeout
        self._slots = asyncio.Semaphore(max_questions)

    @property
    def nameservers(self) -> tuple[str, ...]:
        """The name servers in use, each as ``address@port``."""
        return tuple(_written(server) for server in self._resolver.nameservers)

    def one(self, nameserver: str) -> Resolver:
        """A resolver that asks only ``nameserver``, one of :attr:`nameservers`."""
        return Resolver((nameserver,), self._timeout, 1)

    async def ask(self, name: str, kind: str) -> Records:
        """The ``kind`` records of ``name``.  Never raises for anything that DNS answers or does not."""
        async with self._slots:
            try:
                asked = name if name.endswith(".") else name + "."
                answer = await self._resolver.resolve(asked, kind, search=False, raise_on_no_answer=False)
                return _records(answer)
            except dns.resolver.NXDOMAIN as error:
                return _absent(error)
            except dns.resolver.LifetimeTimeout:
                return Records(None, trouble="no answer from DNS")
            except dns.resolver.NoNameservers:
                return Records(None, trouble="DNS reports a failure")
            except _DNS_FAILURES as error:
                logger.info("DNS answer not usable: %s %s: %s", name, kind, type(error).__name__)
                return Records(None, trouble=f"unusable DNS answer ({type(error).__name__})")


def _configured(nameservers: Sequence[str], timeout: float) -> dns.asyncresolver.Resolver:
    try:
        resolver = dns.asyncresolver.Resolver(configure=not nameservers)
        if nameservers:
            resolver.nameservers = [_nameserver(text) for text in nameservers]
    except (dns.resolver.NoResolverConfiguration, ValueError) as error:
        raise NoResolver(f"no usable name server: {error}") from error
    resolver.lifetime = timeout
    resolver.timeout = timeout / 2
    # RFC 6840, section 5.7: the AD bit in a question asks for it in the answer.
    resolver.set_flags(dns.flags.RD | dns.flags.AD)
    resolver.use_edns(0, 0, 1232)
    return resolver


def _nameserver(text: str) -> dns.nameserver.Nameserver:
    address, _, port = text.partition("@")
    ipaddress.ip_address(address)
    return dns.nameserver.Do53Nameserver(address, int(port or 53))


def _written(server: str | dns.nameserver.Nameserver) -> str:
    if isinstance(server, dns.nameserver.AddressAndPortNameserver):
        return f"{server.address}@{server.port}"
    return f"{server}@53"


def _records(answer: dns.resolver.Answer) -> Records:
    secure = bool(answer.response.flags & dns.flags.AD)
    owner = _name_text(answer.canonical_name)
    if answer.rrset is None:
        return Records(False, owner=owner, ttl=_soa_ttl(answer.response), secure=secure)
    kind, rrset, ttl = answer.rdtype, answer.rrset, _bounded(answer.rrset.ttl)
    if kind == dns.rdatatype.MX:
        exchanges = tuple((record.preference, _name_text(record.exchange)) for record in rrset)
        return Records(True, owner=owner, ttl=ttl, secure=secure, exchanges=exchanges)
    if kind == dns.rdatatype.TXT:
        texts = tuple(b"".join(record.strings) for record in rrset)
        return Records(True, owner=owner, ttl=ttl, secure=secure, texts=texts)
    if kind == dns.rdatatype.TLSA:
        tlsa = tuple(Tlsa(record.usage, record.selector, record.mtype, bytes(record.cert)) for record in rrset)
        return Records(True, owner=owner, ttl=ttl, secure=secure, tlsa=tlsa)
    addresses = tuple(str(record.address) for record in rrset if hasattr(record, "address"))
    return Records(True, owner=owner, ttl=ttl, secure=secure, addresses=addresses)


def _absent(error: dns.resolver.NXDOMAIN) -> Records:
    responses = list((error.kwargs.get("responses") or {}).values())
    return Records(
        False,
        name_exists=False,
        ttl=max((_soa_ttl(response) for response in responses), default=MIN_TTL),
        secure=bool(responses) and all(response.flags & dns.flags.AD for response in responses),
    )


def _name_text(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True).lower() if name != dns.name.root else "."


def _soa_ttl(response: dns.message.Message) -> int:
    """RFC 2308, section 5: the lesser of the SOA's own TTL and its minimum field."""
    for rrset in response.authority:
        if rrset.rdtype == dns.rdatatype.SOA:
            return _bounded(min(rrset.ttl, rrset[0].minimum))
    return MIN_TTL


def _bounded(ttl: int) -> int:
    return max(MIN_TTL, min(ttl, MAX_TTL))
