"""One SMTP session of a scripted peer (RFC 5321, 3207), with a record of every byte that came in clear.

Blocking, one thread a connection, TLS through memory buffers: so each byte passes through :class:`Wire` in the
form in which it crossed the network, and a fault can be put between any two of them.
"""

from __future__ import annotations

import base64
import json
import re
import socket
import ssl
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.lab.behaviours import Behaviour, Ehlo, Greeting, StartTls

IDLE_SECONDS = 60.0
AFTER_FAULT_SECONDS = 5.0
SILENT_SECONDS = 600.0
FATAL_HANDSHAKE_ALERT = b"\x15\x03\x03\x00\x02\x02\x28"
GARBAGE = b"\x00\xff\x13garbage instead of a server hello\r\n" * 4


class Gone(Exception):
    """The client went away, or a fault says that the session ends here."""


class Recorder:
    """The peer's files: ``mails.jsonl``, ``sessions.jsonl`` and ``clear.log``, all append-only JSON lines.

    ``clear.log`` has one line per piece that was read outside of TLS: connection, time and the bytes in base64.
    Each record is written whole before the peer answers the client, so what was answered can be read.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._lock = threading.Lock()

    def clear(self, connection: int, data: bytes) -> None:
        """Record ``data`` as read in clear."""
        self._write("clear.log", {"connection": connection, "data": base64.b64encode(data).decode("ascii")})

    def event(self, connection: int, name: str, text: str = "") -> None:
        """Record one step of a session; commands only, no content."""
        self._write("sessions.jsonl", {"connection": connection, "event": name, "text": text})

    def mail(self, record: dict[str, object]) -> None:
        """Record one message that the peer accepted."""
        self._write("mails.jsonl", record)

    def _write(self, name: str, record: dict[str, object]) -> None:
        line = json.dumps({"time": time.time(), **record}) + "\n"
        with self._lock, (self._directory / name).open("a", encoding="utf-8") as file:
            file.write(line)


class Greylist:
    """Who was turned away and how often; shared by the sessions of one peer."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: dict[tuple[str, str], tuple[int, float]] = {}

    def refuses(self, conduct: Behaviour, sender: str, recipient: str) -> bool:
        """Whether this attempt gets 451; counts it."""
        with self._lock:
            attempts, first = self._seen.get((sender, recipient), (0, time.monotonic()))
            self._seen[sender, recipient] = (attempts + 1, first)
        return attempts < conduct.greylist_attempts or time.monotonic() - first < conduct.greylist_seconds

    def forget(self) -> None:
        """Begin anew."""
        with self._lock:
            self._seen.clear()


class Wire:
    """The connection: lines in, replies out, in clear or under TLS."""

    def __init__(self, connection: int, client: socket.socket, recorder: Recorder) -> None:
        self._connection = connection
        self._socket = client
        self._recorder = recorder
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls: ssl.SSLObject | None = None
        self._buffer = bytearray()
        client.settimeout(IDLE_SECONDS)

    @property
    def tls(self) -> ssl.SSLObject | None:
        """The TLS session once the handshake is done."""
        return self._tls

    def receive(self) -> bytes:
        """The next bytes from the network, recorded when they are not inside TLS.  Raises :class:`Gone` at the end."""
        try:
            data = self._socket.recv(65536)
        except OSError as error:
            raise Gone(str(error)) from None
        if not data:
            raise Gone("closed by the client")
        if self._tls is None:
            self._recorder.clear(self._connection, data)
        return data

    def send_raw(self, data: bytes) -> None:
        """Put ``data`` on the network as it is."""
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise Gone(str(error)) from None

    def send(self, text: str) -> None:
        """Send reply lines; ``text`` has its CRLFs inside, the last one is added."""
        data = text.encode("utf-8") + b"\r\n"
        if self._tls is None:
            self.send_raw(data)
            return
        try:
            self._tls.write(data)
        except ssl.SSLError as error:
            raise Gone(str(error)) from None
        self.send_raw(self._outgoing.read())

    def _more(self) -> None:
        if self._tls is None:
            self._buffer += self.receive()
            return
        while True:
            try:
                data = self._tls.read(65536)
            except ssl.SSLWantReadError:
                self._incoming.write(self.receive())
            except ssl.SSLError as error:
                raise Gone(str(error)) from None
            else:
                if not data:
                    raise Gone("TLS closed by the client")
                self._buffer += data
                return

    def line(self) -> bytes:
        """The next line without its CRLF."""
        while (end := self._buffer.find(b"\n")) < 0:
            self._more()
        line = bytes(self._buffer[:end]).rstrip(b"\r")
        del self._buffer[: end + 1]
        return line

    def content(self) -> bytes:
        """The content up to the lone dot, dots unstuffed, with its last CRLF."""
        search_from = 0
        if self._buffer[:3] == b".\r\n":
            del self._buffer[:3]
            return b""
        while (end := self._buffer.find(b"\r\n.\r\n", search_from)) < 0:
            search_from = max(0, len(self._buffer) - 4)
            self._more()
            if self._buffer[:3] == b".\r\n":
                end = -2
                break
        content = bytes(self._buffer[: max(0, end + 2)])
        del self._buffer[: end + 5]
        unstuffed = content.replace(b"\r\n..", b"\r\n.")
        return unstuffed[1:] if unstuffed.startswith(b"..") else unstuffed

    def handshake(self, context: ssl.SSLContext) -> None:
        """Do the server's side of a TLS handshake.  What was buffered in clear is dropped (RFC 3207, section 4.2).

        Raises :class:`Gone` when it fails.
        """
        self._buffer.clear()
        session = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        while True:
            try:
                session.do_handshake()
            except ssl.SSLWantReadError:
                self.send_raw(self._outgoing.read())
                self._incoming.write(self.receive())
            except ssl.SSLError as error:
                self.send_raw(self._outgoing.read())
                raise Gone(f"handshake: {error}") from None
            else:
                break
        self.send_raw(self._outgoing.read())
        self._tls = session

    def drain(self, seconds: float = AFTER_FAULT_SECONDS) -> None:
        """After a fault: read and record what the client still sends, until it leaves or pauses for ``seconds``."""
        self._socket.settimeout(seconds)
        while True:
            self.receive()


