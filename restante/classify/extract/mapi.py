"""Properties of Outlook ([MS-OXPROPS]) and what is packed in them: compressed RTF ([MS-OXRTFCP]), attachments."""

from __future__ import annotations

from dataclasses import dataclass, field

from restante.classify.extract.job import Job, Part
from restante.classify.extract.limits import Unreadable

STRING8, UNICODE, BINARY, OBJECT = 0x001E, 0x001F, 0x0102, 0x000D
BODY_HTML, BODY_RTF = 0x1013, 0x1009
ATTACH_DATA, ATTACH_LONG_NAME, ATTACH_NAME = 0x3701, 0x3707, 0x3704

_RTF_BEGINNING = (
    b"{\\rtf1\\ansi\\mac\\deff0\\deftab720{\\fonttbl;}{\\f0\\fnil \\froman \\fswiss \\fmodern \\fscript "
    b"\\fdecor MS Sans SerifSymbolArialTimes New RomanCourier{\\colortbl\\red0\\green0\\blue0\r\n\\par "
    b"\\pard\\plain\\f0\\fs20\\b\\i\\u\\tab\\tx"
)
_MOST_RTF = 64 << 20


@dataclass(slots=True)
class Attachment:
    """An attachment as its properties come in."""

    name: str = ""
    content: bytes = field(default=b"", repr=False)


def read_property(job: Job, part: Part, number: int, kind: int, value: bytes, codepage: str = "cp1252") -> None:
    """Say what one property of a message or an attachment holds, where that is text."""
    if kind == UNICODE:
        job.output.write(value.decode("utf-16-le", "replace").rstrip("\0") + "\n")
    elif kind == STRING8:
        job.output.write(value.decode(codepage, "replace").rstrip("\0") + "\n")
    elif number == BODY_HTML and kind == BINARY:
        job.output.text(part.place, markup=True)
        job.output.data(value)
        job.output.text(part.place)
    elif number == BODY_RTF and kind == BINARY:
        content = unpack_rtf(value)
        job.inner(part, content, "body.rtf")
        job.output.text(part.place)


def unpack_rtf(packed: bytes) -> bytes:
    """Compressed RTF, unpacked ([MS-OXRTFCP], section 2.2).  Raises :class:`Unreadable`."""
    size, kind = int.from_bytes(packed[4:8], "little"), packed[8:12]
    if kind == b"MELA":
        return packed[16 : 16 + size]
    if kind != b"LZFu" or size > _MOST_RTF:
        raise Unreadable("damaged compressed RTF")
    window = bytearray(_RTF_BEGINNING.ljust(4096, b"\0"))
    place = len(_RTF_BEGINNING)
    out = bytearray()
    at = 16
    while at < len(packed) and len(out) < size:
        flags = packed[at]
        at += 1
        for bit in range(8):
            if not flags >> bit & 1:
                run = bytearray(packed[at : at + 1])
                at += 1
            else:
                reference = int.from_bytes(packed[at : at + 2], "big")
                at += 2
                begin, length = reference >> 4, (reference & 15) + 2
                if begin == place % 4096:
                    return bytes(out)
                run = bytearray()
                for step in range(length):
                    byte = window[(begin + step) % 4096]
                    run.append(byte)
                    window[(place + step) % 4096] = byte
            for step, byte in enumerate(run):
                window[(place + step) % 4096] = byte
            place += len(run)
            out += run
            if at >= len(packed):
                break
    return bytes(out[:size])
