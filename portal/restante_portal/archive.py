"""Several files as one download: a ZIP archive (APPNOTE.TXT, version 6.3), made while it is sent.

Nothing is compressed: most attachments are already, and so the size is known before the first byte.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from flask import Response, request
from zipstream import ZipStream  # type: ignore[import-untyped]  # comes without types

from restante.vault import CannotOpen
from restante_portal import ranges


@dataclass(frozen=True, slots=True)
class File:
    """A file of ``size`` bytes, which come from ``content``."""

    name: str
    size: int
    content: Iterator[bytes]


def download(files: Iterable[File], *, file_name: str) -> Response:
    """The archive of ``files``, whose names are safe to write to a disk.  It cannot be resumed."""
    archive = ZipStream(sized=True)
    taken: set[str] = set()
    for number, file in enumerate(files):
        # The first is begun, so that a message that cannot be read is an error page and not a broken archive.
        content = _exactly(file) if number or request.method == "HEAD" else ranges.begun(_exactly(file))
        archive.add(content, _free(file.name, taken), size=file.size)
    body = iter(archive) if request.method != "HEAD" else iter(())
    response = Response(body, mimetype="application/zip", direct_passthrough=True)
    response.headers["Content-Length"] = str(len(archive))
    response.headers["Content-Disposition"] = ranges.disposition(file_name)
    response.headers["Accept-Ranges"] = "none"
    return response


def _exactly(file: File) -> Iterator[bytes]:
    """Its content, which is as long as was said: the library would put the name into the log otherwise."""
    left = file.size
    for piece in file.content:
        left -= len(piece)
        if left < 0:
            break
        yield piece
    if left:
        raise CannotOpen("an attachment is not as long as it was when it was measured")


def _free(name: str, taken: set[str]) -> str:
    """``name``, or one like it that no file has yet: some systems know no upper and lower case."""
    stem, dot, ending = name.rpartition(".") if "." in name else (name, "", "")
    free, number = name, 1
    while free.casefold() in taken:
        number += 1
        free = f"{stem} ({number}){dot}{ending}"
    taken.add(free.casefold())
    return free
