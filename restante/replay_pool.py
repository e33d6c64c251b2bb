"""Several processes that judge messages, and a parent that hears of each outcome in the order of the messages.

At most a few batches are under way, so that memory does not grow with the corpus.  A process that dies takes nothing
with it but the message that killed it.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Final

from restante.corpus import Located
from restante.replay import Judge, Outcome

BATCH: Final = 32
BATCH_BYTES: Final = 4 << 20
AHEAD: Final = 4

_Batch = list[Located]


def outcomes(messages: Iterator[Located], judge: Judge, jobs: int) -> Iterator[Outcome]:
    """The outcome of each message in order, judged by ``jobs`` processes, or by this one when that is 1."""
    if jobs == 1:
        yield from (judge.judge(message) for message in messages)
        return
    pool = _Pool(judge, jobs)
    try:
        yield from pool.run(_batches(messages))
    finally:
        pool.close()


def _batches(messages: Iterator[Located]) -> Iterator[_Batch]:
    batch: _Batch = []
    size = 0
    for message in messages:
        batch.append(message)
        size += message.end - message.start
        if len(batch) >= BATCH or size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


@dataclass(frozen=True)
class _Task:
    """Messages for one process; ``place`` is the number of their batch and where in it they begin."""

    place: tuple[int, int]
    messages: tuple[Located, ...]


@dataclass
class _Worker:
    process: BaseProcess
    pipe: Connection
    task: _Task | None = None


class _Pool:
    def __init__(self, judge: Judge, jobs: int) -> None:
        self._judge = judge
        # Compiled policies cannot be sent, and compiling them takes seconds: a fork has them, in shared memory.
        self._context = multiprocessing.get_context("fork")
        self._workers: list[_Worker] = []
        for _ in range(jobs):
            self._workers.append(self._start())
        self._again: deque[_Task] = deque()
        self._done: dict[int, list[Outcome | None]] = {}

    def _start(self) -> _Worker:
        ours, theirs = self._context.Pipe()
        inherited = [ours, *(worker.pipe for worker in self._workers if not worker.pipe.closed)]
        process = self._context.Process(target=_work, args=(theirs, inherited, self._judge), daemon=True)
        process.start()
        theirs.close()
        return _Worker(process, ours)

    def run(self, batches: Iterator[_Batch]) -> Iterator[Outcome]:
        following = emitted = 0
        while True:
            for worker in (worker for worker in self._workers if worker.task is None):
                if self._again:
                    self._give(worker, self._again.popleft())
                elif following < emitted + AHEAD * len(self._workers) and (batch := next(batches, None)):
                    self._done[following] = [None] * len(batch)
                    self._give(worker, _Task((following, 0), tuple(batch)))
                    following += 1
            if all(worker.task is None for worker in self._workers):
                return
            self._collect()
            while emitted in self._done and None not in self._done[emitted]:
                yield from (outcome for outcome in self._done.pop(emitted) if outcome is not None)
                emitted += 1

    def _give(self, worker: _Worker, task: _Task) -> None:
        worker.task = task
        with suppress(OSError):  # it has died: waiting for its answer tells
            worker.pipe.send(task.messages)

    def _collect(self) -> None:
        busy = {worker.pipe: (worker, worker.task) for worker in self._workers if worker.task is not None}
        for pipe in wait(list(busy)):
            worker, task = busy[pipe]  # type: ignore[index]  # we asked with connections only
            try:
                self._fill(task, worker.pipe.recv())
            except (EOFError, OSError):
                self._died(worker, task)
            else:
                worker.task = None

    def _fill(self, task: _Task, found: list[Outcome]) -> None:
        number, begin = task.place
        self._done[number][begin : begin + len(found)] = found

    def _died(self, worker: _Worker, task: _Task) -> None:
        """Judge what it had in hand one by one, so that only the message that killed it is lost."""
        self._workers[self._workers.index(worker)] = self._start()
        worker.pipe.close()
        worker.process.join()
        if len(task.messages) > 1:
            number, begin = task.place
            self._again.extend(_Task((number, begin + at), (one,)) for at, one in enumerate(task.messages))
            return
        code = worker.process.exitcode or 0
        if code >= 0:
            raise RuntimeError("a process of the replay ended by itself: see its traceback above")
        (message,) = task.messages
        problem = f"the process that read it was ended by {signal.Signals(-code).name}"
        self._fill(task, [Outcome(message.name, message.end - message.start, problem)])

    def close(self) -> None:
        for worker in self._workers:
            worker.pipe.close()
            worker.process.kill()  # SIGTERM may meet a handler that a fork has inherited, in a moment that swallows it
        for worker in self._workers:
            worker.process.join()


def _work(pipe: Connection, inherited: list[Connection], judge: Judge) -> None:
    """A process: judge batch after batch until the parent is gone, which shows only where no fork holds its ends."""
    for one in inherited:
        one.close()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears of it and ends us
    with suppress(EOFError, OSError):
        while True:
            pipe.send([judge.judge(message) for message in pipe.recv()])
