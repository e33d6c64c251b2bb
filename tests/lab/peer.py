"""``python -m tests.lab.peer``: one scripted SMTP peer on one address and port.

It reads ``control.json`` in its directory at the start and on SIGHUP (``{"sequence", "behaviour", "changes"}``), and
writes the sequence number to ``applied`` once new connections get that behaviour.  SIGTERM ends it.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import os
import signal
import socket
import ssl
import threading
import warnings
from pathlib import Path

from tests.lab.behaviours import Behaviour, Greeting, StartTls, TlsKind, behaviour
from tests.lab.certificates import CertificateKind
from tests.lab.smtpd import Gone, Greylist, Recorder, Session, Wire


class PeerServer:
    """The listener and what its sessions share."""

    def __init__(self, name: str, address: tuple[str, int], directory: Path) -> None:
        self._name, self._address, self._directory = name, address, directory
        self._recorder, self._greylist = Recorder(directory), Greylist()
        self._numbers = itertools.count(1)
        self._conduct = Behaviour(listens=False)
        self._contexts: dict[tuple[CertificateKind, TlsKind], ssl.SSLContext] = {}
        self._since_change = itertools.count()
        self._listener: socket.socket | None = None

    def apply(self) -> None:
        """Take over the behaviour in ``control.json`` and say so in ``applied``."""
        control = json.loads((self._directory / "control.json").read_text(encoding="utf-8"))
        self._conduct = behaviour(control["behaviour"], control["changes"])
        self._since_change = itertools.count()
        self._greylist.forget()
        if self._conduct.listens and self._listener is None:
            self._listener = socket.create_server(self._address, backlog=256)
            threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()
        elif not self._conduct.listens and self._listener is not None:
            # Closing alone leaves the accepting thread, and so the port, in place.
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        applied = self._directory / "applied.new"
        applied.write_text(str(control["sequence"]), encoding="ascii")
        applied.replace(self._directory / "applied")

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        number = next(self._numbers)
        conduct = self._conduct
        earlier = next(self._since_change)
        stripped = conduct.strip_after is not None and earlier >= conduct.strip_after
        offers = conduct.starttls is not StartTls.ABSENT and not stripped
        if conduct.busy_after is not None and earlier >= conduct.busy_after:
            conduct = dataclasses.replace(conduct, greeting=Greeting.TOO_BUSY)
        self._recorder.event(number, "open")
        with client:
            wire = Wire(number, client, self._recorder)
            try:
                Session(
                    self._name,
                    number,
                    wire,
                    conduct,
                    self._context(conduct),
                    self._recorder,
                    self._greylist,
                    offers_tls=offers,
                ).run()
            except Gone as end:
                self._recorder.event(number, "end", str(end))

    def _context(self, conduct: Behaviour) -> ssl.SSLContext:
        key = (conduct.certificate, conduct.tls_kind)
        if key not in self._contexts:
            self._contexts[key] = server_context(self._directory / f"{conduct.certificate}.pem", conduct.tls_kind)
        return self._contexts[key]


def server_context(certificate: Path, kind: TlsKind) -> ssl.SSLContext:
    """A server's context with ``certificate`` (key, then chain) that offers what ``kind`` says."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    if kind in {TlsKind.ONLY_1_0, TlsKind.ONLY_1_1}:
        version = ssl.TLSVersion.TLSv1 if kind is TlsKind.ONLY_1_0 else ssl.TLSVersion.TLSv1_1
        with warnings.catch_warnings():
            # Offering what nobody should offer is this peer's purpose.
            warnings.simplefilter("ignore", DeprecationWarning)
            context.minimum_version = version
            context.maximum_version = version
        context.set_ciphers("ALL:@SECLEVEL=0")
    elif kind is TlsKind.ANONYMOUS:
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers("aNULL:!eNULL:@SECLEVEL=0")
    elif kind is TlsKind.CLIENT_CERTIFICATE:
        # In TLS 1.3 the client learns of the refusal only after its own handshake is done.
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(certificate)
    return context


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(description="A scripted SMTP peer")
    parser.add_argument("--name", required=True, help="the host name in the banner")
    parser.add_argument("--listen", required=True, help="the IP address")
    parser.add_argument("--port", type=int, default=25)
    parser.add_argument("--directory", type=Path, required=True, help="certificates, control file and records")
    parser.add_argument("--behaviour", help="start with this behaviour instead of that in control.json")
    arguments = parser.parse_args()
    if arguments.behaviour:
        control = {"sequence": 0, "behaviour": arguments.behaviour, "changes": {}}
        (arguments.directory / "control.json").write_text(json.dumps(control), encoding="utf-8")
    expected = {signal.SIGHUP, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, expected)
    server = PeerServer(arguments.name, (arguments.listen, arguments.port), arguments.directory)
    server.apply()
    while signal.sigwait(expected) is signal.SIGHUP:
        server.apply()
    # Sessions are daemon threads that may sit in a read; there is nothing to save.
    os._exit(0)


if __name__ == "__main__":
    main()
