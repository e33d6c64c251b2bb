"""One SMTP client connection for probing: reply reading with hard limits, and STARTTLS on the same socket.

TLS runs over memory BIOs, so that every byte the peer sends before the handshake is seen: bytes that follow the
220 to STARTTLS in clear are :attr:`Wire.pending`, and never reach the TLS engine (RFC 3207, section 6).

Guarantees: no method waits without a bound of its caller, none buffers more than 64 KiB; what the peer does wrong
is one of the errors below, or ``OSError`` and ``ssl.SSLError``.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from dataclasses import dataclass
from typing import Final, Self

MAX_LINE: Final = 4096
MAX_REPLY: Final = 65_536
_CHUNK: Final = 16_384
_CODE: Final = re.compile(rb"[2-5][0-9][0-9]")


class WireError(Exception):
    """The peer's bytes are no SMTP reply.  What the peer can do is then not known."""


class ConnectionEndedError(WireError):
    """The peer closed the connection in the middle of an exchange."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One complete SMTP reply (RFC 5321, section 4.2): its code and the text of each line."""

    code: int
    lines: tuple[str, ...]

    def __str__(self) -> str:
        """Code and first line, printable and short enough for a report."""
        text = "".join(c if c.isprintable() else "?" for c in self.lines[0])
        return f"{self.code} {text[:120]}".rstrip()

    def offers(self, keyword: str) -> bool:
        """Whether an EHLO reply lists ``keyword``; the first line is only a greeting (RFC 5321, section 4.1.1.1)."""
        return any(line.split(" ", 1)[0].strip().upper() == keyword for line in self.lines[1:])


class Wire:
    """A connected socket, first in clear, then perhaps under TLS.  Close it in any case."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._loop = asyncio.get_running_loop()
        self._buffer = bytearray()
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls: ssl.SSLObject | None = None

    @classmethod
    async def connect(cls, address: str, port: int, source_address: str = "") -> Self:
        """Connect to a numeric address.  Raises ``OSError`` when that cannot be done."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            if source_address and (":" in source_address) == (family is socket.AF_INET6):
                sock.bind((source_address, 0))
            await asyncio.get_running_loop().sock_connect(sock, (address, port))
        except BaseException:  # a cancelled connect must not leak its socket
            sock.close()
            raise
        return cls(sock)

    def close(self) -> None:
        """Drop the connection at once."""
        self._sock.close()

    @property
    def pending(self) -> bytes:
        """What the peer has sent beyond the last reply."""
        return bytes(self._buffer)

    async def command(self, text: str) -> Reply:
        """Send one command and read its reply."""
        await self._send(text.encode("ascii") + b"\r\n")
        return await self.reply()

    async def reply(self) -> Reply:
        """Read one reply.  Raises :class:`WireError` when it is none, too long or cut short."""
        lines: list[str] = []
        code, size = 0, 0
        while True:
            line = await self._line()
            size += len(line)
            digits, mark = line[:3], line[3:4]
            if not _CODE.fullmatch(digits) or mark not in (b"", b" ", b"-"):
                raise WireError(f"not an SMTP reply: {line[:40].decode('latin-1')!a}")
            if lines and int(digits) != code:
                raise WireError("reply changes its code half-way")
            if size > MAX_REPLY:
                raise WireError("reply is too long")
            code = int(digits)
            lines.append(line[4:].decode("latin-1"))
            if mark != b"-":
                return Reply(code, tuple(lines))

    async def handshake(self, context: ssl.SSLContext, server_name: str | None) -> ssl.SSLObject:
        """Do the TLS handshake.  A failure is ``ssl.SSLError``, ``OSError`` or :class:`ConnectionEndedError`."""
        tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_name)
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                await self._flush()
                self._incoming.write(await self._receive())
            except ssl.SSLError:
                await self._flush()  # the alert tells the peer's operator what we disliked
                raise
        await self._flush()
        self._tls = tls
        return tls

    async def _line(self) -> bytes:
        while (end := self._buffer.find(b"\n")) < 0:
            if len(self._buffer) > MAX_LINE:
                raise WireError("reply line is too long")
            self._buffer += await self._read()
        if end > MAX_LINE:
            raise WireError("reply line is too long")
        line = bytes(self._buffer[:end]).rstrip(b"\r")
        del self._buffer[: end + 1]
        return line

    async def _read(self) -> bytes:
        while self._tls is not None:
            try:
                data = self._tls.read(_CHUNK)
            except ssl.SSLWantReadError:
                await self._flush()
                self._incoming.write(await self._receive())
                continue
            except ssl.SSLZeroReturnError:
                data = b""
            if not data:
                raise ConnectionEndedError("peer closed the connection")
            return data
        return await self._receive()

    async def _receive(self) -> bytes:
        data = await self._loop.sock_recv(self._sock, _CHUNK)
        if not data:
            raise ConnectionEndedError("peer closed the connection")
        return data

    async def _send(self, data: bytes) -> None:
        if self._tls is None:
            await self._loop.sock_sendall(self._sock, data)
        else:
            self._tls.write(data)
            await self._flush()

    async def _flush(self) -> None:
        if data := self._outgoing.read():
            await self._loop.sock_sendall(self._sock, data)
