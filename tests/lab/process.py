"""Child processes of the lab: each with a log file, each in its own session, all of them stopped at the end.

A process is started in a session of its own, so that Ctrl-C reaches only the lab, which then stops things in order.
Every id is written to the run directory, so that the leftovers of a lab that was killed can be found.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.lab.waiting import LabError, wait_until

STOP_SECONDS = 8.0


class Process:
    """One long-running child.  ``log`` holds its standard output and error."""

    def __init__(self, name: str, popen: subprocess.Popen[bytes], log: Path) -> None:
        self.name = name
        self.log = log
        self._popen = popen

    @property
    def pid(self) -> int:
        """The process id; also the id of its process group."""
        return self._popen.pid

    @property
    def returncode(self) -> int | None:
        """The exit status, ``None`` while it runs; negative for a signal."""
        return self._popen.poll()

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self.returncode is None

    def log_text(self) -> str:
        """Everything that it has printed so far."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def require_alive(self) -> bool:
        """True; raises :class:`LabError` with the end of the log when the process has exited."""
        if not self.alive:
            raise LabError(f"{self.name} exited with {self.returncode}:\n{self.log_text()[-3000:]}")
        return True

    def send_signal(self, number: signal.Signals) -> None:
        """Send one signal to the process itself."""
        self._popen.send_signal(number)

    def pause(self) -> None:
        """Stop the whole process group from running (SIGSTOP): it falls silent with its sockets open."""
        self._signal_group(signal.SIGSTOP)

    def resume(self) -> None:
        """Undo :meth:`pause`."""
        self._signal_group(signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL the whole process group at once, as a power cut would."""
        self._signal_group(signal.SIGKILL)
        self._popen.wait()

    def wait(self, seconds: float) -> int:
        """Wait for it to exit by itself and return its status.  Raises :class:`LabError` after ``seconds``."""
        try:
            return self._popen.wait(seconds)
        except subprocess.TimeoutExpired:
            raise LabError(f"{self.name} did not exit within {seconds:g} s") from None

    def stop(self) -> None:
        """SIGTERM, then SIGKILL to what is left of the group.  Does nothing when it has exited."""
        self._signal_group(signal.SIGCONT)
        if self.alive:
            self._popen.terminate()
            try:
                self._popen.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._popen.kill()
        self._signal_group(signal.SIGKILL)
        self._popen.wait()

    def _signal_group(self, number: signal.Signals) -> None:
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            return


class Processes:
    """All children of one lab.  ``directory`` receives the logs and the list of process ids."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._started: list[Process] = []

    def start(
        self, name: str, argv: Sequence[str], *, env: Mapping[str, str] | None = None, cwd: Path | None = None
    ) -> Process:
        """Start ``argv``; ``env`` is added to the environment.  The log is ``logs/NAME.log``, appended to."""
        log = self._directory / "logs" / f"{name}.log"
        log.parent.mkdir(exist_ok=True)
        with log.open("ab") as output:
            popen = subprocess.Popen(
                list(argv),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(env or {})},
                cwd=cwd,
                start_new_session=True,
            )
        process = Process(name, popen, log)
        self._started.append(process)
        with (self._directory / "pids").open("a", encoding="ascii") as pids:
            pids.write(f"{process.pid} {started_at(process.pid)}\n")
        return process

    def stop_all(self) -> None:
        """Stop everything, the youngest first."""
        while self._started:
            self._started.pop().stop()


def alive(pid: int) -> bool:
    """Whether a process ``pid`` is there and not only waits to be reaped."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in {"Z", "X"}


def started_at(pid: int) -> str:
    """The kernel's start time of ``pid`` in clock ticks, which tells a reused id apart; empty when it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return stat.rpartition(")")[2].split()[19]


def _kill_group(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return


def kill_recorded(directory: Path) -> None:
    """Kill the process groups that a dead lab left behind, as recorded in its run directory."""
    pids = directory / "pids"
    if not pids.exists():
        return
    for line in pids.read_text(encoding="ascii").splitlines():
        pid, _, start = line.partition(" ")
        if start and started_at(int(pid)) == start:
            _kill_group(int(pid))


def wait_for_service(process: Process, answers: Callable[[], bool], seconds: float) -> None:
    """Wait until ``answers()`` is true while ``process`` stays alive.  Raises :class:`LabError` with its log."""
    wait_until(lambda: process.require_alive() and answers(), seconds, f"{process.name} to answer; see {process.log}")
