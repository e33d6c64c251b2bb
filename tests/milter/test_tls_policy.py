"""What Postfix is told of domains with which something is agreed."""

from __future__ import annotations

import asyncio

import pytest

from restante.policy import DomainPolicy, Policy
from restante.tls.evidence import Evidence, Level, MxEvidence
from restante_milter.tls_policy import tls_maps

NOW = 1_800_000_000.0
FALLBACK = "[127.0.0.1]:10025"
POLICY = Policy(
    domain=(
        DomainPolicy(name="named.example", certificate_names=("a.example", "b.example")),
        DomainPolicy(name="proven.example", tls="authenticated"),
        DomainPolicy(name="hop.example", next_hop="[gate.example]:587", certificate_names=("gate.example",)),
        DomainPolicy(name="plain.example"),
    )
)


class _Engine:
    async def evidence(self, domain: str, *, recheck: bool = False) -> Evidence:
        del recheck
        host = MxEvidence(f"mx.{domain}", 10, Level.PKIX, "verified")
        return Evidence(domain, Level.PKIX, "verified", NOW, NOW, NOW, hosts=(host,))


def _ask(table: str, key: str) -> str:
    async def ask() -> bytes:
        reply = await tls_maps(_Engine(), FALLBACK, POLICY.destination_policy)[table](key)
        return reply.encode()

    return asyncio.run(ask()).decode().partition(":")[2].rstrip(",")


@pytest.mark.behaviour("D2")
@pytest.mark.parametrize("table", ["policy", "policy-auth"])
def test_agreed_names_bind_on_both_transports(table: str) -> None:
    assert _ask(table, "named.example") == "OK secure match=a.example:b.example servername=hostname"
    assert _ask(table, "[gate.example]:587") == "OK secure match=gate.example servername=hostname"
    assert _ask(table, "proven.example") == "OK secure match=mx.proven.example servername=hostname"
    assert _ask(table, FALLBACK) == "OK none"


@pytest.mark.behaviour("D2")
def test_an_opportunistic_domain_is_asked_for_no_name() -> None:
    assert _ask("policy", "plain.example") == "OK encrypt"
    assert _ask("policy", "unknown.example") == "OK encrypt"


@pytest.mark.behaviour("D4")
@pytest.mark.parametrize(("table", "transport"), [("hop", "restante-tls"), ("hop-auth", "restante-auth")])
def test_a_next_hop_is_a_filter_for_its_domain_alone(table: str, transport: str) -> None:
    assert _ask(table, "bob@hop.example") == f"OK FILTER {transport}:[gate.example]:587"
    assert _ask(table, "bob@HOP.example") == f"OK FILTER {transport}:[gate.example]:587"
    for key in ("bob@plain.example", "hop.example", "bob@x.hop.example", "bob@", ""):
        assert _ask(table, key).strip() == "NOTFOUND"
