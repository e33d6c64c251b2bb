"""The text of Word 97 to 2003 ([MS-DOC]): main text, footnotes, headers, comments and text boxes, by its pieces."""

from __future__ import annotations

import re
from collections.abc import Iterator

from restante.classify.extract.job import Job, Part
from restante.classify.extract.limits import Unreadable
from restante.classify.extract.plain import say_runs

_FIB_CLX = 0x01A2  # where fcClx and lcbClx stand (section 2.5.6)
_MARKS = str.maketrans({"\r": "\n", "\x07": "\t", "\x0b": "\n", "\x0c": "\n", "\x13": " ", "\x14": " ", "\x15": " "})
_HIDDEN = re.compile("[\x00-\x08\x0e-\x1f]")
_MOST_PIECES = 1_000_000


def read_words(job: Job, part: Part, document: bytes, table: bytes) -> None:
    """Write the whole text; of an older or damaged document, whatever in it looks like text."""
    job.output.text(part.place)
    if len(document) > 12 and document[11] & 1:
        raise Unreadable("encrypted Office document")
    pieces = list(_pieces(document, table))
    if not pieces:
        say_runs(job, part.place, document)
        job.output.sealed(part.place, "a document whose pieces cannot be put together")
        return
    for text in pieces:
        job.output.write(_HIDDEN.sub("", text.translate(_MARKS)))


def _pieces(document: bytes, table: bytes) -> Iterator[str]:
    """Each piece of the text in its order (sections 2.4.1 and 2.9.177)."""
    begin = int.from_bytes(document[_FIB_CLX : _FIB_CLX + 4], "little")
    size = int.from_bytes(document[_FIB_CLX + 4 : _FIB_CLX + 8], "little")
    clx = table[begin : begin + size]
    at = 0
    while at + 3 <= len(clx) and clx[at] == 1:
        at += 3 + int.from_bytes(clx[at + 1 : at + 3], "little")
    if at >= len(clx) or clx[at] != 2:
        return
    plc = clx[at + 5 : at + 5 + int.from_bytes(clx[at + 1 : at + 5], "little")]
    count = (len(plc) - 4) // 12
    for index in range(min(count, _MOST_PIECES)):
        first = int.from_bytes(plc[4 * index : 4 * index + 4], "little")
        last = int.from_bytes(plc[4 * index + 4 : 4 * index + 8], "little")
        place = 4 * (count + 1) + 8 * index + 2
        where = int.from_bytes(plc[place : place + 4], "little")
        if last <= first:
            continue
        if where & 0x40000000:
            start = (where & 0x3FFFFFFF) // 2
            yield document[start : start + last - first].decode("cp1252", "replace")
        else:
            start = where & 0x3FFFFFFF
            yield document[start : start + 2 * (last - first)].decode("utf-16-le", "replace")
