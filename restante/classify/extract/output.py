"""What an extractor has found, on its way to the service."""

from __future__ import annotations

import socket
from collections.abc import Iterable

from restante.classify.extract.wire import MOST, Kind, encode, encode_fields


class Output:
    """Texts, messages and what could not be read, each with its place inside of the attachment ("" is itself)."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._pending = bytearray()
        self._data = bytearray()
        self._begin = b""  # of a text, which is said when there is any

    def text(self, place: str, charsets: Iterable[str] = (), *, markup: bool = False) -> None:
        """A text begins; what follows by :meth:`data` or :meth:`write` belongs to it."""
        self._close_data()
        self._begin = encode_fields(Kind.TEXT, place, " ".join(charsets), "markup" if markup else "")

    def message(self, place: str) -> None:
        """A message (RFC 5322) begins."""
        self._frame(encode_fields(Kind.MESSAGE, place))

    def sealed(self, place: str, reason: str) -> None:
        """What is in ``place`` cannot be read, or not to its end."""
        self._frame(encode_fields(Kind.SEALED, place, reason))

    def data(self, data: bytes) -> None:
        """Bytes of what began last, in pieces of any size."""
        self._data += data
        if len(self._data) >= MOST:
            self._close_data()

    def write(self, text: str) -> None:
        """The same for text."""
        if text:
            self.data(text.encode("utf-8", "replace"))

    def say(self, place: str, text: str) -> None:
        """A whole text at once."""
        if text.strip():
            self.text(place)
            self.write(text)

    def end(self) -> None:
        """The attachment is done."""
        self._frame(encode(Kind.END))
        self.flush()

    def flush(self) -> None:
        """Send what waits."""
        self._close_data()
        self._send()

    def _frame(self, frame: bytes) -> None:
        self._close_data()
        self._begin = b""
        self._pending += frame
        if len(self._pending) >= MOST:
            self._send()

    def _close_data(self) -> None:
        data, self._data = bytes(self._data), bytearray()
        if data:
            self._pending += self._begin
            self._begin = b""
        for start in range(0, len(data), MOST):
            self._pending += encode(Kind.DATA, data[start : start + MOST])
            if len(self._pending) >= MOST:
                self._send()

    def _send(self) -> None:
        self._channel.sendall(self._pending)
        self._pending.clear()
