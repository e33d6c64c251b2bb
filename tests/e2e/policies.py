"""Policies for one test: written into the file of the running site, taken over by a reload, put back at the end."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from tests.e2e.world import World
from tests.lab.process import Process
from tests.lab.services import Service
from tests.lab.waiting import wait_until


@contextmanager
def agreed(world: World, text: str) -> Iterator[None]:
    """The site's policy with ``text`` before it, in force in worker and milter inside of the block."""
    path = world.services.directory / "policy.toml"
    before = path.read_text(encoding="utf-8")
    path.write_text(f"{text}\n{before}", encoding="utf-8")
    try:
        reload(world)
        yield
    finally:
        path.write_text(before, encoding="utf-8")
        reload(world)


def reload(world: World, *, refused: bool = False) -> None:
    """Tell worker and milter to read the policy again, and wait until every process of them has an answer to it."""
    children = world.services.settings.milter.processes
    for service, taken, times in (
        (Service.WORKER, "policy-reloaded", 1),
        (Service.MILTER, "policy-taken-over", children),
    ):
        process = world.services.process(service)
        if refused:
            _signal(process, "policy-refused", 1)
        else:
            _signal(process, taken, times)


def _signal(process: Process, event: str, times: int) -> None:
    wanted = process.log_text().count(event) + times
    process.send_signal(signal.SIGHUP)
    wait_until(lambda: process.log_text().count(event) >= wanted, 30, f"a service to say {event}")
