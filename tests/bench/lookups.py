"""Cached lookups a second: the worker's socketmaps beside postfix-mta-sts-resolver, in interleaved rounds.

Both servers run as their own process, know the same domains from memory, and are asked by the same client in a third
process over a unix socket.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from restante.store.engine import Store
from restante.store.evidence import StoredEvidence
from restante.tls.evidence import Evidence, Level, MxEvidence, Published
from tests.bench.known import domains, mx_of
from tests.bench.milters import RESTANTE, START_SECONDS, Restante
from tests.bench.processes import Family
from tests.lab.process import Process, Processes, wait_for_service
from tests.lab.waiting import LabError, free_port, unix_socket_answers

PEER = "mta-sts-resolver"
MAPS = ("policy", "policy-auth", "verdict")
GOAL = 5000.0

_PEER_CONFIG = """\
path: {socket}
mode: 0666
cache_grace: 86400
cache:
  type: internal
  options:
    cache_size: 10000
default_zone:
  strict_testing: false
  timeout: 4
"""


@dataclass(frozen=True, slots=True)
class Lookups:
    """One contestant's rounds that count: lookups a second, and the server's processor time for one, in µs."""

    name: str
    rates: tuple[float, ...]
    server_cpu_us: tuple[float, ...]

    @property
    def rate(self) -> float:
        """Median of lookups a second."""
        return median(self.rates)

    @property
    def cpu(self) -> float:
        """Median of the server's processor time for a lookup, in microseconds."""
        return median(self.server_cpu_us)

    def ratio(self, other: Lookups) -> float:
        """The median, over rounds, of this rate by the other's in the same round."""
        return median(ours / theirs for ours, theirs in zip(self.rates, other.rates, strict=True))

    def to_dict(self, peer: Lookups) -> dict[str, Any]:
        """A JSON-ready form."""
        return {
            "name": self.name,
            "lookups_per_second": self.rate,
            "server_cpu_us": self.cpu,
            "ratio_to": peer.name,
            "ratio": self.ratio(peer),
            "rates": self.rates,
        }


@dataclass(frozen=True, slots=True)
class _Server:
    socket: Path
    family: Family


def measure(count: int, rounds: int, say: Callable[[str], None]) -> list[Lookups]:
    """``count`` lookups a run; a first round, which fills the worker's memory from its database, does not count."""
    directory = Path(tempfile.mkdtemp(prefix="restante-lookups-", dir="/tmp"))  # a socket's path must be short
    processes = Processes(directory)
    try:
        peer = _start_peer(processes, directory)
        worker = _start_worker(processes, directory / "restante")
        contestants = [(PEER, "postfix", peer), *((f"restante {table}", table, worker) for table in MAPS)]
        return _rounds(contestants, count, rounds, say)
    finally:
        processes.stop_all()
        shutil.rmtree(directory, ignore_errors=True)


def _rounds(
    contestants: list[tuple[str, str, _Server]], count: int, rounds: int, say: Callable[[str], None]
) -> list[Lookups]:
    rates: dict[str, list[float]] = {name: [] for name, _, _ in contestants}
    work: dict[str, list[float]] = {name: [] for name, _, _ in contestants}
    for number in range(rounds + 1):
        # Every other round backwards, so that no server always follows the same neighbour.
        for name, table, server in contestants if number % 2 else contestants[::-1]:
            before = server.family.cpu_seconds()
            seconds = _ask(server.socket, table, count)
            if number:
                rates[name].append(count / seconds)
                work[name].append((server.family.cpu_seconds() - before) * 1e6 / count)
                say(f"  round {number}  {name:20} {count / seconds:9.0f} lookups/s")
    return [Lookups(name, tuple(rates[name]), tuple(work[name])) for name, _, _ in contestants]


def _ask(socket: Path, table: str, count: int) -> float:
    argv = [sys.executable, "-m", "tests.bench.lookup_client", str(socket), table, str(count)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=300)
    if done.returncode != 0:
        raise LabError(f"lookups in {table!r}: {done.stderr[-800:]}")
    return float(done.stdout)


def _start_peer(processes: Processes, directory: Path) -> _Server:
    socket, config = directory / "sts.sock", directory / "mta-sts-daemon.yml"
    config.write_text(_PEER_CONFIG.format(socket=socket), encoding="ascii")
    return _ready(processes.start(PEER, [sys.executable, "-m", "tests.bench.sts_resolver", "-c", str(config)]), socket)


def _start_worker(processes: Processes, directory: Path) -> _Server:
    installation = Restante(directory)
    socket = directory / "worker.sock"
    installation.install(directory / "milter.sock", f"worker.intake=127.0.0.1:{free_port()}")
    _fill(f"sqlite:///{installation.database}")
    argv = [str(RESTANTE), "--settings", str(directory / "restante.toml"), "worker"]
    return _ready(processes.start("worker", argv), socket)


def _fill(database: str) -> None:
    store, now = Store(database), time.time()
    kept = StoredEvidence(store)
    for name in domains():
        host = MxEvidence(mx_of(name), 10, Level.PKIX, "TLSv1.3, certificate verified", "192.0.2.1", "TLSv1.3")
        kept.put(
            Evidence(
                *(name, Level.MTA_STS, f"{mx_of(name)}: allowed and verified", now, now + 86_400, now + 604_800),
                hosts=(host,),
                policy=Published.MTA_STS,
                match=(mx_of(name),),
            )
        )
    store.close()


def _ready(process: Process, socket: Path) -> _Server:
    wait_for_service(process, lambda: unix_socket_answers(socket), START_SECONDS)
    return _Server(socket, Family(process.pid))
