"""``kill -9`` at every step: what a client was told 250 for is in exactly one place for each recipient, never in clear.

A step is the entry of a system call: strace kills the process there, at the first, the second, the third ... of its
kind, so that between any two writes, locks and answers the process dies at least once.  Kills at random moments, of
children and of the parent, are added to them.
"""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from restante.store.engine import Store
from tests.e2e import crash
from tests.e2e.crash import CLEAR, TLS, Clients
from tests.lab.lab import SITE, Lab, PeerSpec
from tests.lab.process import alive
from tests.lab.services import RestanteServices, Service, ServiceOptions
from tests.lab.waiting import wait_until
from tests.postgres import TemporaryPostgres

# Raise it to try longer: every count below is multiplied.
SCALE = 1

# How far each call is stepped; one hold makes about as many of them.  On SQLite: pages into the write-ahead log, the
# sync, the locks, the answers to Postfix, the question to the worker, the log line.
SQLITE_STEPS = {"pwrite64": 46, "fdatasync": 2, "fcntl": 14, "writev": 8, "sendto": 1, "write": 2, "futex": 3}
# On PostgreSQL: every statement and the commit are a sendto, every answer a recvfrom.
POSTGRES_STEPS = {"sendto": 16, "recvfrom": 6, "writev": 6}
RANDOM_KILLS = 90 * SCALE
RANDOM_KILLS_POSTGRES = 20 * SCALE
PARENT_KILLS = 4 * SCALE
WORKER_STEPS = {"sendto": (2, 5, 8, 9, 10, 11, 12, 14, 17), "fdatasync": (1, 2, 3, 4)}
WORKER_KILLS = 4 * SCALE

CHILDREN = 3  # all are traced at once: who is traced is slow, and an untraced sibling would take its sessions
STEP_SECONDS = 5.0
SETTLE_SECONDS = 120.0
# A child that dies younger makes the parent wait before it starts another: see restante_milter.server.
GROWN_SECONDS = 1.05


@contextmanager
def site(database: str = "") -> Iterator[tuple[Lab, RestanteServices, Store]]:
    """A running site of its own with what is known of its peers in the cache, so that no lookup slows a step down."""
    peers = (PeerSpec(TLS, "tls"), PeerSpec(CLEAR, "clear"))
    options = ServiceOptions(
        settings={"milter.processes": str(CHILDREN), "log_level": "info"},
        database=database,
        run=(Service.WORKER, Service.MILTER),
    )
    with Lab(peers=peers, options=options) as lab:
        services = lab.services
        assert services is not None
        for domain in (TLS, CLEAR):
            services.command("domain", domain)
        store = Store(services.settings.database)
        try:
            yield lab, services, store
        finally:
            store.close()


def assert_all_accounted_for(lab: Lab, store: Store, clients: Clients) -> None:
    crash.settle(lab, store, SETTLE_SECONDS)
    result = crash.account(lab, store, clients.sent)
    assert result.wrong == {}
    assert_never_clear(lab, clients.marker)


def assert_never_clear(lab: Lab, marker: str) -> None:
    for peer in lab.peers:
        if peer.domain != SITE:
            assert marker.encode() not in peer.clear_bytes(), peer.domain


class Targets:
    """The milter's children, each given to one killer at a time."""

    def __init__(self, services: RestanteServices) -> None:
        self._parent = services.process(Service.MILTER).pid
        self._lock = threading.Lock()
        self._taken: set[int] = set()

    @contextmanager
    def one(self) -> Iterator[int]:
        """A child that nobody else has and that has grown; it is free again at the end of the block."""
        child = wait_until(self._take, 20, f"a free child of {self._parent} that is {GROWN_SECONDS:g} s old")
        try:
            yield child
        finally:
            with self._lock:
                self._taken.remove(child)

    def _take(self) -> int:
        with self._lock:
            grown = crash.grown_children(self._parent, GROWN_SECONDS)
            child = next((child for child in grown if child not in self._taken), 0)
            if child:
                self._taken.add(child)
            return child


def step_through(services: RestanteServices, steps: dict[str, int]) -> dict[str, int]:
    """Kill one child at each step, several children beside each other; how many steps of each call were reached."""
    reached = dict.fromkeys(steps, 0)
    targets = Targets(services)

    def kill_at(step: tuple[str, int]) -> tuple[str, bool]:
        syscall, number = step
        with targets.one() as child:
            return syscall, crash.kill_at(child, syscall, number, STEP_SECONDS)

    with ThreadPoolExecutor(CHILDREN) as pool:
        every = [(syscall, number) for syscall, count in steps.items() for number in range(1, count + 1)]
        for syscall, killed in pool.map(kill_at, every):
            reached[syscall] += killed
    return reached


