"""The processes of a running service, as the kernel counts them: memory, open files."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_TIME_WAIT, _LISTENS = "06", "0A"


@dataclass(frozen=True, slots=True)
class Process:
    """One process; sizes are in bytes."""

    pid: int

    @property
    def _folder(self) -> Path:
        return Path(f"/proc/{self.pid}")

    def _kilobytes(self, name: str) -> int:
        for line in (self._folder / "status").read_text(encoding="ascii").splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
        raise AssertionError(f"no {name} for {self.pid}")

    @property
    def resident(self) -> int:
        """The memory that it has now."""
        return self._kilobytes("VmRSS")

    @property
    def peak(self) -> int:
        """The most that it has had, since it began."""
        return self._kilobytes("VmHWM")

    @property
    def open_files(self) -> list[str]:
        """What its descriptors stand for."""
        found = []
        for each in (self._folder / "fd").iterdir():
            try:
                found.append(str(each.readlink()))
            except FileNotFoundError:
                continue  # closed since it was listed
        return found

    @property
    def children(self) -> list[Process]:
        text = (self._folder / "task" / str(self.pid) / "children").read_text(encoding="ascii")
        return [Process(int(pid)) for pid in text.split()]


def family(pid: int) -> list[Process]:
    """A process and all that descend from it, itself first."""
    first = Process(pid)
    return [first, *(each for child in first.children for each in family(child.pid))]


def connections_to(port: int) -> list[str]:
    """The TCP connections of this host to one of its own ports that the server has not let go of (proc(5), tcp)."""
    table = Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]
    rows = [(line, line.split()) for line in table]
    return [line for line, row in rows if row[1].endswith(f":{port:04X}") and row[3] not in {_LISTENS, _TIME_WAIT}]


@contextmanager
def only(worker: Process, workers: Sequence[Process]) -> Iterator[None]:
    """Have ``worker`` alone answer: the others of ``workers`` are stopped for as long."""
    others = [each for each in workers if each != worker]
    for each in others:
        os.kill(each.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for each in others:
            os.kill(each.pid, signal.SIGCONT)
