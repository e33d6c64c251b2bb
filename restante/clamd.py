"""Asking clamd whether it knows something bad about a file: its INSTREAM command (clamd(8), section COMMANDS).

Whatever is not a clear "OK" or "FOUND" raises :class:`NotScanned`: what was not looked at is not passed on.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterable
from pathlib import Path

from restante.settings import HostPort

CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 60.0
_ANSWER_CAP = 1024
_PIECE = 65_536


class NotScanned(Exception):
    """clamd is not there, too slow, or would not look.  Try later.  The text is for the log."""


class Clamd:
    """A scanner at ``where``: the path of a unix socket, or a TCP endpoint."""

    def __init__(
        self,
        where: Path | HostPort,
        *,
        connect_seconds: float = CONNECT_SECONDS,
        answer_seconds: float = ANSWER_SECONDS,
    ) -> None:
        self._where = where
        self._connect_seconds, self._answer_seconds = connect_seconds, answer_seconds

    def scan(self, content: Iterable[bytes]) -> str:
        """The name of what was found; empty for nothing.  Raises :class:`NotScanned`."""
        try:
            with self._connected() as connection:
                return _verdict(self._ask(connection, content))
        except OSError as error:
            raise NotScanned(f"clamd at {self._where}: {error.strerror or type(error).__name__}") from error

    def _connected(self) -> socket.socket:
        if isinstance(self._where, HostPort):
            return socket.create_connection(self._where, self._connect_seconds)
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(self._connect_seconds)
        try:
            connection.connect(str(self._where))
        except OSError:
            connection.close()
            raise
        return connection

    def _ask(self, connection: socket.socket, content: Iterable[bytes]) -> bytes:
        connection.settimeout(self._answer_seconds)
        try:
            connection.sendall(b"zINSTREAM\0")
            for piece in content:
                for start in range(0, len(piece), _PIECE):
                    part = piece[start : start + _PIECE]
                    connection.sendall(struct.pack("!I", len(part)) + part)
            connection.sendall(struct.pack("!I", 0))
        except (BrokenPipeError, ConnectionResetError):
            pass  # it has said why before it hung up: "size limit exceeded"
        answer = b""
        deadline = time.monotonic() + self._answer_seconds
        while b"\0" not in answer and len(answer) < _ANSWER_CAP and time.monotonic() < deadline:
            received = connection.recv(_ANSWER_CAP)
            if not received:
                break
            answer += received
        return answer


def _verdict(answer: bytes) -> str:
    text = answer.partition(b"\0")[0].decode("utf-8", "replace").strip()
    if text.endswith(" OK"):
        return ""
    if text.endswith(" FOUND"):
        return text.removesuffix(" FOUND").partition(": ")[2] or "unnamed"
    if "size limit exceeded" in text:
        raise NotScanned("clamd: the file is larger than its StreamMaxLength: raise that above portal.reply_max_bytes")
    raise NotScanned(f"clamd answered {text[:100]!r}" if text else "clamd gave no answer")
