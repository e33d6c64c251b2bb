"""The engine end to end: real DNS answers, real peers, one cache, one clock."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest

from restante.tls.engine import Question, VerdictEngine
from restante.tls.evidence import Ability, Evidence, Level, Requirement
from restante.tls.probe import ProbeSettings
from tests.core import tls_peers as peers
from tests.core.tls_dns import FaultyDns
from tests.core.tls_peers import Behaviour, Certificates, Peer, free_port, plain

T = TypeVar("T")
FIRST, SECOND = "127.0.0.21", "127.0.0.22"


class MemoryCache:
    def __init__(self) -> None:
        self.kept: dict[str, Evidence] = {}
        self.reads = 0
        self.broken = False

    def get(self, domain: str) -> Evidence | None:
        self.reads += 1
        if self.broken:
            raise OSError("store is down")
        return self.kept.get(domain)

    def put(self, evidence: Evidence) -> None:
        if self.broken:
            raise OSError("store is down")
        self.kept[evidence.domain] = evidence


class World:
    """DNS, peers, an engine, and a clock that tests move."""

    def __init__(self, server: FaultyDns, ca_file: Path) -> None:
        self.dns = server
        self.cache = MemoryCache()
        self.port = free_port()
        self.now = 1_800_000_000.0
        self._stack = contextlib.AsyncExitStack()
        self.settings = ProbeSettings(
            "mail.our.test",
            dns_timeout=1,
            connect_timeout=2,
            banner_timeout=2,
            total_timeout=4,
            port=self.port,
            ca_file=ca_file,
            nameservers=(server.nameserver,),
            confirm_pause=0.02,
        )
        self.engine = self.new_engine()

    def new_engine(self) -> VerdictEngine:
        return VerdictEngine(self.settings, self.cache, lambda: self.now)

    async def peer(self, address: str, behaviour: Behaviour) -> Peer:
        return await self._stack.enter_async_context(Peer(address, self.port, behaviour))

    async def close(self) -> None:
        await self.engine.close()
        await self._stack.aclose()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("ca"))


def run(certificates: Certificates, scenario: Callable[[World], Awaitable[T]]) -> T:
    @contextlib.asynccontextmanager
    async def world() -> AsyncIterator[World]:
        async with FaultyDns() as server:
            server.domain("d.test", (10, peers.NAME, FIRST))
            server.domain("two.test", (10, peers.NAME, FIRST), (20, "backup.peer.test", SECOND))
            built = World(server, certificates.ca_file)
            try:
                yield built
            finally:
                await built.close()

    async def main() -> T:
        async with asyncio.timeout(30), world() as built:
            return await scenario(built)

    return asyncio.run(main())


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(500):
        if condition():
            return
        await asyncio.sleep(0.01)
    pytest.fail("waited five seconds in vain")


def test_the_first_question_finds_out_and_the_second_asks_nobody(certificates: Certificates) -> None:
    async def scenario(world: World) -> None:
        peer = await world.peer(FIRST, peers.tls(certificates.valid()))
        first = await world.engine.evidence("d.test")
        questions, reads = len(world.dns.questions), world.cache.reads
        assert await world.engine.evidence("D.Test.") == first == world.cache.kept["d.test"]
        assert first.level is Level.PKIX
        assert (peer.connections, len(world.dns.questions), world.cache.reads) == (1, questions, reads)

    run(certificates, scenario)


def test_a_cold_domain_without_tls_is_decided_at_once(certificates: Certificates) -> None:
    async def scenario(world: World) -> None:
        peer = await world.peer(FIRST, plain())
        evidence = await world.engine.evidence("d.test")
        assert (evidence.level, peer.connections) == (Level.NONE, 2)
        assert "does not offer STARTTLS" in evidence.reason

    run(certificates, scenario)


@pytest.mark.behaviour("F7")
def test_while_the_canaries_do_no_tls_either_nobody_is_believed_to_do_none(certificates: Certificates) -> None:
    async def scenario(world: World) -> None:
        world.dns.domain("canary.test", (10, "canary.peer.test", SECOND))
        world.dns.domain("late.test", (10, peers.NAME, FIRST))
        engine = VerdictEngine(world.settings, world.cache, lambda: world.now, canaries=("canary.test", "gone.test"))
        await world.peer(FIRST, plain())
        canary = await world.peer(SECOND, plain())
        stripped = await engine.evidence("d.test")
        assert (stripped.level, stripped.ability(Requirement.ENCRYPTED)) == (Level.UNKNOWN, Ability.UNKNOWN)
        assert "something near this host strips STARTTLS: canary.test" in stripped.reason
        looks = canary.connections
        assert (await engine.evidence("late.test")).level is Level.UNKNOWN
        assert canary.connections == looks
        canary.behaviour = peers.tls(certificates.valid("canary.peer.test"))
        world.now += 3600
        assert (await engine.evidence("d.test")).level is Level.NONE
        assert canary.connections == looks + 1
        await engine.close()

    run(certificates, scenario)


def test_canaries_that_are_gone_say_nothing(certificates: Certificates) -> None:
    async def scenario(world: World) -> None:
        engine = VerdictEngine(world.settings, world.cache, lambda: world.now, canaries=("gone.test",))
        await world.peer(FIRST, plain())
        assert (await engine.evidence("d.test")).level is Level.NONE
        await engine.close()

    run(certificates, scenario)


def test_a_backup_without_tls_does_not_spoil_the_primary(certificates: Certificates) -> None:
    async def scenario(world: World) -> None:
        await world.peer(FIRST, peers.tls(certificates.valid()))
        await world.peer(SECOND, plain())
        evidence = await world.engine.evidence("two.test")
        assert [(host.preference, host.level) for host in evidence.hosts] == [(10, Level.PKIX), (20, Level.NONE)]
        assert evidence.level is Level.PKIX

    run(certificates, scenario)


@pytest.mark.parametrize("context", ["untrusted", "expired", "misnamed"])
def test_a_peer_that_proves_nothing_meets_only_plain_encryption(context: str, certificates: Certificates) -> None:
    async def scenario(world: World) -> None:
        await world.peer(FIRST, peers.tls(getattr(certificates, context)()))
        evidence = await world.engine.evidence("d.test")
        assert evidence.ability(Requirement.ENCRYPTED) is Ability.YES
        assert evidence.ability(Requirement.AUTHENTICATED) is Ability.NO

    run(certificates, scenario)


@pytest.mark.parametrize("context", ["old", "anonymous"])
def test_tls_too_old_or_anonymous_is_no_tls(context: str, certificates: Certificates) -> None:
    async def scenario(world: World) -> None:
        await world.peer(FIRST, peers.tls(getattr(certificates, context)()))
        evidence = await world.engine.evidence("d.test")
        assert (evidence.level, evidence.ability(Requirement.ENCRYPTED)) == (Level.NONE, Ability.NO)

    run(certificates, scenario)


@pytest.mark.parametrize("fault", ["servfail", "silent", "garbage"])
def test_dns_trouble_is_unknown(fault: str, certificates: Certificates) -> None:
    async def scenario(world: World) -> None:
        world.dns.faults["d.test"] = fault
        assert (await world.engine.evidence("d.test")).level is Level.UNKNOWN

    run(certificates, scenario)


def test_a_missing_domain_and_nonsense_are_told_apart(certificates: Certificates) -> None:
    async def scenario(world: World) -> None:
        assert (await world.engine.evidence("gone.test")).level is Level.NO_MAIL
        for nonsense in ("", "a b", "[", "x:0", "\x00", "☃" * 300):
            assert (await world.engine.evidence(nonsense)).level is Level.UNKNOWN

    run(certificates, scenario)


def test_simultaneous_questions_are_one_lookup(certificates: Certificates) -> None:
    async def scenario(world: World) -> None:
        peer = await world.peer(FIRST, peers.slow(certificates.valid()))
        for n in range(20):
            world.dns.domain(f"d{n}.test", (10, peers.NAME, ""))
        names = ["d.test"] * 100 + [f"d{n}.test" for n in range(20)]
        answers = await asyncio.gather(*(world.engine.evidence(name) for name in names))
        assert {answer.level for answer in answers} == {Level.PKIX}
        assert peer.connections == 1
        assert world.dns.questions.count(("d.test", "MX")) == 1

    run(certificates, scenario)


def test_a_caller_who_gives_up_does_not_stop_the_lookup(certificates: Certificates) -> None:
    async def scenario(world: World) -> None:
        await world.peer(FIRST, peers.slow(certificates.valid()))
        impatient = asyncio.create_task(world.engine.evidence("d.test"))
        patient = asyncio.create_task(world.engine.evidence("d.test"))
        await until(lambda: bool(world.dns.questions))
        impatient.cancel()
        assert (await patient).level is Level.PKIX
        with pytest.raises(asyncio.CancelledError):
            await impatient

    run(certificates, scenario)


def test_stale_evidence_is_used_while_it_is_refreshed(certificates: Certificates) -> None:
    async def scenario(world: World) -> None:
        peer = await world.peer(FIRST, peers.tls(certificates.valid()))
        first = await world.engine.evidence("d.test")
        world.now += 2 * 86_400
        assert await world.engine.evidence("d.test") == first
        assert peer.connections == 1, "it did not wait for the new one"
        await until(lambda: world.cache.kept["d.test"].checked_at == world.now)
        assert (await world.engine.evidence("d.test")).confirmations == 2
        assert peer.connections == 2

    run(certificates, scenario)


def test_after_a_week_the_question_waits_for_a_new_answer(certificates: Certificates) -> None:
    async def scenario(world: World) -> None:
        await world.peer(FIRST, peers.tls(certificates.valid()))
        await world.engine.evidence("d.test")
        world.now += 8 * 86_400
        assert (await world.engine.evidence("d.test")).checked_at == world.now

    run(certificates, scenario)


def test_another_process_finds_the_evidence_in_the_store(certificates: Certificates) -> None:
    async def scenario(world: World) -> None:
        peer = await world.peer(FIRST, peers.tls(certificates.valid()))
        first = await world.engine.evidence("d.test")
        other = world.new_engine()
        assert await other.evidence("d.test") == first
        assert peer.connections == 1
        await other.close()

    run(certificates, scenario)


def test_a_recheck_sees_that_starttls_is_gone(certificates: Certificates) -> None:
    async def scenario(world: World) -> None:
        ordinary, stripped = peers.tls(certificates.valid()), plain()
        gone = asyncio.Event()

        async def peer_loses_tls(session: peers.Session) -> None:
            await (stripped if gone.is_set() else ordinary)(session)

        peer = await world.peer(FIRST, peer_loses_tls)
        assert (await world.engine.evidence("d.test")).level is Level.PKIX
        gone.set()
        assert (await world.engine.evidence("d.test")).level is Level.PKIX
        assert (await world.engine.evidence("d.test", recheck=True)).level is Level.NONE
        assert peer.connections == 3
        assert (await world.engine.evidence("d.test")).level is Level.NONE

    run(certificates, scenario)


def test_a_refresh_that_sees_one_no_only_notes_it(certificates: Certificates) -> None:
    async def scenario(world: World) -> None:
        peer = await world.peer(FIRST, peers.tls(certificates.valid()))
        await world.engine.evidence("d.test")
        peer.behaviour = plain()
        world.now += 2 * 86_400
        await world.engine.evidence("d.test")
        await until(lambda: world.cache.kept["d.test"].checked_at == world.now)
        assert world.cache.kept["d.test"].reason.startswith("one negative answer proves nothing yet")
        assert (await world.engine.evidence("d.test")).level is Level.UNKNOWN
        world.now += 301
        assert (await world.engine.evidence("d.test")).level is Level.NONE

    run(certificates, scenario)


@pytest.mark.behaviour("O5")
def test_deliveries_to_a_hundred_domains_of_one_host_that_all_fail_are_no_storm(certificates: Certificates) -> None:
    async def scenario(world: World) -> None:
        domains = [f"d{number}.test" for number in range(100)]
        for domain in domains:
            world.dns.domain(domain, (10, peers.NAME, FIRST))
        peer = await world.peer(FIRST, plain())
        for domain in domains:
            assert (await world.engine.evidence(domain, recheck=True)).level is Level.NONE
        assert peer.connections <= 2 * 20
        world.now += 61
        before = peer.connections
        await world.engine.evidence(domains[0], recheck=True)
        assert peer.connections > before

    run(certificates, scenario)


def test_a_recheck_of_an_overloaded_peer_is_honest_and_keeps_what_was_seen(certificates: Certificates) -> None:
    async def scenario(world: World) -> None:
        peer = await world.peer(FIRST, peers.tls(certificates.valid()))
        await world.engine.evidence("d.test")
        peer.behaviour = peers.says(b"421 too many connections\r\n")
        assert (await world.engine.evidence("d.test", recheck=True)).level is Level.UNKNOWN
        assert (await world.engine.evidence("d.test")).level is Level.PKIX

    run(certificates, scenario)


def test_a_broken_store_costs_lookups_not_answers(certificates: Certificates) -> None:
    async def scenario(world: World) -> None:
        world.cache.broken = True
        await world.peer(FIRST, peers.tls(certificates.valid()))
        assert (await world.engine.evidence("d.test")).level is Level.PKIX

    run(certificates, scenario)


def test_a_next_hop_in_brackets_is_probed_itself_on_its_own_port(certificates: Certificates) -> None:
    async def scenario(world: World) -> None:
        await world.peer(FIRST, peers.tls(certificates.valid()))
        world.dns.add("mx.d.test", "A", SECOND)
        evidence = await world.engine.evidence(f"[{FIRST}]:{world.port}")
        assert (evidence.level, evidence.domain) == (Level.ENCRYPTED, f"[{FIRST}]:{world.port}")
        assert (await world.engine.evidence("[mx.d.test]:1")).level is Level.UNKNOWN
        assert ("mx.d.test", "MX") not in world.dns.questions

    run(certificates, scenario)


def test_closing_ends_lookups_without_leaving_anyone_waiting(certificates: Certificates) -> None:
    async def scenario(world: World) -> None:
        peer = await world.peer(FIRST, peers.silent)
        waiting = asyncio.create_task(world.engine.evidence("d.test"))
        await until(lambda: peer.connections == 1)
        await world.engine.close()
        assert (await waiting).level is Level.UNKNOWN

    run(certificates, scenario)


class FixedSource:
    """Stands where DANE and MTA-STS will: answers for one domain."""

    def __init__(self, answers: dict[str, Evidence]) -> None:
        self.answers = answers
        self.asked: list[str] = []

    async def evidence(self, question: Question) -> Evidence | None:
        self.asked.append(question.domain)
        if question.domain == "two.test":
            raise RuntimeError("a bug in a source")
        return self.answers.get(question.domain)

    async def close(self) -> None:
        self.answers.clear()


def test_sources_are_asked_in_order_and_a_broken_one_gives_unknown(certificates: Certificates) -> None:
    async def scenario(world: World) -> None:
        sure = Evidence("d.test", Level.MTA_STS, "policy", world.now, world.now + 9, world.now + 9)
        source = FixedSource({"d.test": sure})
        engine = VerdictEngine(world.settings, world.cache, lambda: world.now, sources=(source,))
        world.dns.add("e.test", "MX", f"1 {peers.NAME}.")
        assert await engine.evidence("d.test") == sure
        assert (await engine.evidence("e.test")).reason == "no source of evidence has an answer"
        assert (await engine.evidence("two.test")).level is Level.UNKNOWN
        await engine.close()
        assert source.asked == ["d.test", "e.test", "two.test"]

    run(certificates, scenario)


def test_a_cached_verdict_waits_for_nothing(certificates: Certificates) -> None:
    """Neither network nor disk nor another task; what it costs is measured by tests/bench."""

    async def scenario(world: World) -> None:
        await world.peer(FIRST, peers.tls(certificates.valid()))
        first = await world.engine.evidence("d.test")
        with pytest.raises(StopIteration) as done:
            world.engine.evidence("d.test").send(None)
        assert done.value.value == first

    run(certificates, scenario)
