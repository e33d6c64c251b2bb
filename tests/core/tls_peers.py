"""SMTP peers on loopback sockets, each with one way to behave, and what they saw."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import socket
import ssl
import warnings
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Self

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

EHLO = b"250-peer.test\r\n250-PIPELINING\r\n250 STARTTLS\r\n"
EHLO_PLAIN = b"250-peer.test\r\n250-PIPELINING\r\n250 8BITMIME\r\n"
NAME = "mx.peer.test"


def free_port() -> int:
    """A port that was free on loopback a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Certificates:
    """Server contexts, good and bad, for the host ``mx.peer.test``; ``ca_file`` is what the prober trusts."""

    def __init__(self, directory: Path) -> None:
        self._ca = trustme.CA()
        self._stranger = trustme.CA()
        self.ca_file = directory / "ca.pem"
        self._ca.cert_pem.write_to_path(str(self.ca_file))

    def valid(self, *names: str) -> ssl.SSLContext:
        return _server(self._ca.issue_cert(*(names or (NAME,))))

    def untrusted(self) -> ssl.SSLContext:
        return _server(self._stranger.issue_cert(NAME))

    def expired(self) -> ssl.SSLContext:
        yesterday = dt.datetime.now(dt.UTC) - dt.timedelta(days=1)
        return _server(self._ca.issue_cert(NAME, not_after=yesterday))

    def misnamed(self) -> ssl.SSLContext:
        return _server(self._ca.issue_cert("other.test"))

    def weak(self) -> ssl.SSLContext:
        """Shows a self-signed certificate with a 1024-bit key: below what may be trusted, above no TLS at all."""
        key = rsa.generate_private_key(public_exponent=65_537, key_size=1024)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
        now = dt.datetime.now(dt.UTC)
        builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        builder = builder.not_valid_before(now).not_valid_after(now + dt.timedelta(days=1))
        path = self.ca_file.with_name("weak.pem")
        path.write_bytes(
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            + builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.load_cert_chain(path)
        return context

    def demanding(self, version: ssl.TLSVersion) -> ssl.SSLContext:
        """Speaks ``version`` alone, with those who show a certificate of the authority."""
        context = self.valid()
        context.minimum_version = context.maximum_version = version
        context.verify_mode = ssl.CERT_REQUIRED
        self._ca.configure_trust(context)
        return context

    def old(self) -> ssl.SSLContext:
        """Speaks TLS 1.0 and 1.1 only."""
        context = self.valid()
        context.set_ciphers("ALL:@SECLEVEL=0")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context.minimum_version = ssl.TLSVersion.TLSv1
            context.maximum_version = ssl.TLSVersion.TLSv1_1
        return context

    def anonymous(self) -> ssl.SSLContext:
        """Offers only ciphers without a certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers("aNULL:@SECLEVEL=0")
        return context


def _server(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


@dataclass
class Session:
    """One accepted connection, as the behaviour sees it."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    peer: Peer

    async def say(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def hear(self) -> bytes:
        line = await self.reader.readline()
        if line:
            self.peer.commands.append(line.rstrip().decode("latin-1"))
        return line

    async def rest(self) -> None:
        """Say goodbye to QUIT, and read until the client goes."""
        while line := await self.hear():
            await self.say(b"221 bye\r\n" if line.upper().startswith(b"QUIT") else b"250 ok\r\n")


Behaviour = Callable[[Session], Awaitable[None]]


@dataclass
class Peer:
    """Listens on ``address``; what it heard is in ``commands``, the SNI it got in ``server_names``."""

    address: str
    port: int
    behaviour: Behaviour
    commands: list[str] = field(default_factory=list)
    server_names: list[str | None] = field(default_factory=list)
    connections: int = 0
    _sessions: set[asyncio.Task[None]] = field(default_factory=set)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, self.address, self.port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._sessions:
            task.cancel()
        await asyncio.gather(*self._sessions, return_exceptions=True)
        await self._server.wait_closed()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.get_running_loop().create_task(self._serve(Session(reader, writer, self)))
        self._sessions.add(task)
        task.add_done_callback(self._sessions.discard)

    async def _serve(self, session: Session) -> None:
        try:
            with contextlib.suppress(OSError, ssl.SSLError, ValueError):
                await self.behaviour(session)
        finally:
            session.writer.transport.abort()


async def _until_starttls(session: Session, banner: bytes = b"220 peer.test ESMTP\r\n") -> None:
    await session.say(banner)
    await session.hear()
    await session.say(EHLO)
    await session.hear()


def tls(context: ssl.SSLContext) -> Behaviour:
    """An ordinary peer with STARTTLS."""

    async def behave(session: Session) -> None:
        context.sni_callback = lambda _socket, name, _context: session.peer.server_names.append(name)
        await _until_starttls(session)
        await session.say(b"220 go ahead\r\n")
        await session.writer.start_tls(context)
        await session.rest()

    return behave


def tls_then(context: ssl.SSLContext, answer: bytes, *, then_close: bool = True) -> Behaviour:
    """Does the handshake, says ``answer`` after the next command, and closes or falls silent."""

    async def behave(session: Session) -> None:
        await _until_starttls(session)
        await session.say(b"220 go ahead\r\n")
        await session.writer.start_tls(context)
        await session.hear()
        await session.say(answer)
        if not then_close:
            await session.reader.read()

    return behave


def refuses_client(context: ssl.SSLContext) -> Behaviour:
    """Ends the handshake with the alert for what it dislikes about the client; asyncio's server would just go."""

    async def behave(session: Session) -> None:
        await _until_starttls(session)
        await session.say(b"220 go ahead\r\n")
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(incoming, outgoing, server_side=True)
        refused = False
        while not refused:
            try:
                tls.do_handshake()
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError:
                refused = True
            await session.say(outgoing.read())
            heard = await session.reader.read(16_384)
            incoming.write(heard)
            refused = refused or not heard

    return behave


def slow(context: ssl.SSLContext) -> Behaviour:
    """Drips its banner in pieces before it behaves well."""

    async def behave(session: Session) -> None:
        for piece in (b"220-", b"hold ", b"on\r\n"):
            await session.say(piece)
            await asyncio.sleep(0.1)
        await tls(context)(session)

    return behave


def says(*answers: bytes, then_close: bool = False) -> Behaviour:
    """Says the banner, then one of ``answers`` after each command, then only goodbye, or closes."""

    async def behave(session: Session) -> None:
        banner, *others = answers
        await session.say(banner)
        for answer in others:
            await session.hear()
            await session.say(answer)
        if not then_close:
            await session.rest()

    return behave


def blurts(*pieces: bytes) -> Behaviour:
    """Says each piece after a command, or after a moment without one, then closes."""

    async def behave(session: Session) -> None:
        for piece in pieces:
            await session.say(piece)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.01):
                    await session.hear()

    return behave


async def silent(session: Session) -> None:
    """Accepts, and never says a word."""
    await session.reader.read()


async def hangs_up(_session: Session) -> None:
    """Accepts and closes."""


async def closes_in_handshake(session: Session) -> None:
    await _until_starttls(session)
    await session.say(b"220 go ahead\r\n")
    await session.reader.read(1)


async def stalls_in_handshake(session: Session) -> None:
    await _until_starttls(session)
    await session.say(b"220 go ahead\r\n")
    await session.reader.read()


async def garbage_in_handshake(session: Session) -> None:
    await _until_starttls(session)
    await session.say(b"220 go ahead\r\n")
    await session.reader.read(1)
    await session.say(b"this is not TLS\r\n" * 10)


async def injects(session: Session) -> None:
    """Somebody on the path appends a reply in clear to the 220."""
    await _until_starttls(session)
    await session.say(b"220 go ahead\r\n250-peer.test\r\n250 SIZE\r\n")
    await session.rest()


async def endless_ehlo(session: Session) -> None:
    await session.say(b"220 peer.test\r\n")
    await session.hear()
    while True:
        await session.say(b"250-X" + b"x" * 70 + b"\r\n")


async def endless_line(session: Session) -> None:
    while True:
        await session.say(b"220-" * 1000)


plain = partial(says, b"220 peer.test\r\n", EHLO_PLAIN)
