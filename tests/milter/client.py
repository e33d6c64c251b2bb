"""A small client of the milter protocol (version 6), as an MTA speaks it, that can also speak it wrongly.

Packets are a length, a command letter and data; the letters are those of ``libmilter/mfapi.h`` and ``mfdef.h``.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

VERSION = 6
ALL_ACTIONS, ALL_STEPS = 0x1FF, 0x1FFFFF

ACCEPT, CONTINUE, DISCARD, REJECT, TEMPFAIL, REPLY, PROGRESS = b"a", b"c", b"d", b"r", b"t", b"y", b"p"
FINAL = {ACCEPT, CONTINUE, DISCARD, REJECT, TEMPFAIL, REPLY}
ADD_HEADER, CHANGE_HEADER, DELETE_RECIPIENT = b"h", b"m", b"-"

# Command, the bit that says "do not send it", the bit that says "I will not answer".
_STEPS = {
    b"C": (0x1, 0x1000),
    b"H": (0x2, 0x2000),
    b"M": (0x4, 0x4000),
    b"R": (0x8, 0x8000),
    b"T": (0x200, 0x10000),
    b"L": (0x20, 0x80),
    b"N": (0x40, 0x40000),
    b"B": (0x10, 0x80000),
    b"E": (0, 0),
}
_BODY_PIECE = 65_535


@dataclass(slots=True)
class Answer:
    """What the milter said: the final letter, the text of a reply, and what it asked the MTA to change."""

    letter: bytes
    text: str = ""
    added: list[tuple[str, str]] = field(default_factory=list)
    changed: list[tuple[str, str]] = field(default_factory=list)
    deleted: list[bytes] = field(default_factory=list)

    @property
    def deferred(self) -> bool:
        """Whether the client of the MTA is told to try again."""
        return self.letter == TEMPFAIL or (self.letter == REPLY and self.text.startswith("4"))


class MilterClient:
    """One connection.  Raises ``OSError`` when the milter closes it or is silent for ``timeout`` seconds."""

    def __init__(self, path: Path, *, timeout: float = 30) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(timeout)
        self._socket.connect(str(path))
        self._steps = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Hang up without a word."""
        self._socket.close()

    def raw(self, data: bytes) -> None:
        """Send bytes as they are."""
        self._socket.sendall(data)

    def packet(self, command: bytes, data: bytes = b"") -> None:
        """Send one packet."""
        self.raw(struct.pack("!I", len(data) + 1) + command + data)

    def read(self) -> tuple[bytes, bytes]:
        """The next packet: letter and data."""
        (length,) = struct.unpack("!I", self._exactly(4))
        packet = self._exactly(length)
        return packet[:1], packet[1:]

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            piece = self._socket.recv(count - len(data))
            if not piece:
                raise ConnectionResetError("the milter closed the connection")
            data += piece
        return data

    def negotiate(self) -> None:
        """Agree on the options."""
        self.packet(b"O", struct.pack("!III", VERSION, ALL_ACTIONS, ALL_STEPS))
        letter, data = self.read()
        assert letter == b"O"
        _, _, self._steps = struct.unpack("!III", data[:12])

    def step(self, command: bytes, data: bytes = b"") -> Answer:
        """Send one command where the milter wants it, and read its answer where it gives one."""
        unwanted, unanswered = _STEPS[command]
        if self._steps & unwanted:
            return Answer(CONTINUE)
        self.packet(command, data)
        return Answer(CONTINUE) if self._steps & unanswered else self.answer()

    def answer(self) -> Answer:
        """Read up to the final packet."""
        answer = Answer(b"")
        while True:
            letter, data = self.read()
            if letter in FINAL:
                answer.letter = letter
                answer.text = data.rstrip(b"\0").decode() if letter == REPLY else ""
                return answer
            _note(answer, letter, data)

    def open(self) -> None:
        """Negotiation, connect and HELO."""
        self.negotiate()
        self.step(b"C", b"client.example\x004" + struct.pack("!H", 40000) + b"192.0.2.1\0")
        self.step(b"H", b"client.example\0")

    def envelope(self, sender: str, recipients: Sequence[str], *, queue_id: str = "QUEUEID") -> Answer:
        """MAIL and RCPT; the first answer that is not CONTINUE ends it."""
        answer = self.step(b"M", f"<{sender}>\0".encode())
        for recipient in recipients:
            if answer.letter != CONTINUE:
                return answer
            self.packet(b"D", b"Ri\0" + queue_id.encode() + b"\0")
            answer = self.step(b"R", f"<{recipient}>\0".encode())
        return answer

    def content(self, content: bytes) -> None:
        """Header fields and body, up to the end of message."""
        head, _, body = content.partition(b"\r\n\r\n")
        self.step(b"T")
        for line in head.split(b"\r\n"):
            name, _, value = line.partition(b": ")
            self.step(b"L", name + b"\0" + value + b"\0")
        self.step(b"N")
        for start in range(0, len(body), _BODY_PIECE):
            self.step(b"B", body[start : start + _BODY_PIECE])

    def message(self, content: bytes, sender: str, recipients: Sequence[str]) -> Answer:
        """A whole message in an open connection."""
        answer = self.envelope(sender, recipients)
        if answer.letter != CONTINUE:
            return answer
        self.content(content)
        return self.step(b"E")

    def quit(self) -> None:
        """End the connection in good order."""
        self.packet(b"Q")
        self.close()


def _note(answer: Answer, letter: bytes, data: bytes) -> None:
    if letter == DELETE_RECIPIENT:
        answer.deleted.append(data.rstrip(b"\0"))
    elif letter == ADD_HEADER:
        name, value, _ = data.split(b"\0", 2)
        answer.added.append((name.decode(), value.decode()))
    elif letter == CHANGE_HEADER:
        name, value, _ = data[4:].split(b"\0", 2)
        answer.changed.append((name.decode(), value.decode()))
    else:
        assert letter == PROGRESS, letter


def ask(path: Path, content: bytes, sender: str, recipients: Sequence[str], *, timeout: float = 30) -> Answer:
    """One message over a connection of its own."""
    with MilterClient(path, timeout=timeout) as client:
        client.open()
        answer = client.message(content, sender, recipients)
        client.quit()
        return answer