@dataclass(slots=True)
class Transaction:
    """The envelope under way."""

    sender: str
    sender_options: str
    recipients: list[str] = field(default_factory=list)
    recipient_options: list[str] = field(default_factory=list)


class Session:
    """One client's session with a peer called ``name`` that behaves as ``conduct`` says."""

    def __init__(
        self,
        name: str,
        number: int,
        wire: Wire,
        conduct: Behaviour,
        context: ssl.SSLContext,
        recorder: Recorder,
        greylist: Greylist,
        *,
        offers_tls: bool,
    ) -> None:
        self._name, self._number, self._wire, self._conduct = name, number, wire, conduct
        self._context, self._recorder, self._greylist = context, recorder, greylist
        self._offers_tls = offers_tls
        self._helo = ""
        self._transaction: Transaction | None = None

    def run(self) -> None:
        """Serve until the client quits, goes away or a fault ends it."""
        try:
            self._greet()
            while True:
                line = self._wire.line()
                verb, _, argument = line.decode("utf-8", "replace").partition(" ")
                self._recorder.event(self._number, "command", f"{verb} {argument}".strip())
                self._command(verb.upper(), argument)
        except Gone as end:
            self._recorder.event(self._number, "end", str(end))

    def _greet(self) -> None:
        if self._conduct.greeting is Greeting.SILENT:
            self._wire.drain(SILENT_SECONDS)
        time.sleep(self._conduct.greeting_delay)
        if self._conduct.greeting is Greeting.TOO_BUSY:
            self._wire.send(f"421 4.3.2 {self._name} too many connections")
            raise Gone("421")
        if not self._conduct.drip:
            self._wire.send(f"220 {self._name} ESMTP")
            return
        for byte in f"220 {self._name} ESMTP\r\n".encode("ascii"):
            self._wire.send_raw(bytes([byte]))
            time.sleep(self._conduct.drip)

    def _command(self, verb: str, argument: str) -> None:
        if verb == "EHLO":
            self._ehlo(argument)
        elif verb == "HELO":
            self._helo, self._transaction = argument, None
            self._wire.send(f"250 {self._name}")
        elif verb == "STARTTLS" and self._may_start_tls():
            self._starttls()
        elif verb == "MAIL":
            self._mail(argument)
        elif verb == "RCPT":
            self._rcpt(argument)
        elif verb == "DATA":
            self._data()
        elif verb in {"RSET", "NOOP"}:
            self._transaction = None if verb == "RSET" else self._transaction
            self._wire.send("250 2.0.0 Ok")
        elif verb == "QUIT":
            self._wire.send("221 2.0.0 Bye")
            raise Gone("QUIT")
        else:
            self._wire.send("502 5.5.1 Command not recognised")

    def _may_start_tls(self) -> bool:
        return self._offers_tls and self._wire.tls is None

    def _ehlo(self, argument: str) -> None:
        if self._conduct.ehlo is Ehlo.REFUSED:
            self._wire.send("502 5.5.1 Command not implemented")
            return
        if self._conduct.ehlo is Ehlo.TRUNCATED:
            self._wire.send_raw(f"250-{self._name}\r\n250-PIPELINING\r\n250-STAR".encode("ascii"))
            raise Gone("EHLO cut off")
        self._helo, self._transaction = argument, None
        offers = ["PIPELINING", "SIZE 104857600", "8BITMIME", "SMTPUTF8", "DSN", "ENHANCEDSTATUSCODES"]
        if self._may_start_tls():
            offers.insert(0, "XXXXXXXX" if self._conduct.ehlo is Ehlo.MANGLED else "STARTTLS")
        lines = [self._name, *offers]
        self._wire.send("\r\n".join(f"250-{line}" for line in lines[:-1]) + f"\r\n250 {lines[-1]}")

    def _starttls(self) -> None:
        step = self._conduct.starttls
        if step is StartTls.REFUSED:
            self._wire.send("454 4.7.0 TLS not available")
            return
        if step is StartTls.UNKNOWN:
            self._wire.send("502 5.5.1 Command not implemented")
            return
        if step is StartTls.CLOSED:
            raise Gone("closed at STARTTLS")
        extra = "\r\n250 2.0.0 injected" if step is StartTls.INJECTION else ""
        self._wire.send(f"220 2.0.0 Ready{extra}")
        if step in {StartTls.ALERT, StartTls.GARBAGE}:
            if step is StartTls.ALERT:
                self._wire.receive()
            self._wire.send_raw(FATAL_HANDSHAKE_ALERT if step is StartTls.ALERT else GARBAGE)
            self._wire.drain()
        self._wire.handshake(self._context)
        tls = self._wire.tls
        self._recorder.event(self._number, "tls", (tls.version() or "") if tls else "")
        self._transaction = None

    def _mail(self, argument: str) -> None:
        path, options = _path(argument)
        self._transaction = Transaction(path, options)
        self._wire.send("250 2.1.0 Ok")

    def _rcpt(self, argument: str) -> None:
        if self._transaction is None:
            self._wire.send("503 5.5.1 MAIL first")
            return
        path, options = _path(argument)
        if self._greylist.refuses(self._conduct, self._transaction.sender, path):
            self._wire.send("451 4.7.1 Greylisted, please come back")
        elif self._conduct.rcpt_code >= 400:
            self._wire.send(f"{self._conduct.rcpt_code} {self._conduct.rcpt_code // 100}.1.1 Not here")
        else:
            self._transaction.recipients.append(path)
            self._transaction.recipient_options.append(options)
            self._wire.send("250 2.1.5 Ok")

    def _data(self) -> None:
        transaction = self._transaction
        if transaction is None or not transaction.recipients:
            self._wire.send("503 5.5.1 RCPT first")
            return
        self._wire.send("354 Go ahead")
        content = self._wire.content()
        self._transaction = None
        if self._conduct.data_code == 250:
            self._record(transaction, content)
            self._wire.send("250 2.0.0 Ok: recorded")
        else:
            self._wire.send(f"{self._conduct.data_code} {self._conduct.data_code // 100}.3.0 Not now")

    def _record(self, transaction: Transaction, content: bytes) -> None:
        tls = self._wire.tls
        cipher = tls.cipher() if tls else None
        self._recorder.mail(
            {
                "connection": self._number,
                "helo": self._helo,
                "sender": transaction.sender,
                "sender_options": transaction.sender_options,
                "recipients": transaction.recipients,
                "recipient_options": transaction.recipient_options,
                "tls": tls is not None,
                "tls_version": (tls.version() or "") if tls else "",
                "cipher": cipher[0] if cipher else "",
                "content": base64.b64encode(content).decode("ascii"),
            }
        )


_PATH = re.compile(r"^(?:FROM|TO):\s*<(.*?)>\s*(.*)$", re.IGNORECASE)


def _path(argument: str) -> tuple[str, str]:
    """The path and the options of a MAIL or RCPT argument; the argument itself when it has no brackets."""
    found = _PATH.match(argument)
    return (found.group(1), found.group(2)) if found else (argument, "")
