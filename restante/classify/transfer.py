"""Streaming decoders of content transfer encodings (RFC 2045, section 6).

They never raise.  What a strict decoder would refuse is decoded the lenient way, and said in ``defect``.
"""

from __future__ import annotations

import binascii
import re
from typing import Protocol

_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_WHITE = b" \t\r\n"
_PADDED_BREAK = re.compile(rb"=[ \t]+\r?\n")
_BARE_BREAK = re.compile(rb"=\r(?!\n)")
_ODD_BREAK = re.compile(rb"=(?:[ \t]|\r(?!\n))")  # either; nearly no text has one
_NOT_ALPHABET = bytes(set(range(256)) - set(_ALPHABET) - {ord("=")})


class Decoder(Protocol):
    """A decoder that is fed pieces of any size and gives the same bytes whatever the sizes."""

    defect: str

    def feed(self, data: bytes) -> bytes:
        """What can be decoded so far."""
        ...

    def close(self) -> bytes:
        """What was held back."""
        ...


class Identity:
    """7bit, 8bit and binary."""

    def __init__(self) -> None:
        self.defect = ""

    def feed(self, data: bytes) -> bytes:
        """The same bytes."""
        return data

    def close(self) -> bytes:
        """Nothing."""
        return b""


class Base64:
    """base64 (section 6.8).  Padding in mid-stream does not end it: some readers go on, so must we."""

    def __init__(self) -> None:
        self.defect = ""
        self._carry = b""
        self._padded = False

    def feed(self, data: bytes) -> bytes:
        """The bytes of all complete quanta."""
        data = data.translate(None, _WHITE)
        clean = data.translate(None, _NOT_ALPHABET)
        if len(clean) != len(data):
            self.defect = self.defect or "characters outside the base64 alphabet"
        if not clean:
            return b""
        out: list[bytes] = []
        runs = clean.split(b"=")
        for index, run in enumerate(runs):
            if run and self._padded:
                self.defect = self.defect or "base64 padding in mid-stream"
                self._padded = False
            self._carry += run
            if index < len(runs) - 1:
                out.append(_lenient(self._carry))
                self._carry, self._padded = b"", True
        whole = len(self._carry) // 4 * 4
        out.append(binascii.a2b_base64(self._carry[:whole]))
        self._carry = self._carry[whole:]
        return b"".join(out)

    def close(self) -> bytes:
        """The last, incomplete quantum."""
        carry, self._carry = self._carry, b""
        return _lenient(carry)


def _lenient(run: bytes) -> bytes:
    """Decode ``run`` without its padding; a lone last character carries no whole byte and is dropped."""
    if len(run) % 4 == 1:
        run = run[:-1]
    return binascii.a2b_base64(run + b"=" * (-len(run) % 4))


class QuotedPrintable:
    """quoted-printable (section 6.7).  Stray equals signs stand for themselves, as readers have it."""

    _LONGEST = 1 << 16

    def __init__(self) -> None:
        self.defect = ""
        self._carry = b""

    def feed(self, data: bytes) -> bytes:
        """The bytes of all complete lines."""
        data = self._carry + data
        end = data.rfind(b"\n") + 1
        if not end and len(data) < self._LONGEST:
            self._carry = data
            return b""
        if not end:
            equals = data.rfind(b"=", len(data) - 2)
            end = equals if equals >= 0 else len(data)
        self._carry = data[end:]
        return self._decode(data[:end])

    def close(self) -> bytes:
        """The last line."""
        carry, self._carry = self._carry, b""
        return self._decode(carry)

    def _decode(self, data: bytes) -> bytes:
        if not _ODD_BREAK.search(data):
            return binascii.a2b_qp(data)
        # White space at the end of a line was added on the way (RFC 2045, section 6.7, rule 3).
        data = _PADDED_BREAK.sub(b"=\n", data)
        if _BARE_BREAK.search(data):
            # Python's decoder would drop the rest of the line; some readers take it for a soft break, others do not.
            self.defect = self.defect or "a bare carriage return in quoted-printable"
            data = _BARE_BREAK.sub(b"=\n", data)
        return binascii.a2b_qp(data)


def decoder_for(encoding: str) -> Decoder:
    """The decoder of a content transfer encoding, which is in lower case; identity for any other."""
    if encoding == "base64":
        return Base64()
    if encoding == "quoted-printable":
        return QuotedPrintable()
    return Identity()
