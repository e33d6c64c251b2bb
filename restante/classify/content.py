"""The decoded body of one entity, told from its first bytes: text is scanned, what is sealed is said.

Whatever a part claims to be, its bytes decide: text under the type of an image is scanned, and an archive under the
type of a text is a finding.  Files inside a text (see :mod:`restante.classify.embedded`) are contents of their own.
"""

from __future__ import annotations

import re

from restante.classify.embedded import Embedded
from restante.classify.readings import TextScan
from restante.classify.session import Keeper, Session, Whence

SAMPLE = 1024
MAX_NESTED = 4  # base64 inside base64 inside ...

_CONTROL = bytes(set(range(32)) - set(b"\t\n\r\f\x1b\x08"))
# Each by itself: where its first character is not found, nothing else is tried.
_TAG = re.compile(rb"<(?:!doctype|html|head|body|div|table|span|p|br|font)[\s/>]", re.IGNORECASE)
_REFERENCE = re.compile(rb"&#x?[0-9a-f]{2,6};", re.IGNORECASE)
_MAGIC = (
    (b"%PDF-", "PDF"),
    (b"\xd0\xcf\x11\xe0", "Office document"),
    (b"PK\x03\x04", "ZIP archive or Office document"),
    (b"Rar!\x1a", "RAR archive"),
    (b"7z\xbc\xaf\x27\x1c", "7-Zip archive"),
    (b"\x1f\x8b", "gzip archive"),
    (b"BZh", "bzip2 archive"),
    (b"\xfd7zXZ", "xz archive"),
    (b"-----BEGIN PGP MESSAGE", "encrypted message"),
    (b"\x78\x9f\x3e\x22", "TNEF (winmail.dat)"),
    (b"\x00\x05\x16\x00", "AppleSingle file"),
)
_MAGIC_BYTES = tuple(magic for magic, _ in _MAGIC)


class Content:
    """One decoded body.  Feed it pieces of any size, then close it; the outcome does not depend on their sizes."""

    def __init__(
        self,
        session: Session,
        place: str,
        charsets: tuple[str, ...] = (),
        *,
        textual: bool = False,
        html: bool = False,
        joined: bool = False,
        decoding: str = "",
        nested: int = 0,
        attached: Whence | None = None,
    ) -> None:
        self._session, self._place, self._charsets = session, place, charsets
        self._textual, self._html, self._joined, self._decoding = textual, html, joined, decoding
        self._nested = nested
        self._attached = attached
        self._head: list[bytes] | None = []
        self._size = 0
        self._scan: TextScan | None = None
        self._embedded: Embedded | None = None
        self._kept: Keeper | None = None

    def feed(self, data: bytes) -> None:
        """More of the body."""
        if self._head is None:
            self._pass_on(data)
            return
        self._head.append(data)
        self._size += len(data)
        if self._size >= SAMPLE:
            self._decide()

    def close(self) -> None:
        """The body is complete."""
        if self._head is not None:
            self._decide()
        if self._scan:
            self._scan.close()
        if self._embedded:
            self._embedded.close()
        if self._kept:
            self._kept.close()

    def _decide(self) -> None:
        data = b"".join(self._head or ())
        self._head = None
        sample = data[:SAMPLE]
        text = looks_like_text(sample)
        if data and (self._attached or not text):
            self._keep(sample)
        if self._textual or text:
            html = self._html or bool(_TAG.search(sample) or _REFERENCE.search(sample))
            html = html or (not self._textual and b"<" in sample)
            self._scan = self._session.text(
                self._place,
                self._charsets,
                html=html,
                source_is_shown=not self._html,
                joined=self._joined,
                decoding=self._decoding,
            )
            if self._nested < MAX_NESTED:
                self._embedded = Embedded(self._inner, self._opaque)
        self._pass_on(data)

    def _keep(self, sample: bytes) -> None:
        """Have it read by an extractor when it is complete; without one, say what could not be read."""
        if self._session.inspector:
            self._kept = self._session.inspector.keep(self._attached or Whence(self._place))
        elif reason := sealed(sample):
            self._session.opaque(reason, self._place)

    def _pass_on(self, data: bytes) -> None:
        if self._scan:
            self._scan.feed(data)
        if self._kept:
            self._kept.feed(data)
        if self._embedded:
            self._embedded.feed(data)

    def _inner(self, decoding: str) -> Content | None:
        if not self._session.may_open():
            return None
        whole = f"{self._decoding}, {decoding}" if self._decoding else decoding
        return Content(self._session, self._place, self._charsets, decoding=whole, nested=self._nested + 1)

    def _opaque(self, reason: str) -> None:
        self._session.opaque(reason, self._place)


def looks_like_text(sample: bytes) -> bool:
    """Whether a body that begins with ``sample`` is text of some charset."""
    if sample.startswith((b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf")):
        return True
    if sample.startswith(_MAGIC_BYTES):
        return False
    return bool(sample.strip()) and len(sample.translate(None, _CONTROL)) == len(sample)


def sealed(sample: bytes) -> str:
    """Why the content of a known format cannot be looked into; empty for formats that carry no text."""
    if sample.startswith(b"PK\x03\x04") and len(sample) > 6 and sample[6] & 1:
        return "encrypted ZIP archive"
    return next((f"{what}: not looked into" for magic, what in _MAGIC if sample.startswith(magic)), "")
