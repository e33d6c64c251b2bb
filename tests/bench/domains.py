"""Thousands of domains, none known before: ``restante domain --file`` against a real DNS server and real peers.

knotd on loopback is authoritative for the domains, whose MX hosts are shared, as providers' are; every third domain
has a backup host.  MTA-STS is asked for and not there.  Evidence goes to the installation's SQLite database, as always.
A run fails unless every domain got its verdict and a host that answers well was connected to once.
"""

from __future__ import annotations

import json
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dns.exception
import dns.message
import dns.query

from tests.bench.milters import RESTANTE, START_SECONDS, Restante
from tests.bench.mx_hosts import address, conduct, host_name
from tests.bench.processes import Family
from tests.lab.process import Process, Processes, wait_for_service
from tests.lab.waiting import LabError, free_port, wait_until

MIB = 1 << 20
HOSTS = 40
LONGEST = 1200.0
_POLL = 0.2

_KNOT = """\
server:
    rundir: {directory}
    listen: 127.0.0.1@{port}
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
control:
    listen: {directory}/knot.sock
database:
    storage: {directory}
zone:
  - domain: test.
    file: {directory}/test.zone
    zonefile-sync: -1
    journal-content: none
"""


@dataclass(frozen=True, slots=True)
class Judged:
    """One run.  Memory is the highest resident set of the process in bytes, after a tenth of the domains and at the
    end; ``connections`` are those of each MX host, by conduct; ``levels`` counts the verdicts."""

    domains: int
    seconds: float
    cpu_seconds: float
    memory_at_tenth: int
    memory_at_end: int
    connections: dict[str, list[int]]
    levels: dict[str, int]

    @property
    def rate(self) -> float:
        """Domains a second."""
        return self.domains / self.seconds

    @property
    def growth(self) -> float:
        """KiB by which the highest resident set rose for each domain after the first tenth."""
        return (self.memory_at_end - self.memory_at_tenth) / 1024 / (self.domains * 0.9)

    @property
    def most_verified(self) -> int:
        """The most connections that any host with a good certificate had."""
        return max(self.connections["verified"])

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready form."""
        return {
            "domains": self.domains,
            "mx_hosts": HOSTS,
            "seconds": self.seconds,
            "cpu_seconds": self.cpu_seconds,
            "domains_per_second": self.rate,
            "memory_at_tenth": self.memory_at_tenth,
            "memory_at_end": self.memory_at_end,
            "connections": self.connections,
            "levels": self.levels,
        }

    def table(self) -> str:
        """The table for people."""
        lines = [
            f"{self.domains} domains, {HOSTS} MX hosts, nothing known before",
            f"{'domains judged':40} {self.rate:10.1f} /s",
            f"{'processor time for a domain':40} {self.cpu_seconds * 1e3 / self.domains:10.2f} ms",
            f"{'highest RSS after a tenth':40} {self.memory_at_tenth / MIB:10.1f} MiB",
            f"{'highest RSS at the end':40} {self.memory_at_end / MIB:10.1f} MiB ({self.growth:.1f} KiB a domain)",
            "",
            f"{'MX hosts':14} {'hosts':>6} {'connections to one: least':>26} {'most':>6}",
        ]
        lines += [
            f"{kind:14} {len(counts):6} {min(counts):26} {max(counts):6}" for kind, counts in self.connections.items()
        ]
        lines += ["", "verdicts: " + ", ".join(f"{level} {count}" for level, count in self.levels.items())]
        return "\n".join(lines) + "\n"


def measure(count: int) -> Judged:
    """Judge ``count`` domains.  Raises :class:`LabError` when a verdict is missing or a good host was asked twice."""
    directory = Path(tempfile.mkdtemp(prefix="restante-domains-", dir="/tmp"))  # a socket's path must be short
    directory.chmod(0o755)
    processes = Processes(directory)
    try:
        return _measure(processes, directory, count)
    finally:
        processes.stop_all()
        shutil.rmtree(directory, ignore_errors=True)


def _measure(processes: Processes, directory: Path, count: int) -> Judged:
    dns_port = _start_dns(processes, directory, count)
    hosts, port = _start_hosts(processes, directory)
    installation = Restante(directory / "restante")
    installation.install(
        directory / "milter.sock",
        f"tls.nameservers=['127.0.0.1@{dns_port}']",
        f"tls.ca_file={directory / 'ca.pem'}",
        f"tls.port={port}",
        "tls.trust_ad=no",  # nothing here is signed
    )
    names, output = directory / "names", directory / "verdicts.json"
    names.write_text("".join(f"d{number}.test\n" for number in range(count)), encoding="ascii")
    argv = [str(RESTANTE), "--settings", str(directory / "restante" / "restante.toml"), "domain"]
    begin = time.perf_counter()
    command = processes.start("domains", [*argv, "--file", str(names), "--output", str(output)])
    at_tenth, at_end, cpu = _watch(command, output, count)
    seconds = time.perf_counter() - begin
    if command.returncode != 0:
        raise LabError(f"restante domain ended with {command.returncode}: {command.log_text()[-800:]}")
    levels = Counter(row["level"] for row in json.loads(output.read_text(encoding="utf-8")))
    connections = _connections(hosts, directory)
    judged = Judged(count, seconds, cpu, at_tenth, at_end, connections, dict(levels.most_common()))
    if sum(levels.values()) != count or set(connections["verified"]) != {1}:
        raise LabError(f"{sum(levels.values())} verdicts of {count}; connections {connections}")
    return judged


def _watch(command: Process, output: Path, count: int) -> tuple[int, int, float]:
    """The command's highest resident set at a tenth and at the end, in bytes, and its processor time in seconds."""
    family, at_tenth, at_end, cpu = Family(command.pid), 0, 0, 0.0
    deadline = time.monotonic() + LONGEST
    while command.alive:
        if time.monotonic() > deadline:
            raise LabError(f"{count} domains were not judged within {LONGEST:g} s")
        try:
            at_end, cpu = family.peak_memory()[command.pid] or at_end, family.cpu_seconds()
        except OSError:
            break  # it has just ended
        if not at_tenth and output.exists() and output.read_bytes().count(b"\n") >= count // 10:
            at_tenth = at_end
        time.sleep(_POLL)
    command.wait(10)
    return at_tenth or at_end, at_end, cpu


