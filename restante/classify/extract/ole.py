"""Compound files ([MS-CFB]): old Word, Excel and PowerPoint, Outlook's .msg, and whatever else lies in such a file.

Storages in a file may each be a document of its own: everything here takes the path that it starts from.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator

import olefile

from restante.classify.extract.job import Job, Part
from restante.classify.extract.kinds import HEAD, TAIL, kinds
from restante.classify.extract.limits import Unreadable
from restante.classify.extract.mapi import (
    ATTACH_DATA,
    ATTACH_LONG_NAME,
    ATTACH_NAME,
    BINARY,
    UNICODE,
    Attachment,
    read_property,
)
from restante.classify.extract.plain import say_runs
from restante.classify.extract.slides import read_slides
from restante.classify.extract.words import read_words
from restante.classify.extract.workbooks import read_workbook

Path = tuple[str, ...]

_PROPERTY = re.compile(r"__substg1\.0_([0-9A-Fa-f]{4})([0-9A-Fa-f]{4})\Z")
_ENCRYPTED = frozenset({"EncryptedPackage", "EncryptionInfo"})
_MOST_STREAM = 128 << 20
_RUNS_ONLY = frozenset({"1Table", "0Table", "Data", "Current User", "Pictures", "VisioDocument", "Contents"})


def read_ole(job: Job, part: Part) -> None:
    """Every stream of a compound file, each as what its name says it is."""
    job.meter.enter(part.depth + 1)
    try:
        file = olefile.OleFileIO(io.BytesIO(part.content))
    except (OSError, ValueError, IndexError, TypeError, AttributeError):
        say_runs(job, part.place, part.content)
        raise Unreadable("damaged Office document") from None
    with file:
        streams: list[Path] = [tuple(path) for path in file.listdir(streams=True, storages=False)]
        if any(path[-1] in _ENCRYPTED for path in streams):
            raise Unreadable("encrypted Office document")
        _Compound(job, part, file).read(sorted(streams))


class _Compound:
    """The file being read."""

    def __init__(self, job: Job, part: Part, file: olefile.OleFileIO) -> None:
        self._job, self._part, self._file = job, part, file
        self._attachments: dict[Path, Attachment] = {}

    def stream(self, path: Path) -> bytes:
        """One stream.  Raises :class:`Unreadable`."""
        try:
            with self._file.openstream(list(path)) as source:
                data = source.read(_MOST_STREAM)
        except (OSError, ValueError, IndexError):
            raise Unreadable("damaged stream in an Office document") from None
        self._job.meter.unpacked(len(data))
        return bytes(data)

    def read(self, streams: list[Path]) -> None:
        """Read each stream; one that is broken does not hide the others."""
        self._job.output.text(self._part.place)
        for path in streams:
            self._job.meter.member()
            try:
                self._read(path, streams)
            except Unreadable as reason:
                self._job.output.sealed(self._part.place, str(reason))
                self._job.output.text(self._part.place)
        for attachment in self._attachments.values():
            if attachment.content:
                self._job.inner(self._part, attachment.content, attachment.name or "attachment", counted=True)

    def _read(self, path: Path, streams: list[Path]) -> None:
        name = path[-1]
        number = _PROPERTY.match(name)
        if number:
            self._property(path, int(number[1], 16), int(number[2], 16))
        elif name == "WordDocument":
            table = next(
                (one for one in streams if one[:-1] == path[:-1] and one[-1] == _table(self.stream(path))), None
            )
            read_words(self._job, self._part, self.stream(path), self.stream(table) if table else b"")
        elif name in {"Workbook", "Book"}:
            read_workbook(self._job, self._part, self.stream(path))
        elif name == "PowerPoint Document":
            read_slides(self._job, self._part, self.stream(path))
        elif name == "\x01Ole10Native":
            inner, content = _package(self.stream(path))
            self._job.inner(self._part, content, inner, counted=True)
        elif name in {"Package", "CONTENTS"}:
            self._job.inner(self._part, self.stream(path), "/".join(path), counted=True)
        elif not name.startswith("__properties"):
            self._runs(path)
        self._job.output.text(self._part.place)

    def _runs(self, path: Path) -> None:
        data = self.stream(path)
        if (
            path[0].startswith(("VBA", "_VBA", "Macros"))
            or path[-1] in _RUNS_ONLY
            or path[-1].startswith(("\x01", "\x05", "\x03"))
        ):
            say_runs(self._job, self._part.place, data)
        else:
            self._other(path, data)

    def _other(self, path: Path, data: bytes) -> None:
        """A stream of no known name: a file of its own where it is one, or whatever in it looks like text."""
        if set(kinds(data[:HEAD], data[-TAIL:])) - {"mute", "message"}:
            self._job.inner(self._part, data, "/".join(path), counted=True)
        else:
            say_runs(self._job, self._part.place, data)

    def _property(self, path: Path, number: int, kind: int) -> None:
        """A property of a message ([MS-OXMSG], section 2.1.3), of one of its attachments, or of one in it."""
        value = self.stream(path)
        owner = next((path[: at + 1] for at in reversed(range(len(path))) if path[at].startswith("__attach")), None)
        direct = owner is not None and path[:-1] == owner
        if owner is not None and direct and number in {ATTACH_DATA, ATTACH_LONG_NAME, ATTACH_NAME}:
            attachment = self._attachments.setdefault(owner, Attachment())
            if number == ATTACH_DATA and kind == BINARY:
                attachment.content = value
            elif number == ATTACH_LONG_NAME or not attachment.name:
                attachment.name = value.decode("utf-16-le" if kind == UNICODE else "latin-1", "replace").rstrip("\0")
            return
        read_property(self._job, self._part, number, kind, value)


def _table(document: bytes) -> str:
    """Which table stream goes with a document ([MS-DOC], section 2.5.2)."""
    return "1Table" if len(document) > 11 and document[11] & 2 else "0Table"


def _package(data: bytes) -> tuple[str, bytes]:
    """Name and content of a packaged file (OLE 1.0 native data)."""
    fields = _strings(data, 6)
    name, at = next(fields)
    _, at = next(fields)
    at += 8 if len(data) > at + 8 else 0
    path_size = int.from_bytes(data[at - 4 : at], "little")
    at += path_size if path_size < 4096 else 0
    size = int.from_bytes(data[at : at + 4], "little")
    content = data[at + 4 : at + 4 + size]
    # Whoever wrote it another way still meant a file: what is left after the names.
    return name or "package", content or data[6:]


def _strings(data: bytes, at: int) -> Iterator[tuple[str, int]]:
    """Strings that end with a zero byte, each with the place after it."""
    while True:
        end = data.find(b"\0", at)
        end = len(data) if end < 0 else end
        yield data[at:end].decode("latin-1"), min(end + 1, len(data))
        at = end + 1
