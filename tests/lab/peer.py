"""One scripted SMTP peer: the listener in its namespace, a thread of this process for each session."""

from __future__ import annotations

import dataclasses
import itertools
import socket
import ssl
import threading
import warnings
from contextlib import suppress
from pathlib import Path

from tests.lab.behaviours import Behaviour, Greeting, StartTls, TlsKind
from tests.lab.certificates import CertificateKind
from tests.lab.netns import Host
from tests.lab.smtpd import Gone, Greylist, Recorder, Session, Wire

PORT = 25


class PeerServer:
    """The listener of ``name`` on ``host`` and what sessions share; certificates and records are in ``directory``."""

    def __init__(self, name: str, host: Host, directory: Path) -> None:
        self._name, self._host, self._directory = name, host, directory
        self._recorder, self._greylist = Recorder(directory), Greylist()
        self._numbers = itertools.count(1)
        self._conduct = Behaviour(listens=False)
        self._contexts: dict[tuple[CertificateKind, TlsKind], ssl.SSLContext] = {}
        self._since_change = itertools.count()
        self._listener: socket.socket | None = None
        self._lock = threading.Lock()
        self._clients: set[socket.socket] = set()

    def behave(self, conduct: Behaviour) -> None:
        """Take over ``conduct``: every connection made after the return gets it."""
        self._conduct = conduct
        self._since_change = itertools.count()
        self._greylist.forget()
        if conduct.listens and self._listener is None:
            address = (self._host.ipv4, PORT)
            self._listener = self._host.call(lambda: socket.create_server(address, backlog=256))
            threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()
        elif not conduct.listens:
            self._stop_listening()

    def stop(self) -> None:
        """Listen no more, and end every session as if the host had gone."""
        self._stop_listening()
        with self._lock:
            clients = list(self._clients)
        for client in clients:
            with suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)

    def _stop_listening(self) -> None:
        if self._listener is not None:
            # Closing alone leaves the accepting thread, and so the port, in place.
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with self._lock:
            self._clients.add(client)
        try:
            self._session(client)
        except OSError:
            return  # the client, or the whole host, is gone
        finally:
            with self._lock:
                self._clients.discard(client)

    def _session(self, client: socket.socket) -> None:
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
