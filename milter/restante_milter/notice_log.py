"""Reading Postfix's log for our own notices that did not arrive: refused for good, or tried until their time was over.

A notice is known by its Message-ID, in the line with which cleanup queues it.  Whatever transport then gives it up, the
line says so with the queue id and the enhanced status code (RFC 3463); of one whose time is over, the last line that
deferred it says why.

Pure: lines in, lost notices out.  Recipients and replies are written by strangers: a line is read from its beginning,
field by field; nothing here raises for any text.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from typing import Any, Final

from restante.notice_ids import link_of
from restante.store.undelivered import LostNotice
from restante_milter.mail_log import STATUS

MAX_NOTICES: Final = 2_000

# The traditional form of syslog, and that of RFC 5424's time stamps.
_HEAD = r"^(?:[A-Z][a-z]{2} +\d{1,2} \d\d:\d\d:\d\d|\d{4}-\d\d-\d\dT\S+) \S+ "
_LINE = re.compile(_HEAD + r"\S+/(?P<service>[\w-]+)\[\d+\]: (?P<text>(?P<queue_id>[0-9A-Za-z]+): .*)")
_MESSAGE_ID = re.compile(r"\w+: message-id=(?P<message_id><[^<>\s]{1,990}>)$")
_EXPIRED = re.compile(r"\w+: from=<[^>]*>, status=(?:force-)?expired, returned to sender$")
_REMOVED = re.compile(r"\w+: removed$")


class NoticeLog:
    """Turns log lines into lost notices."""

    def __init__(self) -> None:
        self._notices: OrderedDict[str, dict[str, str]] = OrderedDict()

    def feed(self, line: str) -> LostNotice | None:
        """Take the next line; the notice that it says is lost, if it says so."""
        found = _LINE.match(line.rstrip())
        if found is None:
            return None
        queue_id, text = found["queue_id"], found["text"]
        if found["service"] == "cleanup":
            self._queued(queue_id, text)
        elif queue_id in self._notices:
            return self._followed(queue_id, found["service"], text)
        return None

    def _queued(self, queue_id: str, text: str) -> None:
        noted = _MESSAGE_ID.match(text)
        if noted is None:
            return
        self._notices.pop(queue_id, None)  # queue ids come again
        link_id = link_of(noted["message_id"])
        if link_id:
            self._notices[queue_id] = {"link_id": link_id, "recipient": "", "status": "", "reply": ""}
            while len(self._notices) > MAX_NOTICES:
                self._notices.popitem(last=False)

    def _followed(self, queue_id: str, service: str, text: str) -> LostNotice | None:
        if service == "qmgr":
            if _REMOVED.match(text):
                del self._notices[queue_id]
            elif _EXPIRED.match(text):
                return LostNotice(**self._notices[queue_id])
            return None
        status = STATUS.match(text)
        if status is None or status["status"] not in {"deferred", "bounced"}:
            return None
        known = self._notices[queue_id]
        known |= {"recipient": status["recipient"], "status": status["dsn"], "reply": status["reply"][:500]}
        return LostNotice(**known) if status["status"] == "bounced" else None

    def state(self) -> dict[str, Any]:
        """What :meth:`restore` needs to go on after this line, ready for JSON."""
        return dict(self._notices)

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what another reader knew."""
        self._notices = OrderedDict((queue_id, dict(known)) for queue_id, known in state.items())
