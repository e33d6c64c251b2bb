"""Mail to the address that notices come from: reports that a notice did not arrive (RFC 3464), and automatic replies.

A report is believed when it returns the header of the notice, whose mark only those have who got the notice or carried
it; so a stranger cannot have anybody told anything.  It is looked for line by line, within the first bytes: a returned
header is never encoded in base64 (RFC 2046, section 5.2.1), and there is nothing here that nesting could exhaust.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import BinaryIO, Final

from restante.marks import NOTICE_HEADER, BadMark, NoticeMark
from restante.notice_ids import link_of
from restante.store.undelivered import LostNotice

LOOKED_AT: Final = 262_144
MOST_MARKS: Final = 5

_FOLDED = rb":((?:[^\r\n]|\r?\n[ \t])*)"
_MARK = re.compile(rb"(?im)^" + NOTICE_HEADER.encode() + _FOLDED)
_MESSAGE_ID = re.compile(rb"(?im)^Message-ID" + _FOLDED)
_ACTION = re.compile(rb"(?im)^Action:[ \t]*([a-z]+)")
_STATUS = re.compile(rb"(?im)^Status:[ \t]*([245]\.\d{1,3}\.\d{1,3})")
_DIAGNOSTIC = re.compile(rb"(?im)^Diagnostic-Code" + _FOLDED)


@dataclass(frozen=True, slots=True)
class LostReport:
    """A report about the notice to the copy ``delivery_id``."""

    delivery_id: str
    lost: LostNotice


def is_auto_reply(auto_submitted: bytes | None, content_type: bytes | None) -> bool:
    """Whether a program answered in somebody's place (RFC 3834, section 5).  A report says that of itself, too."""
    reports = b"multipart/report" in (content_type or b"").lower()
    return not reports and (auto_submitted or b"").strip().lower().startswith(b"auto-replied")


def read_report(content_type: bytes | None, source: BinaryIO, route_secret: bytes) -> LostReport | None:
    """The notice that a message says was lost; ``None`` for any other message."""
    if b"delivery-status" not in (content_type or b"").lower():
        return None
    raw = source.read(LOOKED_AT)
    action, status = _ACTION.search(raw), _STATUS.search(raw)
    if action is None or action[1].lower() != b"failed":
        return None
    mark = _mark(raw, route_secret)
    link_id = next(filter(None, map(link_of, map(_text, _MESSAGE_ID.findall(raw)))), "")
    if mark is None or not mark.delivery_id or not link_id:
        return None
    words = _DIAGNOSTIC.search(raw)
    reply = _text(words[1]).partition(";")[2].strip() if words is not None else ""
    return LostReport(mark.delivery_id, LostNotice(link_id, "", _text(status[1]) if status is not None else "", reply))


def _mark(raw: bytes, route_secret: bytes) -> NoticeMark | None:
    for value in _MARK.findall(raw)[:MOST_MARKS]:
        try:
            return NoticeMark.verify(route_secret, _text(value))
        except BadMark:
            continue
    return None


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace").strip()
