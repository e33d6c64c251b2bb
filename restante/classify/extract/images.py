"""Pictures: what their metadata say, and with tesseract what they show.  Whatever follows the picture is read too."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from restante.classify.extract.job import Job, Part
from restante.classify.extract.limits import Unreadable
from restante.classify.extract.plain import say_runs, say_xmp

_EDGE = 256 << 10
_MOST_TEXT = 1 << 20
_PNG_TEXT = frozenset({b"tEXt", b"zTXt", b"iTXt", b"eXIf", b"iCCP"})
_TRAILER = 16  # bytes after a picture's end that no writer leaves by accident


def read_image(job: Job, part: Part) -> None:
    """Metadata: Exif, XMP, IPTC and comments of JPEG, text of PNG, the ends of other formats."""
    content = part.content
    if content.startswith(b"\xff\xd8"):
        metadata, end = _jpeg(content)
    elif content.startswith(b"\x89PNG"):
        metadata, end = _png(job, content)
    elif len(content) <= 2 * _EDGE:
        metadata, end = content, len(content)
    else:
        metadata, end = content[:_EDGE] + b"\n" + content[-_EDGE:], len(content)
    say_runs(job, part.place, metadata)
    say_xmp(job, part.place, content)
    if len(content) - end >= _TRAILER:
        job.inner(part, content[end:], "after the picture")
    if job.limits.ocr:
        from restante.classify.extract.ocr import recognise

        recognise(job, part.place, content)


def _jpeg(content: bytes) -> tuple[bytes, int]:
    """The application and comment segments (ITU T.81, annex B), and where the picture ends."""
    pieces: list[bytes] = []
    at = 2
    while at + 4 <= len(content) and content[at] == 0xFF:
        marker, size = content[at + 1], int.from_bytes(content[at + 2 : at + 4], "big")
        if marker == 0xDA or size < 2:
            break
        if marker == 0xFE or 0xE1 <= marker <= 0xEF:
            pieces.append(content[at + 4 : at + 2 + size])
        at += 2 + size
    end = content.rfind(b"\xff\xd9")
    return b"\n".join(pieces), end + 2 if end >= at else len(content)


def _png(job: Job, content: bytes) -> tuple[bytes, int]:
    """The chunks with text (PNG, third edition, section 11.3.3), and where the picture ends."""
    pieces: list[bytes] = []
    at = 8
    for kind, data in _chunks(content):
        at += 12 + len(data)
        if kind in _PNG_TEXT:
            pieces.extend(_png_text(job, kind, data))
        if kind == b"IEND":
            break
    return b"\n".join(pieces), min(at, len(content))


def _chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 8
    while at + 8 <= len(content):
        size = int.from_bytes(content[at : at + 4], "big")
        yield content[at + 4 : at + 8], content[at + 8 : at + 8 + size]
        at += 12 + size


def _png_text(job: Job, kind: bytes, data: bytes) -> Iterator[bytes]:
    keyword, _, rest = data.partition(b"\0")
    packed = kind == b"zTXt" or (kind == b"iTXt" and rest[:1] == b"\1")
    if not packed:
        yield data
        return
    # Compression method; for international text a flag, a language and a translated keyword as well (section 11.3.3.4).
    rest = rest[2:].partition(b"\0")[2].partition(b"\0")[2] if kind == b"iTXt" else rest[1:]
    try:
        text = zlib.decompressobj().decompress(rest, _MOST_TEXT)
    except zlib.error:
        raise Unreadable("damaged text in a picture") from None
    job.meter.unpacked(len(text))
    yield keyword + b"\n" + text
