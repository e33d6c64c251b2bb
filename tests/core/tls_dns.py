"""A real DNS server on a loopback UDP socket that can also answer wrongly, or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Self

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset


class FaultyDns(asyncio.DatagramProtocol):
    """Answers from ``records`` (name, type → data), unless ``faults`` names a fault for the name or name/type.

    Faults: ``servfail``, ``silent``, ``garbage``, ``truncated-rdata``.  ``corrupt`` is applied to every answer.
    A name exists when it has any record; every other is NXDOMAIN.  With ``authenticated`` answers carry AD, except
    those for names in ``unsigned``.
    """

    def __init__(self) -> None:
        self.records: dict[tuple[str, str], list[str]] = {}
        self.faults: dict[str, str] = {}
        self.corrupt: Callable[[bytes], bytes] = bytes
        self.questions: list[tuple[str, str]] = []
        self.authenticated = False
        self.unsigned: set[str] = set()
        self.ttl = 300
        self._transport: asyncio.DatagramTransport | None = None

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", 0))
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._transport is not None
        self._transport.close()

    @property
    def nameserver(self) -> str:
        assert self._transport is not None
        return f"127.0.0.1@{self._transport.get_extra_info('sockname')[1]}"

    def add(self, name: str, kind: str, *data: str) -> None:
        self.records.setdefault((name, kind), []).extend(data)

    def domain(self, name: str, *hosts: tuple[int, str, str]) -> None:
        """MX records of ``name``, each as preference, host and address; an empty address means none."""
        for preference, host, address in hosts:
            self.add(name, "MX", f"{preference} {host}.")
            if address:
                self.add(host, "A", address)

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        query = dns.message.from_wire(data)
        name = query.question[0].name.to_text(omit_final_dot=True).lower()
        kind = dns.rdatatype.to_text(query.question[0].rdtype)
        self.questions.append((name, kind))
        answer = self._answer(query, name, kind)
        if answer is not None and self._transport is not None:
            self._transport.sendto(self.corrupt(answer), addr)

    def _answer(self, query: dns.message.Message, name: str, kind: str) -> bytes | None:
        fault = self.faults.get(f"{name}/{kind}") or self.faults.get(name)
        if fault == "silent":
            return None
        if fault == "garbage":
            return query.to_wire()[:2] + b"\x81\x80" + b"\xff" * 40
        response = dns.message.make_response(query)
        if fault == "servfail":
            response.set_rcode(dns.rcode.SERVFAIL)
            return response.to_wire()
        if self.authenticated and name not in self.unsigned:
            response.flags |= dns.flags.AD
        self._fill(response, name, kind)
        wire = response.to_wire()
        return wire[:-3] if fault == "truncated-rdata" else wire

    def _fill(self, response: dns.message.Message, name: str, kind: str) -> None:
        for _ in range(20):
            alias = self.records.get((name, "CNAME"))
            if alias is None or kind == "CNAME":
                break
            response.answer.append(dns.rrset.from_text(name + ".", self.ttl, "IN", "CNAME", alias[0]))
            name = alias[0].rstrip(".").lower()
        data = self.records.get((name, kind))
        if data:
            response.answer.append(dns.rrset.from_text(name + ".", self.ttl, "IN", kind, *data))
            return
        if not any(owner == name for owner, _ in self.records):
            response.set_rcode(dns.rcode.NXDOMAIN)
        response.authority.append(
            dns.rrset.from_text("test.", 900, "IN", "SOA", "ns.test. hostmaster.test. 1 3600 600 86400 120")
        )
