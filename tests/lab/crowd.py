"""Thousands of scripted peers in one namespace, served by threads of this process, each with an address of its own.

A peer costs nothing until somebody connects, its conduct is a value that may differ from one connection to the next,
and its record is in memory.  Certificates are for ``*.crowd.example``, so every host there proves its name.
"""

from __future__ import annotations

import ipaddress
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from socket import AF_INET6, SHUT_RDWR, create_server, socket

from tests.lab.behaviours import Behaviour, Greeting, StartTls, TlsKind
from tests.lab.certificates import CertificateAuthority, CertificateKind
from tests.lab.netns import Host, Network, run_command
from tests.lab.peer import server_context
from tests.lab.smtpd import Gone, Greylist, Recorder, Session, Wire

ZONE = "crowd.example"
CROWD_NUMBER = 90
BLOCK = ipaddress.IPv4Network("10.77.128.0/17")
BLOCK6 = ipaddress.IPv6Network("fd77::/64")

Serve = Callable[["Member", int, socket, "Crowd"], None]


class MemoryRecorder(Recorder):
    """The record of one peer, in lists; ``mails`` are the records of :class:`tests.lab.smtpd.Session`."""

    def __init__(self) -> None:
        super().__init__(Path())
        self.mails: list[dict[str, object]] = []
        self.events: list[tuple[int, str, str]] = []
        self._clear: dict[int, bytearray] = {}

    def clear(self, connection: int, data: bytes) -> None:
        """Keep ``data`` with what the connection said before it."""
        self._clear.setdefault(connection, bytearray()).extend(data)

    def event(self, connection: int, name: str, text: str = "") -> None:
        """Keep one step of a session."""
        self.events.append((connection, name, text))

    def mail(self, record: dict[str, object]) -> None:
        """Keep one message."""
        self.mails.append(record)

    def clear_bytes(self) -> bytes:
        """Every byte read outside of TLS, connection by connection."""
        return b"\n".join(bytes(piece) for piece in list(self._clear.values()))


@dataclass(slots=True)
class Member:
    """One peer: ``domain`` has ``mx`` at ``address`` (and ``address6``); ``serve`` is its conduct."""

    domain: str
    mx: str
    address: str
    address6: str
    serve: Serve
    recorder: MemoryRecorder = field(default_factory=MemoryRecorder)
    greylist: Greylist = field(default_factory=Greylist)
    connections: int = 0

    @property
    def recipient(self) -> str:
        """A mailbox there."""
        return f"bob@{self.domain}"


class Crowd:
    """The namespace ``crowd`` of ``network`` and who is in it.  Close it before the network goes."""

    def __init__(self, network: Network, authority: CertificateAuthority, directory: Path) -> None:
        directory.mkdir(exist_ok=True)
        self.host: Host = network.add_host("crowd", CROWD_NUMBER)
        # The whole block is local, so that addresses need not be given one by one.
        run_command(["ip", "-n", self.host.namespace, "route", "add", "local", str(BLOCK), "dev", "lo"])
        self._pems = {kind: authority.issue(kind, f"*.{ZONE}", directory) for kind in CertificateKind}
        self._contexts: dict[tuple[CertificateKind, TlsKind], ssl.SSLContext] = {}
        self._members: dict[str, Member] = {}
        self.members: list[Member] = []
        self._lock = threading.Lock()
        self._listeners = [
            self.host.call(lambda: create_server(("0.0.0.0", 25), backlog=512)),
            self.host.call(lambda: create_server(("::", 25), family=AF_INET6, backlog=512)),
        ]
        for listener in self._listeners:
            threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def add(self, number: int, serve: Serve) -> Member:
        """The peer number ``number``, from 1 on; there are no records of it in the DNS."""
        address, address6 = str(BLOCK[number]), str(BLOCK6[0x1000 + number])
        member = Member(f"d{number}.{ZONE}", f"mx{number}.{ZONE}", address, address6, serve)
        self._members[address] = self._members[address6] = member
        self.members.append(member)
        return member

    def add_ipv6(self, member: Member, mta: Host) -> None:
        """Let ``mta`` reach the member by IPv6 too."""
        for host, address in ((self.host, member.address6), (mta, str(BLOCK6[2]))):
            argv = ["ip", "-n", host.namespace, "address", "replace", f"{address}/64", "dev", "eth0", "nodad"]
            run_command(argv)

    def pem(self, kind: CertificateKind) -> Path:
        """The certificate that every peer of this kind shows, with its key."""
        return self._pems[kind]

    def context(self, certificate: CertificateKind, kind: TlsKind) -> ssl.SSLContext:
        """The server's context for a session."""
        with self._lock:
            if (certificate, kind) not in self._contexts:
                self._contexts[certificate, kind] = server_context(self._pems[certificate], kind)
            return self._contexts[certificate, kind]

    def clear_bytes(self) -> bytes:
        """Everything that any peer read outside of TLS."""
        return b"\n".join(member.recorder.clear_bytes() for member in self.members)

    def close(self) -> None:
        """Take no more connections."""
        for listener in self._listeners:
            listener.shutdown(SHUT_RDWR)
            listener.close()

    def _accept(self, listener: socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._session, args=(client,), daemon=True).start()

    def _session(self, client: socket) -> None:
        with client:
            member = self._members.get(client.getsockname()[0])
            if member is None:
                return
            with self._lock:
                number = member.connections
                member.connections += 1
            try:
                member.serve(member, number, client, self)
            except Gone as end:
                member.recorder.event(number, "end", str(end))


def conduct_of(behaviour: Behaviour) -> Serve:
    """A peer that behaves as ``behaviour`` says, counting its connections from the first."""

    def serve(member: Member, number: int, client: socket, crowd: Crowd) -> None:
        play(member, number, Wire(number, client, member.recorder), crowd, behaviour)

    return serve


def play(member: Member, number: int, wire: Wire, crowd: Crowd, behaviour: Behaviour) -> None:
    """One session; ``number`` counts the peer's connections from 0.  Raises :class:`Gone`."""
    stripped = behaviour.strip_after is not None and number >= behaviour.strip_after
    if behaviour.busy_after is not None and number >= behaviour.busy_after:
        behaviour = Behaviour(greeting=Greeting.TOO_BUSY)
    Session(
        member.mx,
        number,
        wire,
        behaviour,
        crowd.context(behaviour.certificate, behaviour.tls_kind),
        member.recorder,
        member.greylist,
        offers_tls=behaviour.starttls is not StartTls.ABSENT and not stripped,
    ).run()