def kill_children(services: RestanteServices, kills: int, chance: random.Random) -> None:
    """Kill children at random moments of whatever they are doing."""
    targets = Targets(services)
    for _ in range(kills):
        with targets.one() as child:
            time.sleep(chance.uniform(0, 0.05))  # the moment is to be random: no event is waited for
            crash.kill(child)
            wait_until_gone([child])


def kill_parents(services: RestanteServices, kills: int, clients: Clients) -> None:
    """Kill the parent alone and the whole group by turns; start it again as systemd does."""
    for number in range(kills):
        wait_for_traffic(clients)
        process = services.process(Service.MILTER)
        orphans = crash.children(process.pid)
        if number % 2:
            process.kill()
        else:
            crash.kill(process.pid)
            process.wait(10)
        services.start(Service.MILTER)
        # What the dead parent left finishes its sessions and goes away by itself.
        wait_until_gone(orphans)


def wait_for_traffic(clients: Clients) -> None:
    start = len(clients.sent)
    wait_until(lambda: len(clients.sent) > start + 5, 60, "the clients to be at work again")


def wait_until_gone(pids: Sequence[int]) -> None:
    wait_until(lambda: not any(map(alive, pids)), 40, f"{pids} to leave")


@pytest.mark.behaviour("N1")
@pytest.mark.slow
def test_killing_the_milter_at_every_step_loses_and_doubles_nothing(
    record_property: Callable[[str, object], None],
) -> None:
    with site() as (lab, services, store):
        with Clients(lab, 6, pause=0.35) as clients:
            reached = step_through(services, SQLITE_STEPS)
            kill_children(services, RANDOM_KILLS, random.Random(1))
            kill_parents(services, PARENT_KILLS, clients)
        kills = sum(reached.values()) + RANDOM_KILLS + PARENT_KILLS
        record_property("kills", kills)
        record_property("messages", len(clients.sent))
        record_property("attempts", clients.attempts)
        # The steps that matter must have been stepped on: every page of a hold, its sync, its locks, the answers.
        assert reached["pwrite64"] >= 36, reached
        assert reached["fdatasync"] >= 1, reached
        assert reached["fcntl"] >= 8, reached
        assert reached["writev"] >= 5, reached
        assert kills >= 150
        assert clients.attempts > len(clients.sent)
        assert_all_accounted_for(lab, store, clients)


@pytest.mark.behaviour("N1")
@pytest.mark.slow
def test_the_same_holds_on_postgresql(postgres: TemporaryPostgres) -> None:
    with site(postgres.create_database()) as (lab, services, store):
        with Clients(lab, 6, pause=0.35) as clients:
            reached = step_through(services, POSTGRES_STEPS)
            kill_children(services, RANDOM_KILLS_POSTGRES, random.Random(2))
        assert reached["sendto"] >= 12, reached
        assert clients.attempts > len(clients.sent)
        assert_all_accounted_for(lab, store, clients)


@pytest.mark.behaviour("N1")
@pytest.mark.slow
def test_killing_the_worker_loses_nothing_and_repeats_a_copy_only_where_its_answer_was_lost() -> None:
    chance = random.Random(3)
    kills = 0
    with site() as (lab, services, store):
        with Clients(lab, 1, pause=0.4) as clients:
            for syscall, numbers in WORKER_STEPS.items():
                for number in numbers:
                    kills += crash.kill_at(services.process(Service.WORKER).pid, syscall, number, 3 * STEP_SECONDS)
                    start_worker_again(services, store)
            for _ in range(WORKER_KILLS):
                time.sleep(chance.uniform(0.2, 0.8))  # the moment is to be random: no event is waited for
                kills += 1
                start_worker_again(services, store)
        crash.settle(lab, store, SETTLE_SECONDS)
        result = crash.account(lab, store, clients.sent)
        print(f"{kills} kills, {result.copies} copies, repeated: {result.repeated}")
        assert kills >= len(list(itertools.chain(*WORKER_STEPS.values()))) // 2
        # RFC 1047: the MTA had taken the copy and the worker died before it could note that.
        assert {name: why for name, why in result.wrong.items() if name not in result.repeated} == {}
        # One answer stands for all recipients of a message: those of the same number were handed over together.
        handed: dict[str, int] = {}
        for name, times in result.repeated.items():
            handed[name[1:]] = max(times, handed.get(name[1:], 0))
        assert sum(handed.values()) <= kills
        assert_never_clear(lab, clients.marker)


def start_worker_again(services: RestanteServices, store: Store) -> None:
    """Whether it died already or not: kill it, let the leases of its jobs run out, and start another."""
    services.process(Service.WORKER).kill()
    crash.end_leases(store)
    services.start(Service.WORKER)
