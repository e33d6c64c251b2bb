"""One private Postfix with a door for each contestant, the sink behind it, and the milters beside it.

All doors share queue, disk and delivery, so that a round differs from its neighbours in the milter alone.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import socket
import sqlite3
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.bench.milters import HOLD_DOMAIN, Restante, start_noop_c, start_noop_pymilter
from tests.bench.processes import Family
from tests.lab.postfix import PostfixConfig, PrivatePostfix
from tests.lab.process import Process, Processes
from tests.lab.waiting import LabError, tcp_port_answers, wait_until

CONTESTANTS = ("no milter", "no-op C", "no-op pymilter", "restante")
MTA_HOLD = "postfix hold"
DELIVERY_SECONDS = 120.0
_SINK_COUNT = re.compile(rb"mesg=(\d+)")

_DOOR = """\
127.0.0.1:{port} inet n - n - - smtpd
  -o smtpd_milters={milters}
  -o smtpd_sender_restrictions={restrictions}
"""


@dataclass(frozen=True, slots=True)
class Run:
    """One run of ``smtp-source``: seconds until it was done, until the sink had everything, and the milter's work."""

    messages: int
    accepted_seconds: float
    delivered_seconds: float
    milter_cpu_seconds: float

    @property
    def rate(self) -> float:
        """Messages a second that Postfix accepted."""
        return self.messages / self.accepted_seconds

    @property
    def delivered_rate(self) -> float:
        """Messages a second from the first command until the last had reached the sink."""
        return self.messages / self.delivered_seconds

    @property
    def milter_cpu(self) -> float:
        """Microseconds of processor time that the milter's processes took for a message."""
        return self.milter_cpu_seconds * 1e6 / self.messages


class Rig:
    """Everything that runs, between ``with`` and its end."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="restante-bench-", dir="/tmp"))  # a socket's path must be short
        self.directory.chmod(0o755)
        self.families: dict[str, Family] = {}
        self.restante = Restante(self.directory / "restante")
        self._processes = Processes(self.directory)
        self._ports = {name: _free_port() for name in (*CONTESTANTS, MTA_HOLD)}
        self._sink_port = _free_port()
        self._sink: Process | None = None
        self._postfix = PrivatePostfix(
            self.directory / "postfix", self._processes, host=None, ca_file=Path("/etc/ssl/certs/ca-certificates.crt")
        )

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop and remove everything."""
        self._processes.stop_all()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _start(self) -> None:
        self._postfix.prepare()
        sockets = {name: self._postfix.queue / "restante" / f"{index}.sock" for index, name in enumerate(CONTESTANTS)}
        self.families["no-op C"] = start_noop_c(self._processes, self.directory, sockets["no-op C"])
        self.families["no-op pymilter"] = start_noop_pymilter(self._processes, sockets["no-op pymilter"])
        self.restante.install(sockets["restante"])
        self.families["restante"] = self.restante.start(self._processes, sockets["restante"])
        self._sink = self._processes.start(
            "sink", ["smtp-sink", "-c", "-u", "nobody", f"127.0.0.1:{self._sink_port}", "512"]
        )
        wait_until(lambda: tcp_port_answers("127.0.0.1", self._sink_port), 10, "smtp-sink")
        self._postfix.configure(
            self._config({name: f"unix:{path}" for name, path in sockets.items() if name in self.families})
        )
        self._postfix.start()

    def _config(self, milters: dict[str, str]) -> PostfixConfig:
        doors = [
            _DOOR.format(
                port=port,
                milters=milters.get(name, ""),
                restrictions="check_sender_access,static:HOLD" if name == MTA_HOLD else "",
            )
            for name, port in self._ports.items()
        ]
        return PostfixConfig(
            hostname="mta.bench.example",
            port=_free_port(),
            main_cf={
                "relayhost": f"[127.0.0.1]:{self._sink_port}",
                "milter_default_action": "tempfail",
                "smtp_tls_security_level": "none",
            },
            master_cf="".join(doors),
        )

    def send(self, door: str, mail: Path, count: int, *, sessions: int, recipient: str) -> float:
        """Send ``mail`` ``count`` times through ``door``; seconds until ``smtp-source`` was done.

        Raises :class:`LabError` when Postfix refused anything.
        """
        argv = ["smtp-source", "-N", "-s", str(min(sessions, count)), "-m", str(count), "-F", str(mail)]
        argv += ["-M", "client.site.example", "-f", "ann@site.example", "-t", recipient]
        begin = time.perf_counter()
        done = subprocess.run([*argv, f"127.0.0.1:{self._ports[door]}"], capture_output=True, text=True, check=False)
        seconds = time.perf_counter() - begin
        if done.returncode != 0 or done.stderr:
            said = (self.directory / "logs" / "restante.log").read_text(encoding="utf-8", errors="replace")
            raise LabError(
                f"smtp-source into {door!r}: {done.stderr[-500:]}\n{self._postfix.log()[-1500:]}\n{said[-1500:]}"
            )
        return seconds

    def deliver(self, door: str, mail: Path, count: int, *, sessions: int) -> Run:
        """Send through ``door`` and wait until the sink has every message, and not one more."""
        before, worked = self.delivered(), self._milter_cpu(door)
        begin = time.perf_counter()
        accepted = self.send(door, mail, count, sessions=sessions, recipient="bob@partner.example")
        wait_until(lambda: self.delivered() >= before + count, DELIVERY_SECONDS, f"{count} messages at the sink")
        delivered = time.perf_counter() - begin
        worked = self._milter_cpu(door) - worked
        self._postfix.wait_empty(DELIVERY_SECONDS)
        if self.delivered() != before + count:
            raise LabError(f"{self.delivered() - before} messages at the sink of {count} sent through {door!r}")
        return Run(count, accepted, delivered, worked)

    def hold(self, door: str, mail: Path, count: int, *, sessions: int, number: int) -> Run:
        """Send mail that ``door`` holds, and count it where it must be: in the hold queue or in the database."""
        before, worked = self._held(door), self._milter_cpu(door)
        at_the_sink = self.delivered()
        recipient = f"round{number}@{HOLD_DOMAIN}"
        seconds = self.send(door, mail, count, sessions=sessions, recipient=recipient)
        worked = self._milter_cpu(door) - worked
        held = self._held(door) - before
        if held != count or self.delivered() != at_the_sink:
            raise LabError(f"{held} messages held of {count} sent through {door!r}")
        return Run(count, seconds, seconds, worked)

    def delivered(self) -> int:
        """How many messages the sink has taken since its start."""
        if self._sink is None:
            return 0
        with self._sink.log.open("rb") as log:
            log.seek(max(0, log.seek(0, 2) - 400))
            counts = _SINK_COUNT.findall(log.read())
        return int(counts[-1]) if counts else 0

    def _held(self, door: str) -> int:
        if door == MTA_HOLD:
            return sum(1 for path in (self._postfix.queue / "hold").rglob("*") if path.is_file())
        with contextlib.closing(sqlite3.connect(self.restante.database)) as connection:
            (count,) = connection.execute(
                "SELECT count(*) FROM deliveries WHERE state = 'held' AND domain = ?", [HOLD_DOMAIN]
            ).fetchone()
        return int(count)

    def release_hold_queue(self) -> None:
        """Delete what Postfix holds, so that its queue directory stays as small as at the start."""
        self._postfix.clear()

    def _milter_cpu(self, door: str) -> float:
        return self.families[door].cpu_seconds() if door in self.families else 0.0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
