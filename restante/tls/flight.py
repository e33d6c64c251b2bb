"""Single flight: simultaneous questions with one key are one task.

A caller that is cancelled leaves the task running for the others, and for the cache; :meth:`SingleFlight.close`
cancels what is left.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class FlightCancelledError(Exception):
    """The task that was waited for has been cancelled by :meth:`SingleFlight.close`: there will be no answer."""


class SingleFlight(Generic[Key, Value]):
    """Runs at most one task per key."""

    def __init__(self) -> None:
        self._tasks: dict[Key, asyncio.Task[Value]] = {}

    def start(self, key: Key, work: Callable[[], Awaitable[Value]]) -> asyncio.Task[Value]:
        """The task under way for ``key``, or a new one that does ``work``."""
        task = self._tasks.get(key)
        if task is None:
            task = asyncio.create_task(_run(work))
            self._tasks[key] = task
            task.add_done_callback(lambda done: self._forget(key, done))
        return task

    async def run(self, key: Key, work: Callable[[], Awaitable[Value]]) -> Value:
        """Wait for the task of ``key``.  Being cancelled does not cancel it.

        Raises what ``work`` raises, and :class:`FlightCancelledError` when the flights were closed meanwhile.
        """
        task = self.start(key, work)
        await asyncio.wait([task])
        if task.cancelled():
            raise FlightCancelledError
        return task.result()

    async def close(self) -> None:
        """Cancel every task and wait until all have ended."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _forget(self, key: Key, task: asyncio.Task[Value]) -> None:
        if self._tasks.get(key) is task:
            del self._tasks[key]
        if not task.cancelled():
            task.exception()  # read, so that a task nobody waited for does not warn at exit


async def _run(work: Callable[[], Awaitable[Value]]) -> Value:
    return await work()
