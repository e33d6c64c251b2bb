"""Sessions of one process classify one after another: RE2 gives the interpreter away for each search and takes it back.

Four sessions that classify at once in one process cost each other half of the processor's time again.  Whoever waits
for an extractor lets others on meanwhile.  A message so large that it is spooled is to take no turn: others would wait.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from restante.classify.extract.limits import Limits
from restante.classify.extract.pool import Extractor, Sink


class Turns:
    """Whose turn it is in this process."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._holder = 0

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Wait for the turn, and have it."""
        with self._turn:
            self._holder = threading.get_ident()
            try:
                yield
            finally:
                self._holder = 0

    @contextmanager
    def left(self) -> Iterator[None]:
        """Let others on, if this thread has the turn, until what follows is done."""
        if self._holder != threading.get_ident():
            yield
            return
        self._holder = 0
        self._turn.release()
        try:
            yield
        finally:
            self._turn.acquire()
            self._holder = threading.get_ident()


class YieldingExtractor:
    """An extractor that leaves the turn to others while it works."""

    def __init__(self, extractor: Extractor, turns: Turns) -> None:
        self._extractor, self._turns = extractor, turns

    @property
    def limits(self) -> Limits:
        """What one attachment may cost."""
        return self._extractor.limits

    def extract(self, descriptor: int, name: str, sink: Sink, deadline: float, waiting: Callable[[], None]) -> None:
        """See :class:`restante.classify.extract.pool.Extractor`."""
        with self._turns.left():
            self._extractor.extract(descriptor, name, sink, deadline, waiting)
