"""Files that stand inside a text: runs of base64 lines, uuencode, yEnc and data: addresses (RFC 2397).

Mail that was quoted, bounced or damaged carries them, old programs made attachments of them, and readers decode some.
What is decoded goes to sinks that the caller opens, or refuses to; what is recognised but not decoded here, to
``opaque``.  Nothing raises on any bytes; one line or 256 KiB of it are in memory at a time.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable
from typing import Protocol

from restante.classify.text import occurs
from restante.classify.transfer import Base64, Decoder

_LONGEST = 1 << 18

# Nearly always there is nothing.  What a pattern begins with is looked for at once, hence the line end before a line.
_FIRST_LINE = occurs(
    rb"(?m)\n[> \t]*(?:[A-Za-z0-9+/]{20,}={0,2}[ \t\r]*$|begin [0-7]{3,4} |begin-base64 |=ybegin |\(This file must be )"
)
# Shorter first lines of a run are words.
_FIRST = re.compile(rb"[A-Za-z0-9+/]{20,}={0,2}[ \t\r]*\Z")
_FIRST_KEEN = re.compile(rb"[A-Za-z0-9+/]{12,}={0,3}[ \t\r]*\Z")
_LINE = re.compile(rb"[A-Za-z0-9+/]+={0,3}[ \t\r]*\Z")
_URL_SAFE_LINE = re.compile(rb"[A-Za-z0-9_-]+={0,3}[ \t\r]*\Z")
_URI = re.compile(rb";base64,[ \t\r\n]*")
_URI_END = re.compile(rb"[^A-Za-z0-9+/=%\s]")
_YENC = bytes((value - 42) % 256 for value in range(256))
_YENC_ESCAPE = re.compile(rb"=(.)", re.DOTALL)


class Sink(Protocol):
    """Where the bytes of one file go."""

    def feed(self, data: bytes) -> None:
        """More of the file."""

    def close(self) -> None:
        """The file is complete."""


Open = Callable[[str], Sink | None]
Opaque = Callable[[str], None]


class _Uuencode:
    """The lines of a uuencoded file (POSIX.1-2017, uuencode)."""

    defect = ""

    def feed(self, data: bytes) -> bytes:
        """The bytes of one line."""
        line = data.rstrip(b"\r\n")
        if not line:
            return b""
        try:
            return binascii.a2b_uu(line)
        except binascii.Error:
            # Lines that gained or lost trailing characters on their way: what the length says counts.
            size = ((line[0] - 32) & 63) * 4 // 3 + 3
            try:
                return binascii.a2b_uu(line[: 1 + size // 4 * 4])
            except binascii.Error:
                return b""

    def close(self) -> bytes:
        """Nothing."""
        return b""


class _Yenc:
    """The lines of a yEnc file."""

    defect = ""

    def feed(self, data: bytes) -> bytes:
        """The bytes of one line."""
        line = data.rstrip(b"\r\n")
        if line.startswith(b"=ypart"):
            return b""
        if b"=" in line:
            line = _YENC_ESCAPE.sub(lambda found: bytes(((found.group(1)[0] - 64) % 256,)), line)
        return line.translate(_YENC)

    def close(self) -> bytes:
        """Nothing."""
        return b""


class _UrlSafe(Base64):
    """base64 in the alphabet of addresses (RFC 4648, section 5), and with padding that ends nothing."""

    def feed(self, data: bytes) -> bytes:
        """The bytes of all complete quanta."""
        return super().feed(data.translate(_TO_STANDARD, b"="))


_TO_STANDARD = bytes.maketrans(b"-_", b"+/")


class Embedded:
    """Looks for files in one text.  Feed it the bytes of the text, then close it.

    ``keen`` takes shorter lines for base64 as well, and the alphabet of addresses: for bytes that nobody understood.
    """

    def __init__(self, open_sink: Open, opaque: Opaque, *, keen: bool = False) -> None:
        self._open, self._opaque, self._keen = open_sink, opaque, keen
        self._carry: list[bytes] = []
        self._held = 0
        self._sink: Sink | None = None
        self._decoder: Decoder = Base64()
        self._end = b""
        self._urls = _DataAddresses(open_sink)

    def feed(self, data: bytes) -> None:
        """More of the text."""
        self._carry.append(data)
        self._held += len(data)
        if b"\n" not in data and self._held < _LONGEST:
            return
        text = b"".join(self._carry)
        end = text.rfind(b"\n") + 1 or len(text)
        self._carry, self._held = [text[end:]], len(text) - end
        self._scan(text[:end])

    def close(self) -> None:
        """The text is complete."""
        self._scan(b"".join(self._carry))
        self._carry = []
        self._stop()
        self._urls.close()

    def _scan(self, text: bytes) -> None:
        if not text:
            return
        if b"-----BEGIN PGP MESSAGE" in text:
            self._opaque("encrypted message")
        if self._urls.inside or b";base64," in text:
            self._urls.feed(text)
        if self._sink is None and not self._keen and not _FIRST_LINE(b"\n" + text):
            return
        for line in text.removesuffix(b"\n").split(b"\n"):
            self._line(line)

    def _line(self, line: bytes) -> None:
        if line[:1] in b"> \t" and line:
            line = line.lstrip(b"> \t")
        if self._sink is not None:
            if self._goes_on(line):
                self._sink.feed(self._decoder.feed(line + b"\n"))
                return
            self._stop()
        if line.startswith((b"begin ", b"begin-base64 ", b"=ybegin ")):
            self._begin(line)
        elif line.startswith(b"(This file must be converted with BinHex"):
            self._opaque("BinHex file: not looked into")
        else:
            self._base64(line)

    def _goes_on(self, line: bytes) -> bool:
        if self._end:
            return line.rstrip(b"\r") != self._end and not line.startswith(b"=yend")
        return bool(_LINE.match(line)) or (isinstance(self._decoder, _UrlSafe) and bool(_URL_SAFE_LINE.match(line)))

    def _begin(self, line: bytes) -> None:
        if line.startswith(b"begin-base64 "):
            self._start("base64 inside the text", Base64(), b"====")
        elif line.startswith(b"=ybegin "):
            self._start("yEnc inside the text", _Yenc(), b"=yend")
        elif re.match(rb"begin [0-7]{3,4} \S", line):
            self._start("uuencode inside the text", _Uuencode(), b"end")

    def _base64(self, line: bytes) -> None:
        if (_FIRST_KEEN if self._keen else _FIRST).match(line):
            self._start("base64 inside the text", Base64(), b"")
        elif self._keen and len(line) >= 12 and _URL_SAFE_LINE.match(line) and line.strip(b"-_\r"):
            self._start("base64 inside the text", _UrlSafe(), b"")
        else:
            return
        if self._sink:
            self._sink.feed(self._decoder.feed(line + b"\n"))

    def _start(self, decoding: str, decoder: Decoder, end: bytes) -> None:
        self._sink, self._decoder, self._end = self._open(decoding), decoder, end

    def _stop(self) -> None:
        if self._sink is not None:
            self._sink.feed(self._decoder.close())
            self._sink.close()
            self._sink = None


class _DataAddresses:
    """The base64 of data: addresses, wherever in a text they stand."""

    def __init__(self, open_sink: Open) -> None:
        self._open = open_sink
        self._sink: Sink | None = None
        self._decoder = Base64()

    @property
    def inside(self) -> bool:
        """Whether an address has begun and not ended."""
        return self._sink is not None

    def feed(self, text: bytes) -> None:
        """More of the text, in whole lines or large pieces."""
        position = 0
        while True:
            if self._sink is None:
                match = _URI.search(text, position)
                if match is None:
                    return
                position = match.end()
                self._sink, self._decoder = self._open("data: address"), Base64()
                if self._sink is None:
                    return
            end = _URI_END.search(text, position)
            run = text[position : end.start() if end else len(text)]
            # Base64 in an address may itself be percent-encoded.
            run = run.replace(b"%2B", b"+").replace(b"%2F", b"/").replace(b"%3D", b"=")
            self._sink.feed(self._decoder.feed(run))
            if end is None:
                return
            position = end.start()
            self.close()

    def close(self) -> None:
        """The address or the text ended."""
        if self._sink is not None:
            self._sink.feed(self._decoder.close())
            self._sink.close()
            self._sink = None
