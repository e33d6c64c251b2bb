"""MTA-STS: records, policies and their servers, and what binds a delivery when any of them fails."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from restante.settings import TlsSettings
from restante.store.engine import Store
from restante.store.sts_policies import StoredPolicies
from restante.tls import sts_policy
from restante.tls.engine import VerdictEngine
from restante.tls.evidence import Ability, Evidence, Level, Published, Requirement
from restante.tls.from_settings import verdict_engine
from restante.tls.resolve import Resolver
from restante.tls.sts_fetch import CannotFetch, FetchSettings, PolicyFetcher, is_public
from restante.tls.sts_policy import BadPolicy, KnownPolicy, Mode, StsPolicy, parse_policy, policy_id
from restante.tls.trust_mode import TrustAd
from tests.core import tls_peers as peers
from tests.core.tls_dns import FaultyDns
from tests.core.tls_peers import Behaviour, Certificates, Peer, free_port, plain
from tests.core.tls_policy_host import PolicyHost
from tests.migrated import upgrade

T = TypeVar("T")
FIRST, SECOND = "127.0.5.21", "127.0.5.22"
HOUR, DAY = 3600.0, 86_400.0
GOOD = b"version: STSv1\nmode: enforce\nmx: mx.d.test\nmx: *.d.test\nmax_age: 604800\n"

# --- records ------------------------------------------------------------------------------------------------------

RECORDS: dict[str, tuple[list[bytes], str | None]] = {
    "plain": ([b"v=STSv1; id=20260101T000000;"], "20260101T000000"),
    "no blanks, no end": ([b"v=STSv1;id=1"], "1"),
    "beside other text": ([b"v=spf1 -all", b"v=STSv1; id=1;"], "1"),
    "extension": ([b"v=STSv1; ext=a:b; id=1;"], "1"),
    "first id counts": ([b"v=STSv1; id=1; id=2;"], "1"),
    "none": ([], None),
    "two": ([b"v=STSv1; id=1;", b"v=STSv1; id=1;"], None),
    "no id": ([b"v=STSv1;"], None),
    "empty id": ([b"v=STSv1; id=;"], None),
    "long id": ([b"v=STSv1; id=" + b"1" * 33 + b";"], None),
    "id with a dash": ([b"v=STSv1; id=a-b;"], None),
    "later version": ([b"v=STSv2; id=1;"], None),
    "version not first": ([b"id=1; v=STSv1;"], None),
    "no separator": ([b"v=STSv1 id=1"], None),
    "not ASCII": (["v=STSv1; id=1; x=é;".encode()], None),
    "too long": ([b"v=STSv1; id=1; x=" + b"y" * 5000], None),
}


@pytest.mark.parametrize("case", RECORDS)
def test_a_record_counts_only_when_it_is_one_and_sound(case: str) -> None:
    texts, expected = RECORDS[case]
    assert policy_id(texts) == expected


@settings(deadline=None)
@given(st.lists(st.binary(max_size=60) | st.binary(max_size=40).map(lambda rest: b"v=STSv1; id=" + rest), max_size=3))
def test_no_record_breaks_the_reader(texts: list[bytes]) -> None:
    found = policy_id(texts)
    assert found is None or (found.isascii() and found.isalnum() and len(found) <= 32)


# --- policies -----------------------------------------------------------------------------------------------------

SOUND: dict[str, bytes] = {
    "plain": GOOD,
    "CRLF": GOOD.replace(b"\n", b"\r\n"),
    "no last line end": GOOD.rstrip(),
    "no blank after the colon": GOOD.replace(b": ", b":"),
    "any order": b"mx: mx.d.test\nmx: *.d.test\nmax_age: 604800\nmode: enforce\nversion: STSv1\n",
    "extensions": GOOD + b"x-note: hello, w\xc3\xb6rld\n",
    "repeated field": GOOD + b"mode: none\nmax_age: 1\n",
    "upper case": GOOD.replace(b"mx.d.test", b"MX.D.test."),
}


@pytest.mark.parametrize("case", SOUND)
def test_a_sound_policy_is_read(case: str) -> None:
    assert parse_policy(SOUND[case]) == StsPolicy(Mode.ENFORCE, ("mx.d.test", "*.d.test"), 604_800)


BAD: dict[str, bytes] = {
    "empty": b"",
    "no version": GOOD.replace(b"version: STSv1\n", b""),
    "other version": GOOD.replace(b"STSv1", b"STSv2"),
    "no mode": GOOD.replace(b"mode: enforce\n", b""),
    "unknown mode": GOOD.replace(b"enforce", b"enforced"),
    "no mx": b"version: STSv1\nmode: enforce\nmax_age: 1\n",
    "no age": GOOD.replace(b"max_age: 604800\n", b""),
    "negative age": GOOD.replace(b"604800", b"-1"),
    "age of more than a year": GOOD.replace(b"604800", b"31557601"),
    "age in other digits": GOOD.replace(b"604800", "٣".encode()),
    "wildcard within": GOOD.replace(b"*.d.test", b"a.*.test"),
    "wildcard in part": GOOD.replace(b"*.d.test", b"m*.d.test"),
    "two wildcards": GOOD.replace(b"*.d.test", b"*.*.test"),
    "wildcard alone": GOOD.replace(b"*.d.test", b"*"),
    "wildcard over a top-level domain": GOOD.replace(b"*.d.test", b"*.test"),
    "address": GOOD.replace(b"mx.d.test", b"[192.0.2.1]"),
    "a host in other letters": GOOD.replace(b"mx.d.test", "mx.dé.test".encode()),
    "injection into the answer": GOOD.replace(b"mx.d.test", b"mx.d.test servername=x"),
    "no field": GOOD + b"<html>\n",
    "no text": b"\xff\xfe" + GOOD,
    "NUL": GOOD + b"x: \x00\n",
    "too large": GOOD + b"x: " + b"y" * 65_536,
}


@pytest.mark.parametrize("case", BAD)
def test_a_policy_that_is_none_is_refused(case: str) -> None:
    with pytest.raises(BadPolicy):
        parse_policy(BAD[case])


LINES = st.sampled_from([line + b"\n" for line in GOOD.split(b"\n")]) | st.binary(max_size=30)


@settings(deadline=None)
@given(st.lists(LINES, max_size=12).map(b"".join) | st.binary(max_size=200))
def test_no_bytes_break_the_policy_reader(data: bytes) -> None:
    with contextlib.suppress(BadPolicy):
        policy = parse_policy(data)
        assert 0 <= policy.max_age <= sts_policy.LONGEST_AGE
        assert policy.mx or policy.mode is Mode.NONE
        assert not any(character in pattern for pattern in policy.mx for character in " :=\t\n")


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("mx.d.test", True),
        ("MX.D.Test.", True),
        ("other.e.test", True),
        ("e.test", False),
        ("a.b.e.test", False),
        ("d.test", False),
        ("evilmx.d.test", False),
        ("mx.d.test.evil", False),
    ],
)
def test_a_wildcard_is_one_label(host: str, allowed: bool) -> None:  # noqa: FBT001
    assert StsPolicy(Mode.ENFORCE, ("mx.d.test", "*.e.test"), 1).allows(host) is allowed


# --- fetching -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("2606:4700::1111", True),
        ("64:ff9b::808:808", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("192.168.1.1", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("0.0.0.0", False),
        ("::1", False),
        ("fe80::1", False),
        ("fc00::1", False),
        ("ff02::1", False),
        ("::ffff:10.0.0.1", False),
        ("::ffff:8.8.8.8", False),
        ("64:ff9b::a00:1", False),
        ("2002:a00:1::1", False),
    ],
)
def test_only_strangers_addresses_are_public(address: str, public: bool) -> None:  # noqa: FBT001
    assert is_public(address) is public


@settings(deadline=None)
@given(st.ip_addresses(v=4))
def test_no_private_address_gets_in_another_dress(address: ipaddress.IPv4Address) -> None:
    dressed = [f"::ffff:{address}", str(ipaddress.ip_address(int(ipaddress.ip_address("64:ff9b::")) + int(address)))]
    if not is_public(str(address)):
        assert not any(is_public(one) for one in dressed)


class World:
    """DNS, peers, a policy server, an engine, and a clock that tests move."""

    def __init__(self, server: FaultyDns, certificates: Certificates, host: PolicyHost, database: str) -> None:
        self.dns = server
        self.host = host
        self.certificates = certificates
        self.port = free_port()
        self.now = time.time()
        self.store = Store(database)
        self.policies = StoredPolicies(self.store)
        self.seen: dict[str, Evidence] = {}
        self._stack = contextlib.AsyncExitStack()
        self._engines: list[VerdictEngine] = []
        self.settings = TlsSettings(
            ca_file=certificates.ca_file,
            nameservers=(server.nameserver,),
            dns_seconds=0.5,
            confirm_pause_seconds=0,
            port=self.port,
            sts_port=host.port,
            sts_seconds=1,
            sts_private_addresses=True,
        )
        self.restart()

    def restart(self, **changes: object) -> None:
        """A new engine, as after a restart of the worker; the store stays."""
        settings = self.settings.model_copy(update=changes)
        self.engine = verdict_engine(settings, "mail.our.test", self, self.policies, lambda: self.now)
        self._engines.append(self.engine)

    def get(self, domain: str) -> Evidence | None:
        return self.seen.get(domain)

    def put(self, evidence: Evidence) -> None:
        self.seen[evidence.domain] = evidence

    async def peer(self, address: str, behaviour: Behaviour) -> Peer:
        return await self._stack.enter_async_context(Peer(address, self.port, behaviour))

    async def look(self) -> Evidence:
        """What is known now, without anything remembered about hosts."""
        return await self.engine.evidence("d.test", recheck=True)

    async def close(self) -> None:
        for engine in self._engines:
            await engine.close()
        await self._stack.aclose()
        self.store.close()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("store") / "restante.db"
    upgrade(f"sqlite:///{path}")
    return path


@pytest.fixture
def database(empty_database: Path, tmp_path: Path) -> str:
    return f"sqlite:///{shutil.copy(empty_database, tmp_path / 'restante.db')}"


Scenario = Callable[[World], Awaitable[T]]
Run = Callable[[Scenario[T]], T]


@pytest.fixture
def run(certificates: Certificates, database: str) -> Run[None]:
    @contextlib.asynccontextmanager
    async def world() -> AsyncIterator[World]:
        async with FaultyDns() as server, PolicyHost(certificates.valid("mta-sts.d.test")) as host:
            server.domain("d.test", (10, peers.NAME, FIRST))
            server.add("_mta-sts.d.test", "TXT", '"v=STSv1; id=1;"')
            server.add("mta-sts.d.test", "A", "127.0.0.1")
            host.policy(peers.NAME)
            built = World(server, certificates, host, database)
            try:
                yield built
            finally:
                await built.close()

    def go(scenario: Scenario[None]) -> None:
        async def main() -> None:
            async with asyncio.timeout(30), world() as built:
                await scenario(built)

        asyncio.run(main())

    return go


def _redirect(world: World) -> None:
    world.host.serve(GOOD, status="301 Moved", more="Location: https://elsewhere.test/\r\n")


def _found(world: World) -> None:
    world.host.serve(b"", status="302 Found", more=f"Location: https://mta-sts.d.test:{world.host.port}/x\r\n")


def _large(world: World) -> None:
    world.host.serve(GOOD + b"x: y\n" * 20_000)


def _fault(kind: str) -> Callable[[World], None]:
    def arrange(world: World) -> None:
        world.host.fault = kind

    return arrange


def _answer(data: bytes) -> Callable[[World], None]:
    def arrange(world: World) -> None:
        world.host.answer = data

    return arrange


def _no_address(world: World) -> None:
    del world.dns.records["mta-sts.d.test", "A"]


def _dns_fault(kind: str) -> Callable[[World], None]:
    def arrange(world: World) -> None:
        world.dns.faults["mta-sts.d.test"] = kind

    return arrange


def _refused(world: World) -> None:
    world.dns.records["mta-sts.d.test", "A"] = ["127.0.5.99"]


FAILURES: dict[str, tuple[Callable[[World], None], str]] = {
    "redirect": (_redirect, "redirect"),
    "redirect to itself": (_found, "redirect"),
    "not found": (lambda w: w.host.serve(GOOD, status="404 Not Found"), "404"),
    "no content": (lambda w: w.host.serve(b"", status="204 No Content"), "204"),
    "web page": (lambda w: w.host.serve(GOOD, kind="text/html; charset=utf-8"), "text/plain"),
    "compressed": (lambda w: w.host.serve(GOOD, more="Content-Encoding: gzip\r\n"), "compressed"),
    "huge": (_large, "too large"),
    "endless": (_fault("endless"), "too large"),
    "slow": (_fault("drip"), "too long"),
    "silent": (_fault("silent"), "too long"),
    "no HTTP": (_answer(b"\x00\xff" * 50), "mta-sts.d.test"),
    "cut short": (_answer(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nversion"), "mta-sts.d.test"),
    "endless header": (_answer(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 300_000), "mta-sts.d.test"),
    "no address": (_no_address, "no address"),
    "DNS fails": (_dns_fault("servfail"), "DNS reports a failure"),
    "refused": (_refused, "mta-sts.d.test"),
    "bad policy": (lambda w: w.host.serve(BAD["no mode"]), "no known mode"),
}


@pytest.mark.parametrize("case", FAILURES)
def test_a_policy_that_cannot_be_had_decides_nothing_and_one_in_force_stays(case: str, run: Run[None]) -> None:
    arrange, word = FAILURES[case]

    async def scenario(world: World) -> None:
        await world.peer(FIRST, peers.tls(world.certificates.valid()))
        arrange(world)
        evidence = await world.look()
        assert (evidence.level, evidence.policy) == (Level.PKIX, Published.NOTHING)
        assert word in " ".join(evidence.notes), evidence.notes
        assert evidence.fresh_until - evidence.checked_at <= HOUR
        kept = KnownPolicy("d.test", "0", StsPolicy(Mode.ENFORCE, (peers.NAME,), 604_800), world.now - 3 * DAY)
        world.policies.put(kept)
        world.restart()
        evidence = await world.look()
        assert (evidence.level, evidence.policy) == (Level.MTA_STS, Published.MTA_STS)
        assert evidence.stale_until <= kept.expires_at
        assert word in " ".join(evidence.notes)

    run(scenario)


CERTIFICATES = {
    "other name": lambda c: c.valid("other.test"),
    "untrusted": lambda c: c.untrusted(),
    "expired": lambda c: c.expired(),
    "TLS 1.0": lambda c: c.old(),
}


@pytest.mark.parametrize("case", CERTIFICATES)
def test_a_policy_counts_only_under_a_certificate_for_its_host(case: str, certificates: Certificates) -> None:
    async def fetch(context: str) -> bytes:
        served = certificates.valid("mta-sts.d.test") if context == "good" else CERTIFICATES[case](certificates)
        async with FaultyDns() as server, PolicyHost(served) as host:
            server.add("mta-sts.d.test", "A", "127.0.0.1")
            host.serve(GOOD)
            settings = FetchSettings(2, certificates.ca_file, private_addresses=True, port=host.port)
            return await PolicyFetcher(settings, Resolver((server.nameserver,), 1)).fetch("d.test")

    assert asyncio.run(fetch("good")) == GOOD
    with pytest.raises(CannotFetch):
        asyncio.run(fetch("bad"))


def test_a_private_address_is_not_even_connected_to(certificates: Certificates) -> None:
    async def scenario() -> tuple[str, int]:
        async with FaultyDns() as server, PolicyHost(certificates.valid("mta-sts.d.test")) as host:
            server.add("mta-sts.d.test", "A", "127.0.0.1")
            server.add("mta-sts.d.test", "AAAA", "::ffff:127.0.0.1")
            fetcher = PolicyFetcher(
                FetchSettings(2, certificates.ca_file, port=host.port), Resolver((server.nameserver,), 1)
            )
            with pytest.raises(CannotFetch) as caught:
                await fetcher.fetch("d.test")
            return str(caught.value), len(host.requests)

    text, requests = asyncio.run(scenario())
    assert ("private" in text, requests) == (True, 0)


def test_the_request_names_the_host_and_no_more(run: Run[None], monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(world: World) -> None:
        await world.peer(FIRST, peers.tls(world.certificates.valid()))
        await world.look()
        lines = world.host.requests[0].decode().split("\r\n")
        assert lines[0] == "GET /.well-known/mta-sts.txt HTTP/1.1"
        assert "Host: mta-sts.d.test" in lines

    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    run(scenario)


# --- domains ------------------------------------------------------------------------------------------------------


@pytest.mark.behaviour("F6")
def test_enforce_with_a_host_that_proves_its_name(run: Run[None]) -> None:
    async def scenario(world: World) -> None:
        await world.peer(FIRST, peers.tls(world.certificates.valid()))
        world.host.policy(peers.NAME, "*.backup.test")
        evidence = await world.look()
        assert (evidence.level, evidence.policy) == (Level.MTA_STS, Published.MTA_STS)
        assert evidence.match == (peers.NAME, ".backup.test")
        assert evidence.ability(Requirement.AUTHENTICATED) is Ability.YES
        assert evidence.fresh_until - evidence.checked_at == DAY
        assert Evidence.from_dict(evidence.to_dict()) == evidence

    run(scenario)


UNPROVED: dict[str, tuple[Callable[[Certificates], Behaviour], str]] = {
    "untrusted": (lambda c: peers.tls(c.untrusted()), peers.NAME),
    "expired": (lambda c: peers.tls(c.expired()), peers.NAME),
    "another name": (lambda c: peers.tls(c.misnamed()), peers.NAME),
    "no STARTTLS": (lambda _: plain(), peers.NAME),
    "not in the policy": (lambda c: peers.tls(c.valid()), "mx.other.test"),
    "two labels under the wildcard": (lambda c: peers.tls(c.valid()), "*.sub.peer.test"),
}


@pytest.mark.parametrize("case", UNPROVED)
def test_enforce_never_falls_back_to_less(case: str, run: Run[None]) -> None:
    behaviour, mx = UNPROVED[case]

    async def scenario(world: World) -> None:
        await world.peer(FIRST, behaviour(world.certificates))
        world.host.policy(mx)
        evidence = await world.look()
        assert (evidence.level, evidence.policy, evidence.match) == (
            Level.UNKNOWN,
            Published.MTA_STS,
            (mx.removeprefix("*"),),
        )
        assert {evidence.ability(one) for one in Requirement} == {Ability.UNKNOWN}
        assert world.seen["d.test"].policy is Published.MTA_STS

    run(scenario)


def test_a_host_outside_the_policy_is_not_used_and_not_asked(run: Run[None]) -> None:
    async def scenario(world: World) -> None:
        await world.peer(FIRST, peers.tls(world.certificates.valid()))
        outside = await world.peer(SECOND, peers.tls(world.certificates.valid("mx.outside.test")))
        world.dns.domain("d.test", (5, "mx.outside.test", SECOND))
        evidence = await world.look()
        assert [(host.host, host.level) for host in evidence.hosts] == [
            ("mx.outside.test", Level.NONE),
            (peers.NAME, Level.PKIX),
        ]
        assert (evidence.level, outside.connections) == (Level.MTA_STS, 0)

    run(scenario)


@pytest.mark.parametrize(("mode", "note"), [("testing", "in testing"), ("none", "")])
def test_testing_and_none_bind_nobody(mode: str, note: str, run: Run[None]) -> None:
    async def scenario(world: World) -> None:
        await world.peer(FIRST, peers.tls(world.certificates.untrusted()))
        world.host.policy("mx.other.test", mode=mode)
        evidence = await world.look()
        assert (evidence.level, evidence.policy, bool(evidence.notes)) == (
            Level.ENCRYPTED,
            Published.NOTHING,
            bool(note),
        )
        assert note in " ".join(evidence.notes)

    run(scenario)


def test_a_domain_without_a_record_is_not_asked_for_a_policy(run: Run[None]) -> None:
    async def scenario(world: World) -> None:
        await world.peer(FIRST, peers.tls(world.certificates.valid()))
        del world.dns.records["_mta-sts.d.test", "TXT"]
        evidence = await world.look()
        assert (evidence.level, evidence.notes, world.host.requests) == (Level.PKIX, (), [])

    run(scenario)


def test_a_policy_is_fetched_once_a_day_or_when_its_id_changes(run: Run[None]) -> None:
    async def scenario(world: World) -> None:
        await world.peer(FIRST, peers.tls(world.certificates.valid()))
        fetched = []
        for change in ("first", "again", "id", "again", "day", "restart"):
            if change == "id":
                world.dns.records["_mta-sts.d.test", "TXT"] = ['"v=STSv1; id=2;"']
            elif change == "day":
                world.now += DAY + 1
            elif change == "restart":
                world.restart()
            assert (await world.look()).level is Level.MTA_STS
            fetched.append(len(world.host.requests))
        assert fetched == [1, 1, 2, 2, 3, 3]

    run(scenario)


def test_a_failing_server_is_left_alone_for_a_while(run: Run[None]) -> None:
    async def scenario(world: World) -> None:
        await world.peer(FIRST, peers.tls(world.certificates.valid()))
        world.host.serve(b"", status="503 Later")
        for _ in range(3):
            assert (await world.look()).level is Level.PKIX
        assert len(world.host.requests) == 1
        world.host.policy(peers.NAME)
        world.now += 301
        assert (await world.look()).level is Level.MTA_STS

    run(scenario)


@pytest.mark.parametrize("lost", ["record", "server", "DNS"])
def test_a_policy_binds_until_it_expires_and_no_longer(lost: str, run: Run[None]) -> None:
    async def scenario(world: World) -> None:
        await world.peer(FIRST, peers.tls(world.certificates.untrusted()))
        world.host.policy(peers.NAME, max_age=int(3 * DAY))
        assert (await world.look()).policy is Published.MTA_STS
        if lost == "record":
            del world.dns.records["_mta-sts.d.test", "TXT"]
        elif lost == "DNS":
            world.dns.faults["_mta-sts.d.test"] = "servfail"
        world.host.serve(b"", status="500 Broken")
        world.now += 2 * DAY
        world.restart()
        assert (await world.look()).policy is Published.MTA_STS
        world.now += DAY + 1
        world.restart()
        assert (await world.look()).policy is Published.NOTHING

    run(scenario)


def test_a_withdrawn_policy_ends_at_once_when_it_says_so(run: Run[None]) -> None:
    async def scenario(world: World) -> None:
        await world.peer(FIRST, peers.tls(world.certificates.valid()))
        assert (await world.look()).level is Level.MTA_STS
        world.host.policy(mode="none", max_age=0)
        world.dns.records["_mta-sts.d.test", "TXT"] = ['"v=STSv1; id=2;"']
        assert (await world.look()).level is Level.PKIX

    run(scenario)


def test_dane_comes_first(run: Run[None]) -> None:
    async def scenario(world: World) -> None:
        await world.peer(FIRST, peers.tls(world.certificates.valid()))
        world.dns.authenticated = True
        world.dns.add(f"_{world.port}._tcp.{peers.NAME}", "TLSA", "3 1 1 " + "00" * 32)
        world.restart(trust_ad=TrustAd.YES)
        evidence = await world.look()
        assert (evidence.level, evidence.policy, world.host.requests) == (Level.UNKNOWN, Published.DANE, [])

    run(scenario)


def test_next_hops_and_a_switch_keep_it_out(run: Run[None]) -> None:
    async def scenario(world: World) -> None:
        await world.peer(FIRST, peers.tls(world.certificates.valid()))
        for hop in (f"d.test:{world.port}", f"[{peers.NAME}]"):
            assert (await world.engine.evidence(hop)).policy is Published.NOTHING
        world.restart(mta_sts=False)
        assert (await world.look()).level is Level.PKIX
        assert world.host.requests == []

    run(scenario)


@pytest.mark.parametrize("broken", ["get", "put"])
def test_a_store_that_fails_is_never_a_reason_for_less(
    broken: str, run: Run[None], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(world: World) -> None:
        def fail(*_: object) -> None:
            raise OSError("store is down")

        await world.peer(FIRST, peers.tls(world.certificates.untrusted()))
        monkeypatch.setattr(world.policies, broken, fail)
        evidence = await world.look()
        assert evidence.level is Level.UNKNOWN
        assert evidence.policy is (Published.NOTHING if broken == "get" else Published.MTA_STS)

    run(scenario)


def test_many_patterns_become_the_names_of_hosts(run: Run[None]) -> None:
    async def scenario(world: World) -> None:
        await world.peer(FIRST, peers.tls(world.certificates.valid()))
        world.host.policy(*(f"mx{n}.other.test" for n in range(60)), "*.peer.test")
        assert (await world.look()).match == (peers.NAME,)

    run(scenario)
