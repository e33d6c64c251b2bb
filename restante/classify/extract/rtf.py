"""Rich Text Format (Microsoft's specification 1.9.1): all of its text, shown or not, and the objects within."""

from __future__ import annotations

import binascii
import re

from restante.classify.extract.job import Job, Part

_TOKEN = re.compile(
    rb"\\(?P<word>[a-zA-Z]{1,32})(?P<number>-?[0-9]{1,10})?[ ]?"
    rb"|\\'(?P<hex>[0-9a-fA-F]{2})"
    rb"|\\(?P<symbol>[^a-zA-Z'])"
    rb"|(?P<brace>[{}])"
    rb"|(?P<text>[^\\{}\r\n]+)"
    rb"|[\r\n]+|\\"
)
_BREAKS = {b"par": "\n", b"line": "\n", b"row": "\n", b"sect": "\n", b"page": "\n", b"tab": "\t", b"cell": "\t"}
_SIGNS = {b"emdash": "-", b"endash": "-", b"lquote": "'", b"rquote": "'", b"ldblquote": '"', b"rdblquote": '"'}
# Destinations that hold no text: tables of fonts and colours.
_MUTE = frozenset(
    {b"fonttbl", b"colortbl", b"stylesheet", b"listtable", b"rsidtbl", b"themedata", b"colorschememapping"}
)
_DATA = frozenset({b"pict", b"objdata", b"datastore"})
_SYMBOLS = {b"~": " ", b"_": "-", b"-": "", b"*": "", b"\n": "\n", b"\r": "\n"}
_MOST_DATA = 64 << 20
_EMBEDDED = (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", b"PK\x03\x04", b"%PDF-", b"{\\rtf", b"\x89PNG", b"\xff\xd8\xff")


def read_rtf(job: Job, part: Part) -> None:
    """The text of an RTF file; objects are read as files of their own."""
    begin = max(part.content.find(b"{\\rtf"), 0)
    reader = _Rtf(job, part)
    reader.read(part.content[begin:])


class _Rtf:
    """The state while reading: what the innermost group is for, its code page, its count of fallback characters."""

    def __init__(self, job: Job, part: Part) -> None:
        self._job, self._part = job, part
        self._codepage = "cp1252"
        self._kind = "text"
        self._fallback = 1
        self._skip = 0
        self._stack: list[tuple[str, int]] = []
        self._bytes = bytearray()
        self._data = bytearray()
        self._objects = 0

    def read(self, content: bytes) -> None:
        """Read all of it; a group that never ends ends with the file."""
        self._job.output.text(self._part.place)
        at = 0
        while at < len(content):
            token = _TOKEN.match(content, at)
            if token is None:
                break
            at = token.end()
            if token.lastgroup == "word" or token["word"]:
                at += self._word(token["word"], token["number"])
            elif token["brace"]:
                self._brace(token["brace"])
            elif token["hex"]:
                self._characters(binascii.unhexlify(token["hex"]))
            elif token["text"]:
                self._characters(token["text"])
            elif token["symbol"]:
                self._say(_SYMBOLS.get(token["symbol"], token["symbol"].decode("latin-1")))
        self._flush()
        self._object()

    def _brace(self, brace: bytes) -> None:
        self._flush()
        self._skip = 0
        if brace == b"{":
            if len(self._stack) < 10_000:
                self._stack.append((self._kind, self._fallback))
            return
        if self._kind == "data":
            self._object()
        if self._stack:
            self._kind, self._fallback = self._stack.pop()

    def _word(self, word: bytes, number: bytes | None) -> int:
        """One control word; how many bytes after it are its own."""
        if word == b"bin":
            return min(max(int(number or b"0"), 0), _MOST_DATA)
        if word == b"u" and number:
            self._unicode(int(number))
        elif word == b"uc" and number:
            self._fallback = min(max(int(number), 0), 8)
        elif word == b"ansicpg" and number:
            self._codepage = f"cp{int(number)}"
        elif word in _DATA:
            self._kind = "data"
        elif word in _MUTE:
            self._kind = "mute"
        elif word in _BREAKS:
            self._say(_BREAKS[word])
        elif word in _SIGNS:
            self._say(_SIGNS[word])
        return 0

    def _unicode(self, number: int) -> None:
        self._flush()
        number %= 65536
        if self._kind == "text" and not 0xD800 <= number < 0xE000:
            self._job.output.write(chr(number))
        self._skip = self._fallback

    def _characters(self, data: bytes) -> None:
        if self._kind == "data":
            if len(self._data) < _MOST_DATA:
                self._data += data
            return
        skipped = min(self._skip, len(data))
        self._skip -= skipped
        if self._kind == "text":
            self._bytes += data[skipped:]

    def _say(self, text: str) -> None:
        if self._kind == "text":
            self._flush()
            self._job.output.write(text)

    def _flush(self) -> None:
        if not self._bytes:
            return
        try:
            text = self._bytes.decode(self._codepage, "replace")
        except LookupError:
            text = self._bytes.decode("cp1252", "replace")
        self._bytes.clear()
        self._job.output.write(text)

    def _object(self) -> None:
        """What a picture or an object in hexadecimal holds."""
        digits = re.sub(rb"[^0-9a-fA-F]", b"", self._data)
        self._data.clear()
        data = binascii.unhexlify(digits[: len(digits) // 2 * 2])
        starts = [at for magic in _EMBEDDED if (at := data.find(magic)) >= 0]
        if not data:
            return
        self._objects += 1
        self._job.inner(self._part, data[min(starts) :] if starts else data, f"object {self._objects}")
        self._job.output.text(self._part.place)
