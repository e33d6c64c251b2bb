"""A server for Postfix's socketmap protocol (socketmap_table(5)), over asyncio.

A request is ``<map> <key>``; the answer ``OK <data>``, ``NOTFOUND ``, ``TEMP <reason>``, ``TIMEOUT <reason>`` or
``PERM <reason>``.  Answers keep the order of their requests; requests that arrive together are worked on together,
at most 64 a connection, and no more is read from a client that has so many open or does not read its answers.

Guarantees: a map that fails answers TEMP, so Postfix defers; a malformed netstring closes its connection and no
other; idle connections end.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final, Self

from restante.tls import netstring

_WINDOW: Final = 64
_CHUNK: Final = 65_536

logger = logging.getLogger(__name__)


class Status(StrEnum):
    """The first word of an answer."""

    OK = "OK"
    NOT_FOUND = "NOTFOUND"
    TEMP = "TEMP"
    TIMEOUT = "TIMEOUT"
    PERM = "PERM"


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer.  ``text`` is the data of an OK and the reason of an error."""

    status: Status
    text: str = ""

    @classmethod
    def ok(cls, data: str) -> Self:
        """The key was found."""
        return cls(Status.OK, data)

    @classmethod
    def temp(cls, reason: str) -> Self:
        """Ask again later."""
        return cls(Status.TEMP, reason)

    def encode(self) -> bytes:
        """The answer on the wire.  One that is too long becomes PERM: half an answer would be a wrong one."""
        try:
            return netstring.encode(f"{self.status} {self.text}".encode())
        except netstring.BadNetstring:
            return netstring.encode(b"PERM answer is too long")


Handler = Callable[[str], Awaitable[Reply]]


class SocketmapServer:
    """Serves ``maps`` (name → handler of a key).

    ``idle_timeout`` is in seconds.  Above ``max_clients`` connections, new ones are closed at once.
    """

    def __init__(self, maps: Mapping[str, Handler], *, idle_timeout: float = 300, max_clients: int = 500) -> None:
        self._maps = dict(maps)
        self._idle_timeout = idle_timeout
        self._max_clients = max_clients
        self._servers: list[asyncio.Server] = []
        self._clients: set[asyncio.Task[None]] = set()

    async def listen_unix(self, path: Path, mode: int = 0o660) -> None:
        """Serve on a unix socket with access ``mode``; a socket left over at ``path`` is replaced.

        Raises ``OSError`` when that cannot be done.
        """
        # Bound but not yet listening, so that nobody connects before the access mode is set.
        server = await asyncio.start_unix_server(self._accept, path, start_serving=False)
        _set_mode(path, mode)
        await server.start_serving()
        self._servers.append(server)

    async def listen_tcp(self, host: str, port: int) -> int:
        """Serve on ``host``, a loopback address; the result is the port, for ``port`` 0.  Raises ``OSError``."""
        server = await asyncio.start_server(self._accept, host, port)
        self._servers.append(server)
        bound: int = server.sockets[0].getsockname()[1]
        return bound

    async def close(self) -> None:
        """Stop listening and drop every client."""
        for server in self._servers:
            server.close()
        for task in self._clients:
            task.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)
        for server in self._servers:
            await server.wait_closed()
        self._servers.clear()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._clients) >= self._max_clients:
            logger.warning("socketmap: too many clients")
            writer.close()
            return
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._clients.add(task)
        task.add_done_callback(self._clients.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        window: asyncio.Queue[asyncio.Task[Reply] | None] = asyncio.Queue(_WINDOW)
        answering = asyncio.create_task(self._answer(window, writer))
        try:
            await self._read(reader, window, answering)
        except netstring.BadNetstring as error:
            logger.warning("socketmap: %s", error)
        except (OSError, TimeoutError):
            logger.debug("socketmap: client idle or gone")
        finally:
            await _wind_up(window, answering, writer)

    async def _read(
        self,
        reader: asyncio.StreamReader,
        window: asyncio.Queue[asyncio.Task[Reply] | None],
        answering: asyncio.Task[None],
    ) -> None:
        buffer = bytearray()
        while not answering.done():
            async with asyncio.timeout(self._idle_timeout):
                data = await reader.read(_CHUNK)
            if not data:
                await window.put(None)
                await asyncio.wait([answering])
                return
            buffer += data
            while not answering.done() and (request := netstring.take(buffer)) is not None:
                task = asyncio.create_task(self._handle(request))
                try:
                    await window.put(task)
                except asyncio.CancelledError:
                    task.cancel()
                    raise

    async def _answer(self, window: asyncio.Queue[asyncio.Task[Reply] | None], writer: asyncio.StreamWriter) -> None:
        while (task := await window.get()) is not None:
            try:
                reply = await task
                writer.write(reply.encode())
                async with asyncio.timeout(self._idle_timeout):
                    await writer.drain()
            except (OSError, TimeoutError):
                # Nobody reads: the reader must not wait for room in the window.
                writer.transport.abort()
                _discard(window)
                return
            finally:
                task.cancel()

    async def _handle(self, request: bytes) -> Reply:
        name, space, key = request.partition(b" ")
        handler = self._maps.get(name.decode("latin-1"))
        if handler is None or not space:
            return Reply(Status.PERM, "no such map")
        try:
            return await handler(key.decode())
        except UnicodeDecodeError:
            return Reply(Status.PERM, "key is not UTF-8")
        except Exception:  # request boundary: whatever fails in a map, Postfix must defer and never go on unprotected
            logger.exception("socketmap: map %s failed", name.decode("latin-1"))
            return Reply.temp("internal error; see the log of restante worker")


async def _wind_up(
    window: asyncio.Queue[asyncio.Task[Reply] | None], answering: asyncio.Task[None], writer: asyncio.StreamWriter
) -> None:
    # All that must happen comes before the first await: this runs in tasks that are being cancelled, too.
    answering.cancel()
    _discard(window)
    writer.close()
    await asyncio.gather(answering, return_exceptions=True)
    with contextlib.suppress(OSError):
        await writer.wait_closed()


def _set_mode(path: Path, mode: int) -> None:
    path.chmod(mode)


def _discard(window: asyncio.Queue[asyncio.Task[Reply] | None]) -> None:
    while not window.empty():
        task = window.get_nowait()
        if task is not None:
            task.cancel()
