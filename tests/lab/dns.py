"""Real DNS in a namespace: knotd is authoritative for a root of its own, unbound validates and resolves.

Zones: ``.`` and ``example.`` are signed (ECDSA P-256, NSEC) with a DS between them; ``test.`` is unsigned and its
delegation is provably insecure.  The resolver's only trust anchor is the lab's own root key, so the AD bit on its
answers means what it means on the internet.  A change is visible to every host when the method that made it
returns.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import dns.dnssec
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.query
import dns.rdatatype

from tests.lab.netns import Host, Network, run_command
from tests.lab.process import Process, Processes, wait_for_service
from tests.lab.waiting import LabError

AUTHORITY_NUMBER = 54
TTL = 60
READY_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Record:
    """One resource record.  ``owner`` is a full name, with or without its trailing dot; ``data`` as in a zone file."""

    owner: str
    type: str
    data: str

    def line(self) -> str:
        """The record as one line of a zone file."""
        return f"{self.owner.rstrip('.')}. {TTL} {self.type} {self.data}\n"


def mail_host(domain: str, mx: str, address: str, preference: int = 10) -> tuple[Record, ...]:
    """MX of ``domain`` towards the host name ``mx``, and the A record of that name."""
    return (Record(domain, "MX", f"{preference} {mx}."), Record(mx, "A", address))


class DnsServer:
    """knotd and unbound in the host ``host``, with their files in ``directory``."""

    SIGNED = (".", "example.")
    UNSIGNED = ("test.",)

    def __init__(self, network: Network, host: Host, directory: Path, processes: Processes) -> None:
        self._host = host
        self._directory = directory
        self._processes = processes
        self._authority_address = network.add_address(host, AUTHORITY_NUMBER)
        self._control = directory / "unbound.ctl"
        self._knot_socket = directory / "knot.sock"
        self._authority: Process | None = None
        self._resolver: Process | None = None

    @property
    def authority(self) -> Process:
        """The running knotd."""
        if self._authority is None:
            raise LabError("DNS is not started")
        return self._authority

    @property
    def resolver(self) -> Process:
        """The running unbound."""
        if self._resolver is None:
            raise LabError("DNS is not started")
        return self._resolver

    def start(self, records: Iterable[Record]) -> None:
        """Start both servers with ``records``; returns when a signed answer validates.  Raises :class:`LabError`."""
        self._write_zones(list(records))
        self._write_knot()
        self._authority = self._processes.start(
            "knotd", self._host.argv(["knotd", "-c", str(self._directory / "knot.conf")])
        )
        wait_for_service(self._authority, self._authority_ready, READY_SECONDS)
        ds = self._delegation_signer("example.")
        self._transaction(".", [f"zone-set . example. {TTL} DS {ds}"])
        self._write_unbound(self._delegation_signer("."))
        # Debian's AppArmor profile goes by the program's path and lets unbound read only its own folders.
        program = shutil.copy2(shutil.which("unbound") or "/usr/sbin/unbound", self._directory / "unbound")
        self._resolver = self._processes.start(
            "unbound", self._host.argv([str(program), "-d", "-p", "-c", str(self._directory / "unbound.conf")])
        )
        wait_for_service(self._resolver, lambda: self._validates("example."), READY_SECONDS)

    def add(self, *records: Record) -> None:
        """Add records beside what is there."""
        self._change([(record.owner, f"zone-set {{zone}} {_knot(record)}") for record in records])

    def replace(self, *records: Record) -> None:
        """Put ``records`` in the place of every RRset with their owners and types."""
        rrsets = dict.fromkeys((record.owner, record.type) for record in records)
        unset = [
            (owner, f"zone-unset {{zone}} {owner.rstrip('.')}. {kind}")
            for owner, kind in rrsets
            if self._has(owner, kind)
        ]
        self._change([*unset, *((record.owner, f"zone-set {{zone}} {_knot(record)}") for record in records)])

    def delete(self, owner: str, kind: str = "") -> None:
        """Delete one RRset, or everything at ``owner``.  Raises :class:`LabError` when there is nothing."""
        self._change([(owner, f"zone-unset {{zone}} {owner.rstrip('.')}. {kind}".rstrip())])

    def pause(self) -> None:
        """Make the resolver fall silent: questions get no answer at all."""
        self.resolver.pause()

    def resume(self) -> None:
        """Undo :meth:`pause` and :meth:`pause_authority`."""
        self.resolver.resume()
        self.authority.resume()
        self.flush()

    def pause_authority(self) -> None:
        """Make the authoritative server fall silent: the resolver answers SERVFAIL after its own time-out."""
        self.flush()
        self.authority.pause()

    def flush(self) -> None:
        """Empty the resolver's caches."""
        self._unbound_control("flush_zone", ".")
        self._unbound_control("flush_infra", "all")

    def query(self, name: str, kind: str, *, timeout: float = 5.0) -> dns.message.Message:
        """Ask the resolver, with DNSSEC wanted.  Raises ``dns.exception.Timeout`` when it is silent."""
        question = dns.message.make_query(name, kind, want_dnssec=True)
        question.flags |= dns.flags.AD
        return self._host.call(lambda: dns.query.udp_with_fallback(question, self._host.ipv4, timeout=timeout)[0])

    def _validates(self, name: str) -> bool:
        try:
            answer = self.query(name, "SOA", timeout=0.3)
        except (dns.exception.DNSException, OSError):
            return False
        return bool(answer.flags & dns.flags.AD)

    def _ask_authority(self, name: str, kind: str) -> dns.message.Message:
        question = dns.message.make_query(name, kind)
        return self._host.call(lambda: dns.query.udp_with_fallback(question, self._authority_address, timeout=0.3)[0])

    def _has(self, owner: str, kind: str) -> bool:
        return bool(self._ask_authority(owner, kind).answer)

    def _authority_ready(self) -> bool:
        try:
            return all(self._ask_authority(zone, "DNSKEY").answer for zone in self.SIGNED)
        except (dns.exception.DNSException, OSError):
            return False

    def _delegation_signer(self, zone: str) -> str:
        """The DS data of the zone's signing key."""
        answer = self._ask_authority(zone, "DNSKEY")
        keys = [key for rrset in answer.answer if rrset.rdtype == dns.rdatatype.DNSKEY for key in rrset]
        entry = next(key for key in keys if key.flags & 0x0001)
        return dns.dnssec.make_ds(dns.name.from_text(zone), entry, "SHA256").to_text()

    def _change(self, commands: list[tuple[str, str]]) -> None:
        """Run (owner, command) pairs in one transaction per zone and empty the resolver's caches."""
        by_zone: dict[str, list[str]] = {}
        for owner, command in commands:
            zone = self._zone_of(owner)
            by_zone.setdefault(zone, []).append(command.format(zone=zone))
        for zone, lines in by_zone.items():
            self._transaction(zone, lines)
        self.flush()

    def _zone_of(self, owner: str) -> str:
        name = owner.rstrip(".") + "."
        below = [zone for zone in (*self.SIGNED, *self.UNSIGNED) if zone != "." and name.endswith("." + zone)]
        return below[0] if below else "."

    def _transaction(self, zone: str, commands: list[str]) -> None:
        self._knotc("zone-begin", zone)
        try:
            for command in commands:
                self._knotc(*command.split(" "))
            self._knotc("zone-commit", zone)
        except LabError:
            self._knotc("zone-abort", zone)
            raise

    def _knotc(self, *arguments: str) -> None:
        run_command(["knotc", "-s", str(self._knot_socket), "-b", *arguments])

    def _unbound_control(self, *arguments: str) -> None:
        run_command(["unbound-control", "-c", str(self._directory / "unbound.conf"), *arguments])

    def _write_zones(self, records: list[Record]) -> None:
        soa = f"{TTL} SOA ns.example. hostmaster.example. 1 3600 600 86400 5\n"
        for zone in (*self.SIGNED, *self.UNSIGNED):
            text = f"{zone} {soa}{zone} {TTL} NS ns.example.\n"
            if zone == ".":
                text += "".join(f"{child} {TTL} NS ns.example.\n" for child in ("example.", "test."))
            if zone in (".", "example."):
                text += f"ns.example. {TTL} A {self._authority_address}\n"
            text += "".join(record.line() for record in records if self._zone_of(record.owner) == zone)
            self._zone_file(zone).write_text(text, encoding="utf-8")

    def _zone_file(self, zone: str) -> Path:
        return self._directory / f"{zone.strip('.') or 'root'}.zone"

    def _write_knot(self) -> None:
        (self._directory / "knot-db").mkdir()
        zones = "".join(
            f"  - domain: {zone}\n    file: {self._zone_file(zone)}\n"
            + ("    dnssec-signing: on\n    dnssec-policy: lab\n" if zone in self.SIGNED else "")
            for zone in (*self.SIGNED, *self.UNSIGNED)
        )
        (self._directory / "knot.conf").write_text(
            f"""server:
    rundir: {self._directory}
    listen: {self._authority_address}@53
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
control:
    listen: {self._knot_socket}
database:
    storage: {self._directory}/knot-db
    journal-db-max-size: 16M
    kasp-db-max-size: 16M
    timer-db-max-size: 4M
log:
  - target: stdout
    any: info
policy:
  - id: lab
    algorithm: ecdsap256sha256
    single-type-signing: on
    nsec3: off
template:
  - id: default
    semantic-checks: off
    zonefile-sync: -1
    zonefile-load: whole
zone:
{zones}""",
            encoding="utf-8",
        )

    def _write_unbound(self, anchor: str) -> None:
        (self._directory / "root.hints").write_text(
            f". 3600 NS ns.example.\nns.example. 3600 A {self._authority_address}\n", encoding="ascii"
        )
        (self._directory / "unbound.conf").write_text(
            f"""server:
    interface: {self._host.ipv4}
    access-control: 0.0.0.0/0 allow
    do-ip6: no
    num-threads: 1
    username: ""
    chroot: ""
    directory: "{self._directory}"
    pidfile: "{self._directory}/unbound.pid"
    use-syslog: no
    logfile: ""
    verbosity: 1
    root-hints: "{self._directory}/root.hints"
    trust-anchor: ". DS {anchor}"
    module-config: "validator iterator"
    local-zone: "example." nodefault
    local-zone: "test." nodefault
    aggressive-nsec: no
    qname-minimisation: no
    infra-host-ttl: 1
    serve-expired: no
remote-control:
    control-enable: yes
    control-interface: "{self._control}"
    control-use-cert: no
""",
            encoding="utf-8",
        )


def _knot(record: Record) -> str:
    return f"{record.owner.rstrip('.')}. {TTL} {record.type} {record.data}"
