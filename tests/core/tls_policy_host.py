"""An HTTPS server for MTA-STS policies on loopback, with every way to fail."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from typing import Self


class PolicyHost:
    """Answers every request with ``answer`` (whole HTTP response), after ``fault``.

    Faults: ``silent`` never answers, ``drip`` sends a byte at a time, ``endless`` sends a body without an end.
    """

    def __init__(self, context: ssl.SSLContext, address: str = "127.0.0.1") -> None:
        self._context = context
        self._address = address
        self._listener: socket.socket | None = None
        self._sessions: set[asyncio.Task[None]] = set()
        self.answer = b""
        self.fault = ""
        self.requests: list[bytes] = []
        self.port = 0

    def on(self, listener: socket.socket) -> Self:
        """Use a listening socket that exists already, perhaps in another network namespace."""
        self._listener = listener
        return self

    async def __aenter__(self) -> Self:
        listener = self._listener or socket.create_server((self._address, 0))
        self._server = await asyncio.start_server(self._accept, sock=listener, ssl=self._context)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._sessions:
            task.cancel()
        await asyncio.gather(*self._sessions, return_exceptions=True)
        await self._server.wait_closed()

    def serve(self, body: str | bytes, *, status: str = "200 OK", kind: str = "text/plain", more: str = "") -> None:
        """Answer with ``body`` from now on."""
        data = body.encode() if isinstance(body, str) else body
        typed = f"Content-Type: {kind}\r\n" if kind else ""
        head = f"HTTP/1.1 {status}\r\n{typed}{more}Content-Length: {len(data)}\r\nConnection: close\r\n\r\n"
        self.answer = head.encode() + data
        self.fault = ""

    def policy(self, *mx: str, mode: str = "enforce", max_age: int = 86_400 * 7) -> None:
        """Answer with a sound policy from now on."""
        fields = ["version: STSv1", f"mode: {mode}", *(f"mx: {name}" for name in mx), f"max_age: {max_age}"]
        self.serve("\r\n".join(fields) + "\r\n")

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._session(reader, writer))
        self._sessions.add(task)
        task.add_done_callback(self._sessions.discard)

    async def _session(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                self.requests.append(await reader.readuntil(b"\r\n\r\n"))
                await self._respond(writer)
        finally:
            writer.transport.abort()

    async def _respond(self, writer: asyncio.StreamWriter) -> None:
        if self.fault == "silent":
            await asyncio.sleep(60)
        elif self.fault == "drip":
            for byte in self.answer:
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(0.05)
        elif self.fault == "endless":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n")
            while True:
                writer.write(b"mx: a.example\n" * 1000)
                await writer.drain()
        else:
            writer.write(self.answer)
            await writer.drain()
            writer.close()
            await writer.wait_closed()
