"""The service's side: extractor processes, started when first needed, ended when they take too long, replaced.

Never raises for any content or for anything that an extractor does: what could not be read is a word to the sink.
Safe to use from several threads; a thread that waits for an extractor is in no lock.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Protocol

import structlog

from restante.classify.extract.limits import Limits
from restante.classify.extract.wire import BadFrame, Frame, FrameReader, Kind

START_SECONDS = 20.0
_RECYCLE_AFTER = 200  # attachments, after which whatever leaked or was broken goes away with the process
_MOST_PARTS = 4  # frames that begin something, for each member that may be
_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}

log = structlog.get_logger()


class Sink(Protocol):
    """Who is told what an attachment holds.  Places are those inside of it; "" is the attachment itself."""

    def text(self, place: str, charsets: tuple[str, ...], *, markup: bool) -> None:
        """A text begins."""
        ...

    def message(self, place: str) -> None:
        """A message begins."""
        ...

    def data(self, data: bytes) -> None:
        """Bytes of what began last."""
        ...

    def sealed(self, place: str, reason: str) -> None:
        """Something could not be read."""
        ...


class Extractor(Protocol):
    """What a classifier needs."""

    @property
    def limits(self) -> Limits:
        """What one attachment may cost."""
        ...

    def extract(self, descriptor: int, name: str, sink: Sink, deadline: float, waiting: Callable[[], None]) -> None:
        """Tell ``sink`` what the file behind ``descriptor`` holds; done by ``deadline`` (``time.monotonic``).

        ``waiting`` is called about once a second while nothing comes.
        """
        ...


class _Process:
    """One extractor."""

    def __init__(self, limits: Limits) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    *("-I", "-B", "-m", "restante.classify.extract.worker"),
                    str(theirs.fileno()),
                    json.dumps(asdict(limits)),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                env=_ENVIRONMENT,
                cwd="/",
            )
        self._channel = ours
        self._reader = FrameReader(ours)
        self.jobs = 0
        self.held = ""

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def await_ready(self, waiting: Callable[[], None]) -> None:
        """Wait until it has confined itself.  Raises what :meth:`frame` does."""
        ready = self.frame(time.monotonic() + START_SECONDS, waiting)
        if ready.kind is not Kind.READY:
            raise BadFrame("it did not begin with its confinement")
        (self.held,) = ready.fields(1)

    def send(self, descriptor: int, name: str) -> None:
        """Give it a job.  Raises ``OSError`` when it is gone."""
        self.jobs += 1
        socket.send_fds(self._channel, [json.dumps({"name": name[:255]}).encode()], [descriptor])

    def frame(self, deadline: float, waiting: Callable[[], None]) -> Frame:
        """Its next frame.  Raises :class:`BadFrame`, ``TimeoutError``, ``EOFError`` and ``OSError``."""
        return self._reader.read(lambda: deadline - time.monotonic(), waiting)

    def close(self) -> None:
        """End it at once."""
        self._channel.close()
        with contextlib.suppress(OSError):
            self._process.kill()
        self._process.wait()


class ExtractorPool:
    """An :class:`Extractor` of at most ``processes`` processes.  Starts none before the first attachment."""

    def __init__(self, limits: Limits, *, processes: int = 1) -> None:
        self.limits = limits
        self._free: list[_Process] = []
        self._slots = threading.Semaphore(processes)
        self._lock = threading.Lock()
        self._owner = os.getpid()

    def extract(self, descriptor: int, name: str, sink: Sink, deadline: float, waiting: Callable[[], None]) -> None:
        """See :class:`Extractor`."""
        if not self._slot(deadline, waiting):
            sink.sealed("", "no time was left to read it")
            return
        process: _Process | None = None
        try:
            process = self._take(waiting)
            if process is None:
                sink.sealed("", "the extractor does not start")
                return
            end = min(deadline, time.monotonic() + self.limits.seconds)
            if self._converse(process, descriptor, name, sink, end, waiting) and process.jobs < _RECYCLE_AFTER:
                with self._lock:
                    self._free.append(process)
                process = None
        finally:
            if process is not None:
                process.close()
            self._slots.release()

    def pids(self) -> list[int]:
        """The processes that wait for work."""
        with self._lock:
            return [process.pid for process in self._free]

    def close(self) -> None:
        """End the processes that wait for work."""
        with self._lock:
            free, self._free = self._free, []
        for process in free:
            process.close()

    def _slot(self, deadline: float, waiting: Callable[[], None]) -> bool:
        while (left := deadline - time.monotonic()) > 0:
            if self._slots.acquire(timeout=min(left, 1.0)):
                return True
            waiting()
        return False

    def _take(self, waiting: Callable[[], None]) -> _Process | None:
        with self._lock:
            if self._owner != os.getpid():
                # After a fork those that wait belong to the process that started them.
                self._owner, self._free = os.getpid(), []
            if self._free:
                return self._free.pop()
        process = None
        try:
            process = _Process(self.limits)
            process.await_ready(waiting)
        except (OSError, EOFError, BadFrame) as error:
            log.error("extractor-failed", error=f"{type(error).__name__}: {error}"[:200])
            if process is not None:
                process.close()
            return None
        log.info("extractor-started", pid=process.pid, confined_by=process.held)
        return process

    def _converse(
        self,
        process: _Process,
        descriptor: int,
        name: str,
        sink: Sink,
        end: float,
        waiting: Callable[[], None],
    ) -> bool:
        """One job; whether the process may have another."""
        try:
            process.send(descriptor, name)
            _relay(process, sink, end, self.limits, waiting)
        except TimeoutError:
            sink.sealed("", f"takes longer than {self.limits.seconds:g} seconds to read")
        except (EOFError, OSError):
            sink.sealed("", "the extractor died of it")
        except BadFrame:
            sink.sealed("", "the extractor gave an answer that makes no sense")
        else:
            return True
        log.warning("extractor-ended", pid=process.pid)
        return False


def _relay(process: _Process, sink: Sink, end: float, limits: Limits, waiting: Callable[[], None]) -> None:
    """Pass on what the process says, as far as an honest one could say it.  Raises what ``frame`` does."""
    begun, size, open_part = 0, 0, False
    while True:
        frame = process.frame(end, waiting)
        if frame.kind is Kind.END:
            return
        if frame.kind is Kind.DATA:
            size += len(frame.data)
            if not open_part or size > 2 * limits.size + (64 << 20):
                raise BadFrame("data that belongs to nothing")
            sink.data(frame.data)
            continue
        begun += 1
        if begun > _MOST_PARTS * limits.members + 20_000:
            raise BadFrame("too many texts")
        open_part = _begin(frame, sink)


def _begin(frame: Frame, sink: Sink) -> bool:
    if frame.kind is Kind.TEXT:
        place, charsets, markup = frame.fields(3)
        sink.text(place, tuple(charsets.split()[:4]), markup=bool(markup))
        return True
    if frame.kind is Kind.MESSAGE:
        (place,) = frame.fields(1)
        sink.message(place)
        return True
    if frame.kind is Kind.SEALED:
        place, reason = frame.fields(2)
        sink.sealed(place, reason[:200])
        return False
    raise BadFrame("a frame out of its turn")
