"""Answering with a stream of known size, whole or one range of it (RFC 9110, section 14)."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator
from urllib.parse import quote

from flask import Response, request
from werkzeug.http import parse_range_header, quote_etag

Produce = Callable[[int, int], Iterator[bytes]]


def download(produce: Produce, size: int, *, file_name: str, tag: str) -> Response:
    """A download that is never rendered in our origin and that can be resumed.

    ``produce`` gives the bytes from one offset up to another.  Its first piece is drawn before the answer begins, so
    that what cannot be read becomes an error page and not a broken file.
    """
    start, end, status = 0, size, 200
    wanted = _wanted_range(size, tag)
    if wanted is not None:
        if wanted[0] >= wanted[1]:
            refused = Response(status=416, mimetype="application/octet-stream")
            refused.headers["Content-Range"] = f"bytes */{size}"
            return refused
        (start, end), status = wanted, 206
    body = begun(produce(start, end)) if request.method != "HEAD" else iter(())
    response = Response(body, status=status, mimetype="application/octet-stream", direct_passthrough=True)
    response.headers["Content-Length"] = str(end - start)
    response.headers["Content-Disposition"] = disposition(file_name)
    response.headers["Accept-Ranges"] = "bytes"
    response.headers["ETag"] = quote_etag(tag)
    if status == 206:
        response.headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    return response


def _wanted_range(size: int, tag: str) -> tuple[int, int] | None:
    """The range asked for; ``None`` for the whole; an empty one when it cannot be satisfied."""
    asked = parse_range_header(request.headers.get("Range"))
    if asked is None or asked.units != "bytes" or len(asked.ranges) != 1:
        return None  # RFC 9110 14.2: what is not understood is ignored; several ranges may be
    condition = request.headers.get("If-Range")
    if condition is not None and condition.strip() != quote_etag(tag):
        return None  # RFC 9110 13.1.5
    first = asked.ranges[0][0]
    if first < 0 and size <= -first:
        return (0, size) if size else None  # RFC 9110 14.1.3: the last 500 bytes of fewer are all there is
    return asked.range_for_length(size) or (0, 0)


def begun(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """``pieces``, of which the first is drawn now: what raises there does so before the answer begins."""
    first = next(pieces, b"")

    def stream() -> Iterator[bytes]:
        yield first
        yield from pieces

    return stream()


def disposition(file_name: str) -> str:
    """``Content-Disposition`` for any name a sender may have chosen (RFC 6266, RFC 8187)."""
    name = safe_name(file_name)
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().strip(" .") or "attachment"
    plain = "".join("_" if c in '"\\%;' else c for c in plain)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"


def safe_name(file_name: str) -> str:
    """A file name without path, control or direction characters, at most 120 characters with its ending kept."""
    name = file_name.replace("\\", "/").rpartition("/")[2]
    name = "".join(c for c in name if unicodedata.category(c)[0] != "C" and c not in '<>:"|?*').strip(" .")
    if len(name) > 120:
        stem, dot, ending = name.rpartition(".")
        name = (stem[: 110 - len(ending)] + dot + ending) if dot and len(ending) < 20 else name[:120]
    return name or "attachment"
