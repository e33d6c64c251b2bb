"""7-Zip archives, by py7zr, each member read as soon as it is unpacked."""

from __future__ import annotations

import io

import py7zr
from py7zr.exceptions import ArchiveError, PasswordRequired, UnsupportedCompressionMethodError
from py7zr.io import Py7zIO, WriterFactory

from restante.classify.extract.job import Job, Part
from restante.classify.extract.limits import Unreadable

_MOST_MEMBER = 128 << 20


def read_sevenzip(job: Job, part: Part) -> None:
    """Every member.  An encrypted archive, or one with hidden names, is said to be so."""
    job.meter.enter(part.depth + 1)
    members = _Members(job)
    problem = ""
    try:
        with py7zr.SevenZipFile(io.BytesIO(part.content)) as archive:
            if archive.needs_password():
                job.output.say(part.place, "\n".join(archive.getnames()))
                problem = "encrypted 7-Zip archive"
            else:
                archive.extractall(factory=members)
    except PasswordRequired:
        problem = "encrypted 7-Zip archive"
    except UnsupportedCompressionMethodError:
        problem = "a compression that is not read"
    except (ArchiveError, OSError, EOFError, ValueError):
        problem = "damaged 7-Zip archive"
    except Unreadable as reason:
        problem = str(reason)
    for name, content in members.unpacked:
        job.inner(part, content.getvalue(), name, counted=True)
    if problem:
        raise Unreadable(problem)


class _Member(Py7zIO):
    """One member as it is unpacked."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._buffer = io.BytesIO()

    def getvalue(self) -> bytes:
        """What was unpacked."""
        return self._buffer.getvalue()

    def write(self, s: bytes | bytearray) -> int:
        """More of it."""
        self._job.meter.unpacked(len(s))
        if self._buffer.tell() + len(s) > _MOST_MEMBER:
            raise Unreadable(f"one file unpacks to more than {_MOST_MEMBER >> 20} MiB")
        return self._buffer.write(s)

    def read(self, size: int | None = None) -> bytes:
        """What is there."""
        return self._buffer.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        """Where to go on."""
        return self._buffer.seek(offset, whence)

    def flush(self) -> None:
        """Nothing waits."""

    def size(self) -> int:
        """How much there is."""
        return self._buffer.getbuffer().nbytes


class _Members(WriterFactory):
    """What py7zr asks where to unpack to."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self.unpacked: list[tuple[str, _Member]] = []

    def create(self, filename: str) -> Py7zIO:
        """One more member."""
        self._job.meter.member()
        member = _Member(self._job)
        self.unpacked.append((filename, member))
        return member
