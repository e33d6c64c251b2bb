"""Signed DNS on loopback ports: knotd serves zones that we signed ourselves, unbound validates and resolves.

``.``, ``signed.test.`` and ``stale.test.`` are signed from the root down, the last with signatures of last week;
``bogus.test.`` has a DS that fits no key; ``plain.test.`` is unsigned behind a signed delegation that says so.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import dns.dnssec
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.query
import dns.rdataset
import dns.rdatatype
import dns.rrset
import dns.zone
from cryptography.hazmat.primitives.asymmetric import ec
from dns.dnssectypes import Algorithm
from dns.rdtypes.ANY.DNSKEY import DNSKEY

from restante.tls.resolve import _read_any_tlsa
from tests.core.tls_peers import free_port

ZONES = (".", "signed.test.", "stale.test.", "bogus.test.", "plain.test.")
READY_SECONDS = 20.0


@dataclass(frozen=True)
class Key:
    """One combined signing key."""

    private: ec.EllipticCurvePrivateKey
    public: DNSKEY

    @classmethod
    def new(cls) -> Key:
        private = ec.generate_private_key(ec.SECP256R1())
        public = dns.dnssec.make_dnskey(private.public_key(), Algorithm.ECDSAP256SHA256, flags=257)
        return cls(private, public)

    def ds(self, zone: str) -> str:
        return dns.dnssec.make_ds(dns.name.from_text(zone), self.public, "SHA256").to_text()


class SignedDns:
    """Both servers, with ``records`` (owner, type, data) put into the zones they belong to."""

    def __init__(self, directory: Path, records: list[tuple[str, str, str]]) -> None:
        self._directory = directory
        self._authority_port = free_port()
        self._port = free_port()
        self._running: list[subprocess.Popen[bytes]] = []
        self._write_zones(records)
        try:
            knot, unbound = self._write_knot(), self._write_unbound()
            self._start(["knotd", "-c", str(knot)])
            self._until(lambda: bool(self._ask(self._authority_port, "signed.test.", "DNSKEY").answer))
            # Debian's AppArmor profile goes by the program's path and lets unbound read only its own folders.
            program = shutil.copy2(shutil.which("unbound") or "/usr/sbin/unbound", directory / "unbound")
            self._start([str(program), "-d", "-p", "-c", str(unbound)])
            self._until(lambda: bool(self._ask(self._port, "signed.test.", "SOA").flags & dns.flags.AD))
        except BaseException:
            self.close()
            raise

    @property
    def nameserver(self) -> str:
        """The validating resolver, in the form of the settings."""
        return f"127.0.0.1@{self._port}"

    @property
    def authority(self) -> str:
        """The authoritative server: it answers without validating anything."""
        return f"127.0.0.1@{self._authority_port}"

    def close(self) -> None:
        """Stop both."""
        for process in self._running:
            process.terminate()
        for process in self._running:
            process.wait(10)

    def _start(self, argv: list[str]) -> None:
        log = (self._directory / f"{Path(argv[0]).name}.log").open("wb")
        with log:
            self._running.append(subprocess.Popen(argv, stdout=log, stderr=log))

    def _ask(self, port: int, name: str, kind: str) -> dns.message.Message:
        question = dns.message.make_query(name, kind, want_dnssec=True)
        return dns.query.udp_with_fallback(question, "127.0.0.1", port=port, timeout=0.3)[0]

    def _until(self, ready: object) -> None:
        assert callable(ready)
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            with contextlib.suppress(dns.exception.DNSException, OSError):
                if ready():
                    return
            time.sleep(0.05)
        logs = "".join(path.read_text(errors="replace")[-1500:] for path in self._directory.glob("*.log"))
        raise AssertionError(f"DNS does not start: {logs}")

    def _write_zones(self, records: list[tuple[str, str, str]]) -> None:
        keys = {zone: Key.new() for zone in ZONES if zone != "plain.test."}
        self._anchor = keys["."].ds(".")
        now = dt.datetime.now(dt.UTC)
        for zone in ZONES:
            lines = [f"{zone} 300 SOA ns.test. hostmaster.test. 1 3600 600 86400 60", f"{zone} 300 NS ns.test."]
            if zone == ".":
                lines += ["ns.test. 300 A 127.0.0.1", *(f"{child} 300 NS ns.test." for child in ZONES[1:])]
                strangers = {**keys, "bogus.test.": Key.new()}
                lines += [f"{child} 300 DS {key.ds(child)}" for child, key in strangers.items() if child != "."]
            lines += [f"{owner}. 300 {kind} {data}" for owner, kind, data in records if _zone_of(owner) == zone]
            _read_any_tlsa()  # zones may hold records of a wrong length
            built = dns.zone.from_text("\n".join(lines) + "\n", origin=zone, relativize=False)
            if zone in keys:
                key, age = keys[zone], dt.timedelta(days=7 if zone == "stale.test." else 0)
                dns.dnssec.sign_zone(
                    built,
                    keys=[(key.private, key.public)],
                    add_dnskey=True,
                    dnskey_ttl=300,
                    inception=now - age - dt.timedelta(hours=2),
                    expiration=now - age + dt.timedelta(days=1),
                )
            built.to_file(str(self._zone_file(zone)), relativize=False)

    def _zone_file(self, zone: str) -> Path:
        return self._directory / f"{zone.strip('.') or 'root'}.zone"

    def _write_knot(self) -> Path:
        (self._directory / "knot-db").mkdir()
        zones = "".join(f"  - domain: {zone}\n    file: {self._zone_file(zone)}\n" for zone in ZONES)
        path = self._directory / "knot.conf"
        path.write_text(
            f"""server:
    rundir: {self._directory}
    listen: 127.0.0.1@{self._authority_port}
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
control:
    listen: {self._directory}/knot.sock
database:
    storage: {self._directory}/knot-db
    journal-db-max-size: 16M
    kasp-db-max-size: 16M
    timer-db-max-size: 4M
log:
  - target: stdout
    any: warning
template:
  - id: default
    semantic-checks: off
    zonefile-sync: -1
    zonefile-load: whole
    journal-content: none
zone:
{zones}"""
        )
        return path

    def _write_unbound(self) -> Path:
        stubs = "".join(
            f'stub-zone:\n    name: "{zone}"\n    stub-addr: 127.0.0.1@{self._authority_port}\n' for zone in ZONES
        )
        path = self._directory / "unbound.conf"
        path.write_text(
            f"""server:
    interface: 127.0.0.1@{self._port}
    do-ip6: no
    do-not-query-localhost: no
    num-threads: 1
    username: ""
    chroot: ""
    directory: "{self._directory}"
    pidfile: "{self._directory}/unbound.pid"
    use-syslog: no
    logfile: ""
    verbosity: 1
    trust-anchor: ". DS {self._anchor}"
    module-config: "validator iterator"
    local-zone: "test." nodefault
    aggressive-nsec: no
    qname-minimisation: no
    edns-buffer-size: 1232
{stubs}"""
        )
        return path


def _zone_of(owner: str) -> str:
    return next((zone for zone in ZONES[1:] if f"{owner}.".endswith(f".{zone}") or f"{owner}." == zone), ".")
