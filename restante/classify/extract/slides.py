"""The text of PowerPoint 97 to 2003 ([MS-PPT]): every text and string record, and the objects within."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from restante.classify.extract.job import Job, Part

_TEXT_CHARS, _TEXT_BYTES, _STRING, _OBJECT = 0x0FA0, 0x0FA8, 0x0FBA, 0x1011
_CONTAINER = 0xF
_ENCRYPTION = 0x2F14


def read_slides(job: Job, part: Part, stream: bytes) -> None:
    """Write all text of the slides, notes, masters, headers and comments."""
    job.output.text(part.place)
    objects = 0
    for kind, instance, data in _records(stream):
        if kind in {_TEXT_CHARS, _STRING}:
            job.output.write(data.decode("utf-16-le", "replace").replace("\r", "\n").replace("\x0b", "\n") + "\n")
        elif kind == _TEXT_BYTES:
            job.output.write(data.decode("latin-1").replace("\r", "\n").replace("\x0b", "\n") + "\n")
        elif kind == _ENCRYPTION:
            job.output.sealed(part.place, "encrypted Office document")
            job.output.text(part.place)
        elif kind == _OBJECT:
            objects += 1
            job.inner(part, _object(job, data, packed=instance == 1), f"object {objects}", counted=True)
            job.output.text(part.place)


def _records(stream: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Type, instance and data of each record that holds no others (section 2.3.1)."""
    at = 0
    while at + 8 <= len(stream):
        head = int.from_bytes(stream[at : at + 2], "little")
        kind = int.from_bytes(stream[at + 2 : at + 4], "little")
        size = int.from_bytes(stream[at + 4 : at + 8], "little")
        at += 8
        if head & 0xF == _CONTAINER:
            continue  # what it holds follows
        yield kind, head >> 4, stream[at : at + size]
        at += size


def _object(job: Job, data: bytes, *, packed: bool) -> bytes:
    if not packed:
        return data
    try:
        content = zlib.decompressobj().decompress(data[4:], job.meter.left)
    except zlib.error:
        return data
    job.meter.unpacked(len(content))
    return content
