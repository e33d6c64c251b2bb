"""The content of a stored message, opened for one request: what to show, what to send.

Nothing of a message is kept in memory whole; what is remembered between requests is where its parts begin.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from flask import Response, abort, render_template, request

from restante.store.blobs import BlobReader
from restante.vault import DataKey
from restante_portal import archive, display, guard, ranges
from restante_portal.context import Portal
from restante_portal.reading import Index, Part
from restante_portal.transfer import Measured, decoded_range, measure
from restante_portal.watermark import Watermark

WHOLE, ALL_ATTACHMENTS = 0, -1
"""As the number of a part: the message as it was sent, and an archive of its attachments."""

SHORT_HTML = 1500  # without a script nothing knows how high a frame must be; this is the guess


@dataclass(frozen=True)
class Opened:
    """A stored message that this request may read."""

    reader: BlobReader
    index: Index
    measured: dict[int, Measured]

    @classmethod
    def of(cls, here: Portal, key: DataKey, size: int) -> Opened:
        """Open the blob of ``key``.  Raises ``CannotOpen`` and ``StoreUnavailable``."""
        reader = BlobReader(here.store, key, size)
        known = here.indexes.get(reader, key.blob_id)
        return cls(reader, known.index, known.measured)

    def part(self, number: int) -> Part:
        """The part of that number, or 404."""
        found = next((part for part in self.index.parts if part.number == number), None)
        if found is None:
            abort(404)
        return found

    def size_of(self, part: Part) -> int:
        """The decoded size."""
        return self._measured(part).size

    def _measured(self, part: Part) -> Measured:
        """Measured once: all of the part is decoded for it."""
        if part.number not in self.measured:
            self.measured[part.number] = measure(self.reader.read, part)
        return self.measured[part.number]

    def decoded(self, part: Part, start: int, end: int) -> Iterator[bytes]:
        """The decoded bytes from ``start`` up to ``end``; about as much work wherever they begin."""
        return decoded_range(self.reader.read, part, self._measured(part), start, end)


def summary_of(note: bytes) -> dict[str, Any]:
    """The sealed summary; empty where it is not what we expect."""
    try:
        found = json.loads(note)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def require(opened: Opened, number: int) -> None:
    """404 where there is nothing to send as part ``number``."""
    if number > 0:
        opened.part(number)
    elif number == ALL_ATTACHMENTS and not any(True for _ in display.attachments(opened.index)):
        abort(404)


def send(opened: Opened, number: int, tag: str) -> Response:
    """Part ``number`` as a download, resumable but for an archive; ``tag`` names the content, or 404."""
    require(opened, number)
    guard.as_file()
    if number == ALL_ATTACHMENTS:
        return _archive(opened)
    if number == WHOLE:
        return ranges.download(opened.reader.read, opened.reader.size, file_name="message.eml", tag=tag)
    part = opened.part(number)
    return ranges.download(
        partial(opened.decoded, part), opened.size_of(part), file_name=name_of(part), tag=f"{tag}-{number}"
    )


def _archive(opened: Opened) -> Response:
    parts = list(display.attachments(opened.index))
    files = []
    for part in parts:
        size = opened.size_of(part)
        files.append(archive.File(name_of(part), size, opened.decoded(part, 0, size)))
    return archive.download(files, file_name="attachments.zip")


_ENDINGS = {
    "message/rfc822": ".eml",
    "text/plain": ".txt",
    "text/html": ".html",
    "image/png": ".png",
    "image/jpeg": ".jpg",
    "image/gif": ".gif",
    "application/pdf": ".pdf",
    "text/calendar": ".ics",
}


def name_of(part: Part) -> str:
    """A name for the download of any part."""
    if part.file_name:
        return ranges.safe_name(part.file_name)
    return f"part-{part.number}{_ENDINGS.get(part.content_type, '')}"


def send_body(opened: Opened, number: int, watermark: Watermark | None = None) -> Response:
    """An HTML part, sanitised, for the sandboxed frame; with a watermark it does not print either."""
    part = opened.part(number)
    if part not in opened.index.bodies or part.content_type != "text/html":
        abort(404)
    safe = display.show_html(opened.reader, opened.index, part)
    guard.as_frame()
    return Response(render_template("body.html", safe=safe, watermark=watermark), mimetype="text/html")


def shown(opened: Opened) -> dict[str, Any]:
    """What the template of a message needs of its content."""
    prefer_text = request.args.get("view") == "text"
    view = display.view(opened.reader, opened.index, prefer_text=prefer_text)
    links_found: list[str] = []
    withheld = 0
    whole = True
    frames: list[tuple[Part, bool]] = []
    for part in view.frames:
        safe = display.show_html(opened.reader, opened.index, part)
        links_found += safe.links
        withheld += safe.withheld
        whole = whole and safe.whole
        frames.append((part, len(safe.html) < SHORT_HTML and "<img" not in safe.html))
    return {
        "texts": view.texts,
        "frames": frames,
        "frames_whole": whole,
        "has_other_form": view.has_other_form,
        "prefer_text": prefer_text,
        "attachments": [(part, name_of(part), opened.size_of(part)) for part in display.attachments(opened.index)],
        "links": links_found,
        "withheld": withheld,
        "complete": opened.index.complete,
    }