def _start_hosts(processes: Processes, directory: Path) -> tuple[Process, int]:
    hosts = processes.start("hosts", [sys.executable, "-m", "tests.bench.mx_hosts", str(directory), str(HOSTS)])
    wait_for_service(hosts, (directory / "hosts.json").exists, START_SECONDS)
    return hosts, int(json.loads((directory / "hosts.json").read_text(encoding="ascii"))["port"])


def _connections(hosts: Process, directory: Path) -> dict[str, list[int]]:
    report = directory / "hosts.json"
    report.unlink()
    hosts.send_signal(signal.SIGUSR1)
    wait_until(report.exists, 10, "the count of connections")
    found: dict[str, list[int]] = {}
    for host in json.loads(report.read_text(encoding="ascii"))["hosts"]:
        if host["conduct"] != "dead":  # where nobody listens, nobody counts
            found.setdefault(host["conduct"], []).append(host["connections"])
    return found


def _start_dns(processes: Processes, directory: Path, count: int) -> int:
    port = free_port()
    (directory / "knot.conf").write_text(_KNOT.format(directory=directory, port=port), encoding="ascii")
    (directory / "test.zone").write_text(_zone(count), encoding="ascii")
    knot = processes.start("knotd", ["knotd", "-c", str(directory / "knot.conf")])
    wait_for_service(knot, lambda: _dns_answers(port), START_SECONDS)
    return port


def _zone(count: int) -> str:
    """Domains take turns on the hosts; every third has a second one that always behaves well."""
    good = [number for number in range(HOSTS) if conduct(number) == "verified"]
    lines = ["test. 3600 SOA ns.test. hostmaster.test. 1 3600 600 86400 120", "test. 3600 NS ns.test."]
    lines += ["ns.test. 3600 A 127.0.0.1"]
    lines += [f"{host_name(number)}. 3600 A {address(number)}" for number in range(HOSTS)]
    for number in range(count):
        lines.append(f"d{number}.test. 3600 MX 10 {host_name(number % HOSTS)}.")
        if number % 3 == 0:
            lines.append(f"d{number}.test. 3600 MX 20 {host_name(good[number % len(good)])}.")
    return "\n".join(lines) + "\n"


def _dns_answers(port: int) -> bool:
    try:
        return bool(dns.query.udp(dns.message.make_query("d0.test.", "MX"), "127.0.0.1", 0.5, port).answer)
    except (dns.exception.DNSException, OSError):
        return False
