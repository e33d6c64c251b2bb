"""MX lookup against a real DNS server, with every answer that must not be misread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from restante.tls.mx import MAX_HOSTS, BadNextHop, MxAnswer, MxResolver, NextHop, NoResolver, Outcome
from tests.core.tls_dns import FaultyDns

Arrange = Callable[[FaultyDns], None]


def lookup(name: str, arrange: Arrange, timeout: float = 0.6) -> MxAnswer:
    async def scenario() -> MxAnswer:
        async with FaultyDns() as server:
            arrange(server)
            resolver = MxResolver((server.nameserver,), timeout)
            return await resolver.lookup(NextHop.parse(name))

    return asyncio.run(scenario())


def test_hosts_come_in_order_of_preference_with_all_addresses() -> None:
    def arrange(server: FaultyDns) -> None:
        server.domain("ok.test", (20, "backup.ok.test", "127.0.0.3"), (10, "MX.ok.test", "127.0.0.2"))
        server.add("mx.ok.test", "A", "127.0.0.2")
        server.add("mx.ok.test", "AAAA", "::1")

    answer = lookup("ok.test", arrange)
    assert answer.outcome is Outcome.FOUND
    assert [(host.name, host.addresses) for host in answer.hosts] == [
        ("mx.ok.test", ("127.0.0.2", "::1")),
        ("backup.ok.test", ("127.0.0.3",)),
    ]
    assert (answer.ttl, answer.secure) == (300, False)


def test_the_ad_bit_is_carried() -> None:
    def arrange(server: FaultyDns) -> None:
        server.authenticated = True
        server.domain("ok.test", (10, "mx.ok.test", "127.0.0.2"))

    answer = lookup("ok.test", arrange)
    assert answer.secure
    assert answer.hosts[0].secure


NO_MAIL: dict[str, tuple[str, Arrange, str]] = {
    "domain does not exist": ("gone.test", lambda _: None, "does not exist"),
    "null MX": ("null.test", lambda s: s.add("null.test", "MX", "0 ."), "null MX"),
    "neither MX nor address": ("text.test", lambda s: s.add("text.test", "TXT", '"x"'), "neither"),
}


@pytest.mark.parametrize("case", NO_MAIL)
def test_a_domain_without_mail_is_known_for_certain(case: str) -> None:
    name, arrange, reason = NO_MAIL[case]
    answer = lookup(name, arrange)
    assert answer.outcome is Outcome.NO_MAIL
    assert reason in answer.reason


def test_a_missing_domain_is_believed_as_long_as_its_soa_says() -> None:
    assert lookup("gone.test", lambda _: None).ttl == 120


def cut_short(server: FaultyDns) -> None:
    server.add("bad.test", "MX", "10 mx.bad.test.")
    server.faults["bad.test"] = "truncated-rdata"


def alias_loop(server: FaultyDns) -> None:
    server.add("bad.test", "CNAME", "loop.test.")
    server.add("loop.test", "CNAME", "bad.test.")


UNKNOWN: dict[str, Arrange] = {
    "servfail": lambda s: s.faults.update({"bad.test": "servfail"}),
    "silence": lambda s: s.faults.update({"bad.test": "silent"}),
    "garbage": lambda s: s.faults.update({"bad.test": "garbage"}),
    "cut short": cut_short,
    "CNAME loop": alias_loop,
}


@pytest.mark.parametrize("case", UNKNOWN)
def test_dns_trouble_is_never_read_as_no_mail(case: str) -> None:
    assert lookup("bad.test", UNKNOWN[case]).outcome is Outcome.UNKNOWN


def test_without_mx_the_domain_itself_is_the_host() -> None:
    answer = lookup("bare.test", lambda s: s.add("bare.test", "A", "127.0.0.4"))
    assert [(host.name, host.preference, host.addresses) for host in answer.hosts] == [("bare.test", 0, ("127.0.0.4",))]


def test_without_mx_an_unanswered_address_question_is_no_proof_of_absence() -> None:
    def arrange(server: FaultyDns) -> None:
        server.add("bare.test", "TXT", '"x"')
        server.faults.update({"bare.test/A": "servfail"})

    answer = lookup("bare.test", arrange)
    assert answer.outcome is Outcome.FOUND
    assert not answer.hosts[0].certain


def test_one_missing_mx_host_does_not_poison_the_domain() -> None:
    def arrange(server: FaultyDns) -> None:
        server.domain("ok.test", (10, "gone.ok.test", ""), (20, "mx.ok.test", "127.0.0.2"), (30, "odd.ok.test", ""))
        server.faults.update({"odd.ok.test": "servfail"})

    gone, good, odd = lookup("ok.test", arrange).hosts
    assert (gone.addresses, gone.certain) == ((), True)
    assert good.addresses == ("127.0.0.2",)
    assert (odd.addresses, odd.certain) == ((), False)


def test_aliases_are_followed() -> None:
    def arrange(server: FaultyDns) -> None:
        server.add("alias.test", "CNAME", "ok.test.")
        server.domain("ok.test", (10, "mx.ok.test", "127.0.0.2"))

    assert [host.name for host in lookup("alias.test", arrange).hosts] == ["mx.ok.test"]


def test_no_more_than_twenty_hosts_are_looked_at() -> None:
    def arrange(server: FaultyDns) -> None:
        server.domain("many.test", *((n, f"mx{n}.many.test", "127.0.0.2") for n in range(40)))

    answer = lookup("many.test", arrange, timeout=3)
    assert [host.name for host in answer.hosts] == [f"mx{n}.many.test" for n in range(MAX_HOSTS)]


@pytest.mark.parametrize(
    "exchange",
    [r"\000\255.ok.test.", r"a\032b.ok.test.", r"x\010y.", r"\@.ok.test.", r"mx\.dot.ok.test.", "*.ok.test."],
)
def test_an_mx_that_names_no_host_is_a_host_without_addresses(exchange: str) -> None:
    def arrange(server: FaultyDns) -> None:
        server.add("ok.test", "MX", f"10 {exchange}", "20 mx.ok.test.")
        server.add("mx.ok.test", "A", "127.0.0.2")

    odd, good = lookup("ok.test", arrange).hosts
    assert (odd.addresses, good.addresses) == ((), ("127.0.0.2",))
    assert odd.name.isprintable()
    assert odd.trouble


@pytest.mark.parametrize("address", ["0.0.0.0", "224.0.0.1"])
def test_what_cannot_be_a_peer_is_no_address(address: str) -> None:
    answer = lookup("ok.test", lambda s: s.domain("ok.test", (10, "mx.ok.test", address)))
    assert answer.hosts[0].addresses == ()


@settings(max_examples=40, deadline=None)
@given(
    changes=st.dictionaries(st.integers(min_value=2, max_value=90), st.integers(0, 255), max_size=6),
    cut=st.integers(min_value=0, max_value=40),
)
def test_no_bytes_from_dns_raise(changes: dict[int, int], cut: int) -> None:
    def corrupt(wire: bytes) -> bytes:
        damaged = bytearray(wire)
        for place, value in changes.items():
            if place < len(damaged):
                damaged[place] = value
        return bytes(damaged[: len(damaged) - cut])

    def arrange(server: FaultyDns) -> None:
        server.corrupt = corrupt
        server.domain("ok.test", (10, "mx.ok.test", "127.0.0.2"), (20, "mx2.ok.test", "127.0.0.3"))

    answer = lookup("ok.test", arrange, timeout=0.05)
    assert answer.outcome in Outcome
    assert all(host.name.isprintable() for host in answer.hosts)


NEXT_HOPS = [
    ("Example.ORG.", "example.org"),
    ("bücher.example", "xn--bcher-kva.example"),
    ("[MX.example.org]", "[mx.example.org]"),
    ("[mx.example.org]:587", "[mx.example.org]:587"),
    ("example.org:587", "example.org:587"),
    ("[127.0.0.1]:10025", "[127.0.0.1]:10025"),
    ("[IPv6:::1]", "[::1]"),
    ("[::1]:25", "[::1]:25"),
]


@pytest.mark.parametrize(("text", "canonical"), NEXT_HOPS)
def test_a_next_hop_has_one_spelling(text: str, canonical: str) -> None:
    assert str(NextHop.parse(text)) == canonical


@pytest.mark.parametrize(
    "text",
    ["", "[", "[]", "[x", "[x]y", "a b", "x:0", "x:99999", "x:٣", "-x-", ".", "a..b", "a" * 64, "x\n", "é" * 300],
)
def test_what_is_no_next_hop_is_refused(text: str) -> None:
    with pytest.raises(BadNextHop):
        NextHop.parse(text)


@given(st.text(max_size=80))
def test_any_text_is_a_next_hop_or_refused_as_such(text: str) -> None:
    try:
        parsed = NextHop.parse(text)
    except BadNextHop:
        return
    assert NextHop.parse(str(parsed)) == parsed


def test_brackets_mean_no_mx_lookup() -> None:
    async def scenario() -> list[tuple[str, str]]:
        async with FaultyDns() as server:
            server.domain("ok.test", (10, "mx.ok.test", "127.0.0.2"))
            resolver = MxResolver((server.nameserver,), 1)
            direct = await resolver.lookup(NextHop.parse("[mx.ok.test]:587"))
            literal = await resolver.lookup(NextHop.parse("[127.0.0.9]"))
            assert direct.hosts[0].addresses == ("127.0.0.2",)
            assert literal.hosts[0].addresses == ("127.0.0.9",)
            return server.questions

    assert {kind for _, kind in asyncio.run(scenario())} == {"A", "AAAA"}


@pytest.mark.parametrize("nameserver", ["localhost", "127.0.0.1@x", ""])
def test_a_malformed_name_server_is_refused(nameserver: str) -> None:
    with pytest.raises(NoResolver):
        MxResolver((nameserver,))
