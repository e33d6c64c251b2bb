"""The bytes of a message as they are: the last reading, for messages that readers take apart in different ways."""

from __future__ import annotations

from typing import BinaryIO

from restante.classify.content import Content
from restante.classify.embedded import Embedded
from restante.classify.session import Session
from restante.classify.transfer import QuotedPrintable

PLACE = "structure"


def scan_raw(session: Session, source: BinaryIO, block: int) -> None:
    """Scan ``source`` from where it stands as text, as quoted-printable, and every file that stands in it.

    The bytes repeat what was found in its proper place; such findings are not reported again.
    """
    plain = session.text(PLACE, html=True, decoding="raw bytes")
    printable = session.text(PLACE, html=True, decoding="raw bytes as quoted-printable")
    quoted = QuotedPrintable()

    def inner(decoding: str) -> Content | None:
        if not session.may_open():
            return None
        return Content(session, PLACE, html=True, decoding=f"raw bytes, {decoding}", nested=1)

    def opaque(reason: str) -> None:
        session.opaque(reason)

    files = Embedded(inner, opaque, keen=True)
    while data := source.read(block):
        plain.feed(data)
        printable.feed(quoted.feed(data))
        files.feed(data)
    printable.feed(quoted.close())
    for reading in (plain, printable, files):
        reading.close()
