"""Archives and compressed files: zip, tar, gzip, bzip2, xz and 7-Zip, each member read in its turn."""

from __future__ import annotations

import bz2
import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from typing import IO, Protocol

from restante.classify.extract.documents import is_document, read_document
from restante.classify.extract.job import Job, Part
from restante.classify.extract.limits import Unreadable

_PIECE = 1 << 18
_LOCAL = b"PK\x03\x04"
_MOST_MEMBER = 128 << 20


def metered(job: Job, source: IO[bytes]) -> bytes:
    """All that ``source`` unpacks to.  Raises :class:`Unreadable` over the limits."""
    pieces = []
    size = 0
    while piece := source.read(_PIECE):
        job.meter.unpacked(len(piece))
        size += len(piece)
        if size > _MOST_MEMBER:
            raise Unreadable(f"one file unpacks to more than {_MOST_MEMBER >> 20} MiB")
        pieces.append(piece)
    return b"".join(pieces)


# -- zip


def read_zip(job: Job, part: Part) -> None:
    """A zip archive: what its directory lists, and what lies in it unlisted.  Office documents are such archives."""
    job.meter.enter(part.depth + 1)
    try:
        archive = zipfile.ZipFile(io.BytesIO(part.content))
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OverflowError):
        job.output.sealed(part.place, "damaged ZIP archive")
        _read_unlisted(job, part, [(0, len(part.content))])
        return
    with archive:
        members = archive.infolist()
        if is_document({member.filename for member in members}):
            read_document(job, part, members, lambda member: unzip(job, part, archive, member))
        else:
            for member in members:
                _read_member(job, part, archive, member)
        _read_unlisted(job, part, _gaps(part.content, members))
        if archive.comment:
            job.output.say(part.place, archive.comment.decode("latin-1"))


