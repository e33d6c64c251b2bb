"""The site that all end-to-end tests share: started once, put back to a known state before each test."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager

import pytest

from restante.store.engine import Store
from tests.e2e.world import POLICY, World
from tests.lab.lab import Lab, PeerSpec
from tests.lab.services import Service, ServiceOptions

NUDGE_SECONDS = 5.0
PEERS = (PeerSpec("tls.example", "tls"), PeerSpec("clear.example", "clear"))


@pytest.fixture(scope="session")
def running_world() -> Iterator[World]:
    """The lab with all services.  Tests that must have a lab of their own start one instead."""
    with Lab(peers=PEERS, options=ServiceOptions(policy=POLICY)) as lab:
        services = lab.services
        assert services is not None
        store = Store(services.settings.database)
        try:
            with _nudged(lab):
                yield World(lab, services, store)
        finally:
            store.close()


@contextmanager
def _nudged(lab: Lab) -> Iterator[None]:
    """Flush the queue now and then: with retries after a second, qmgr may meet a message that is still locked, and
    then puts it off for minutes."""
    over = threading.Event()

    def nudge() -> None:
        while not over.wait(NUDGE_SECONDS):
            lab.server.flush()

    thread = threading.Thread(target=nudge, name="nudge", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@pytest.fixture
def world(running_world: World) -> Iterator[World]:
    """The site as at its start, with a new marker."""
    running_world.begin()
    try:
        yield running_world
    finally:
        running_world.end()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what the services logged during a test that failed."""
    report = yield
    world = item.funcargs.get("world") if isinstance(item, pytest.Function) else None
    if report.failed and call.when == "call" and isinstance(world, World):
        for service in Service:
            report.sections.append((f"log of the {service}", world.log(service)[-6000:]))
        report.sections.append(("log of the MTA", world.lab.server.log()[-6000:]))
    return report
