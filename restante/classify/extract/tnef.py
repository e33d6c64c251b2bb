"""TNEF ([MS-OXTNEF]), the winmail.dat of Outlook: properties with the body, and attachments."""

from __future__ import annotations

from collections.abc import Iterator

from restante.classify.extract.job import Job, Part
from restante.classify.extract.limits import Unreadable
from restante.classify.extract.mapi import (
    ATTACH_DATA,
    ATTACH_LONG_NAME,
    BINARY,
    OBJECT,
    STRING8,
    UNICODE,
    Attachment,
    read_property,
)

_BEGIN_ATTACHMENT, _ATTACHMENT_DATA, _ATTACHMENT_TITLE = 0x9002, 0x800F, 0x8010
_MESSAGE_PROPERTIES, _ATTACHMENT_PROPERTIES, _RECIPIENTS, _CODEPAGE = 0x9003, 0x9005, 0x9004, 0x9007
_TEXTS = frozenset({0x8004, 0x800C, 0x8000, 0x8008, 0x8009, 0x800A})  # subject, body, from, classes
_FIXED = {0x02: 4, 0x03: 4, 0x04: 4, 0x0A: 4, 0x0B: 4, 0x05: 8, 0x06: 8, 0x07: 8, 0x14: 8, 0x40: 8, 0x48: 16, 0x01: 0}
_SIZED = frozenset({STRING8, UNICODE, BINARY, OBJECT})
_IID_MESSAGE = b"\x07\x03\x02\x00\x00\x00\x00\x00\xc0\x00\x00\x00\x00\x00\x00\x46"


def read_tnef(job: Job, part: Part) -> None:
    """The body in all its forms, the properties, and each attachment as a file of its own."""
    codepage = "cp1252"
    current: Attachment | None = None
    for number, data in _attributes(part.content):
        if number == _CODEPAGE and len(data) >= 4:
            codepage = _codepage(int.from_bytes(data[:4], "little"))
        elif number == _BEGIN_ATTACHMENT:
            _finish(job, part, current)
            current = Attachment()
        elif number == _ATTACHMENT_DATA and current is not None:
            current.content = data
        elif number == _ATTACHMENT_TITLE and current is not None:
            current.name = current.name or data.rstrip(b"\0").decode(codepage, "replace")
        elif number in {_MESSAGE_PROPERTIES, _ATTACHMENT_PROPERTIES}:
            inside = current if number == _ATTACHMENT_PROPERTIES else None
            _read_properties(job, part, data, codepage, inside)
        elif number in _TEXTS:
            job.output.say(part.place, data.rstrip(b"\0").decode(codepage, "replace"))
    _finish(job, part, current)


def _codepage(number: int) -> str:
    try:
        b"".decode(f"cp{number}")
    except LookupError:
        return "cp1252"
    return f"cp{number}"


def _finish(job: Job, part: Part, attachment: Attachment | None) -> None:
    if attachment is not None and attachment.content:
        job.inner(part, attachment.content, attachment.name or "attachment")


def _attributes(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Number and data of each attribute (section 2.1.3.3).  Raises :class:`Unreadable` at the first broken one."""
    at = 6
    while at < len(content):
        header = content[at : at + 9]
        size = int.from_bytes(header[5:9], "little")
        if len(header) < 9 or header[0] not in {1, 2} or at + 9 + size > len(content):
            raise Unreadable("damaged winmail.dat")
        yield int.from_bytes(header[1:3], "little"), content[at + 9 : at + 9 + size]
        at += 11 + size


def _read_properties(job: Job, part: Part, data: bytes, codepage: str, inside: Attachment | None) -> None:
    job.output.text(part.place)
    for number, kind, value in _properties(data):
        if inside is not None and number == ATTACH_DATA:
            inside.content = value[16:] if kind == OBJECT and value.startswith(_IID_MESSAGE) else value
        elif inside is not None and number == ATTACH_LONG_NAME:
            charset = "utf-16-le" if kind == UNICODE else codepage
            inside.name = value.decode(charset, "replace").rstrip("\0")
        else:
            read_property(job, part, number, kind, value, codepage)


def _properties(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Number, type and value of each property (section 2.1.3.4)."""
    count, at = int.from_bytes(data[:4], "little"), 4
    for _ in range(min(count, 10_000)):
        kind, number = int.from_bytes(data[at : at + 2], "little"), int.from_bytes(data[at + 2 : at + 4], "little")
        at += 4
        if number >= 0x8000:
            at = _after_name(data, at)
        many, base = bool(kind & 0x1000), kind & 0x0FFF
        values = 1
        if many or base in _SIZED:
            values = int.from_bytes(data[at : at + 4], "little")
            at += 4
        for _ in range(min(values, 10_000)):
            if base in _SIZED:
                size = int.from_bytes(data[at : at + 4], "little")
                at += 4
                yield number, base, data[at : at + size]
                at += (size + 3) // 4 * 4
            elif base in _FIXED:
                at += max(_FIXED[base], 4)
            else:
                raise Unreadable("damaged winmail.dat")
        if at > len(data):
            raise Unreadable("damaged winmail.dat")


def _after_name(data: bytes, at: int) -> int:
    """Where a named property goes on after its name."""
    at += 16
    by_string = int.from_bytes(data[at : at + 4], "little")
    size = int.from_bytes(data[at + 4 : at + 8], "little")
    return at + 8 + (size + 3) // 4 * 4 if by_string else at + 8