def _read_member(job: Job, part: Part, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
    if member.is_dir() and not member.file_size:
        return
    content = unzip(job, part, archive, member)
    if content is not None:
        job.inner(part, content, member.filename, counted=True)


def unzip(job: Job, part: Part, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes | None:
    """The content of one member; ``None`` where it cannot be read, which is then said."""
    place = part.place_of(member.filename)
    if member.flag_bits & 0x1:
        job.output.sealed(place, "encrypted file in a ZIP archive")
        return None
    try:
        with archive.open(member) as source:
            return metered(job, source)
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, OSError, EOFError, ValueError):
        job.output.sealed(place, "damaged file in a ZIP archive")
    except NotImplementedError:
        job.output.sealed(place, "a compression that is not read")
    # Of a damaged member, what comes before the damage.
    _read_local(job, part, member.header_offset)
    return None


def _gaps(content: bytes, members: list[zipfile.ZipInfo]) -> list[tuple[int, int]]:
    """The stretches of an archive that no listed member covers."""
    gaps = []
    at = 0
    for member in sorted(members, key=lambda one: one.header_offset):
        if member.header_offset > at:
            gaps.append((at, member.header_offset))
        header = content[member.header_offset : member.header_offset + 30]
        extra = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
        at = max(at, member.header_offset + 30 + extra + member.compress_size)
    gaps.append((at, len(content)))
    return gaps


def _read_unlisted(job: Job, part: Part, gaps: list[tuple[int, int]]) -> None:
    """Members that the directory does not list: programs that unpack a stream find them all the same."""
    for start, end in gaps:
        at = part.content.find(_LOCAL, start, end)
        while at >= 0:
            at = part.content.find(_LOCAL, max(_read_local(job, part, at), at + 4), end)


def _read_local(job: Job, part: Part, at: int) -> int:
    """Read the member whose local header (APPNOTE.TXT, section 4.3.7) is at ``at``; where it ends."""
    header = part.content[at : at + 30]
    if len(header) < 30 or header[:4] != _LOCAL:
        return at
    name_size, extra_size = (int.from_bytes(header[place : place + 2], "little") for place in (26, 28))
    name = part.content[at + 30 : at + 30 + name_size].decode("utf-8", "replace")
    begin = at + 30 + name_size + extra_size
    method, size = int.from_bytes(header[8:10], "little"), int.from_bytes(header[18:22], "little")
    if header[6] & 1:
        job.output.sealed(part.place_of(name), "encrypted file in a ZIP archive")
        return begin + size
    if method == zipfile.ZIP_STORED:
        content, end = part.content[begin : begin + size], begin + size
        job.meter.unpacked(len(content))
    elif method == zipfile.ZIP_DEFLATED:
        content, end = _inflate(job, part.content, begin, -zlib.MAX_WBITS)
    else:
        job.output.sealed(part.place_of(name), "a compression that is not read")
        return begin + size
    if content:
        job.inner(part, content, name, counted=True)
    return end


def _inflate(job: Job, content: bytes, begin: int, bits: int) -> tuple[bytes, int]:
    """What the deflated stream at ``begin`` gives before its end or its first damage, and where that is."""
    stream = zlib.decompressobj(bits)
    pieces: list[bytes] = []
    at = begin
    try:
        while at < len(content) and not stream.eof:
            data = content[at : at + _PIECE]
            at += len(data)
            while data and not stream.eof:
                piece = stream.decompress(data, _PIECE)
                job.meter.unpacked(len(piece))
                pieces.append(piece)
                data = stream.unconsumed_tail
    except zlib.error:
        return b"".join(pieces), begin
    return b"".join(pieces), at - len(stream.unused_data)


# -- compressed files


class _Stream(Protocol):
    """What the decompressors of the standard library have in common."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    @property
    def needs_input(self) -> bool: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


def _read_compressed(job: Job, part: Part, new: Callable[[], _Stream], suffixes: tuple[str, ...], what: str) -> None:
    job.meter.enter(part.depth + 1)
    pieces: list[bytes] = []
    try:
        complete = _unpack(job, part.content, new, pieces)
        problem = "" if complete else f"damaged {what}"
    except Unreadable as reason:
        problem = str(reason)
    content = b"".join(pieces)
    if content:
        job.inner(part, content, _without(part.name, suffixes), counted=True)
    if problem:
        raise Unreadable(problem)


def _unpack(job: Job, content: bytes, new: Callable[[], _Stream], pieces: list[bytes]) -> bool:
    """Put what the streams in ``content`` unpack to into ``pieces``; whether they are whole."""
    rest = content
    try:
        while rest:
            stream, given = new(), rest
            while not stream.eof:
                piece = stream.decompress(given, _PIECE)
                given = b""
                job.meter.unpacked(len(piece))
                pieces.append(piece)
                if not piece and stream.needs_input and not stream.eof:
                    return False
            rest = stream.unused_data.lstrip(b"\0")
    except (OSError, EOFError, ValueError, lzma.LZMAError, zlib.error):
        # What follows a whole stream and is none itself is for whoever reads this file as something else.
        return rest is not content
    return True


def _without(name: str, suffixes: tuple[str, ...]) -> str:
    for suffix in suffixes:
        if name.lower().endswith(suffix):
            return (name[: -len(suffix)] or "content") + (".tar" if suffix.startswith(".t") else "")
    return name or "content"


class _Gzip:
    """zlib's object with the face of those of bz2 and lzma."""

    def __init__(self) -> None:
        self._stream = zlib.decompressobj(16 + zlib.MAX_WBITS)

    @property
    def eof(self) -> bool:
        return self._stream.eof

    @property
    def unused_data(self) -> bytes:
        return self._stream.unused_data

    @property
    def needs_input(self) -> bool:
        return not self._stream.unconsumed_tail

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        return self._stream.decompress(self._stream.unconsumed_tail + data, max_length)


def read_gzip(job: Job, part: Part) -> None:
    """Gzip (RFC 1952), all of its members."""
    _read_compressed(job, part, _Gzip, (".gz", ".tgz", ".gzip"), "gzip file")


def read_bzip2(job: Job, part: Part) -> None:
    """bzip2."""
    _read_compressed(job, part, bz2.BZ2Decompressor, (".bz2", ".tbz2", ".tbz"), "bzip2 file")


def read_xz(job: Job, part: Part) -> None:
    """xz, and the older lzma."""
    _read_compressed(
        job, part, lambda: lzma.LZMADecompressor(memlimit=job.limits.memory // 4), (".xz", ".txz", ".lzma"), "xz file"
    )


# -- tar


def read_tar(job: Job, part: Part) -> None:
    """Tar in all its kinds."""
    job.meter.enter(part.depth + 1)
    try:
        with tarfile.open(fileobj=io.BytesIO(part.content), mode="r:") as archive:
            for member in archive:
                if member.isfile():
                    source = archive.extractfile(member)
                    if source is not None:
                        job.inner(part, metered(job, source), member.name, counted=True)
                else:
                    job.meter.member()
                    job.output.say(part.place, f"{member.name} {member.linkname}")
    except (tarfile.TarError, EOFError, OSError, ValueError, OverflowError):
        raise Unreadable("damaged tar archive") from None
    if part.content[-512:].strip(b"\0"):
        raise Unreadable("a tar archive that is cut")
