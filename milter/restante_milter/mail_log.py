"""Reading Postfix's log for evidence of delivery: how each copy really left, not how it was meant to.

Only the SMTP clients of the mandatory transports are looked at.  Postfix writes a line when a TLS session is made
(``smtp_tls_loglevel=1``) and one for each recipient; both carry the client's process id, and a client works on one
message at a time.  A TLS line therefore speaks for the first queue id that follows it on that process and peer, and
for no other: a message that follows without a TLS line of its own counts as sent without TLS.

Pure: lines in, deliveries out.  Lines that are not understood are skipped; nothing here raises for any text.
Recipients and replies are written by strangers, so a line is read from its beginning, field by field.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from dataclasses import asdict, dataclass
from typing import Any, Final, TypeVar

from restante.store.delivered import UNOBSERVED, Delivered

Value = TypeVar("Value")

MAX_PROCESSES: Final = 1024
MAX_MESSAGES: Final = 1000

_LINE = re.compile(
    r"^(?:(?!postfix/restante-).)*? postfix/(?P<transport>restante-(?:tls|auth))/smtp\[(?P<pid>\d+)\]: (?P<text>.*)"
)
_MESSAGE_ID = re.compile(
    r"^(?:[A-Z][a-z]{2} +\d{1,2} \d\d:\d\d:\d\d|\d{4}-\d\d-\d\dT\S+) \S+ \S+/cleanup\[\d+\]: "
    r"(?P<queue_id>[0-9A-Za-z]+): message-id=(?P<message_id><[^<>\s]{1,990}>)$"
)
_TLS = re.compile(
    r"(?P<status>Verified|Trusted|Untrusted|Anonymous) TLS connection (?:established|reused) to (?P<peer>\S+): "
    r"(?P<version>\S+) with cipher (?P<cipher>\S+)"
)
# A quoted local part may hold anything, even what looks like the rest of a line.
_PATH = r'<(?P<{}>(?:"(?:[^"\\]|\\.)*"|[^">])*)>'
STATUS: Final = re.compile(
    r"(?P<queue_id>[0-9A-Za-z]+): to=" + _PATH.format("recipient") + ",(?: orig_to=" + _PATH.format("original") + ",)?"
    r" relay=(?P<relay>[^,\s]+),(?: conn_use=\d+,)? delay=[\d.e+-]+, delays=[\d./e+-]+,"
    r" dsn=(?P<dsn>\d\.\d{1,3}\.\d{1,3}), status=(?P<status>[a-z]+) \((?P<reply>.*)\)$"
)
"""What a delivery agent says of one recipient, behind its name and process id."""


@dataclass(slots=True)
class _Session:
    """What a client process last agreed on, and for which message."""

    peer: str
    version: str
    cipher: str
    certificate: str
    queue_id: str = ""


class MailLog:
    """Turns log lines into deliveries.  ``fallback_port`` is the intake's: what went there was not delivered.

    While ``gap`` is true, a delivery without a TLS line may only have begun before the reading did.
    """

    def __init__(self, fallback_port: int) -> None:
        self._fallback = re.compile(rf"(?:127\.0\.0\.1|localhost|::1)\[(?:127\.0\.0\.1|::1)\]:{fallback_port}$")
        self._sessions: OrderedDict[str, _Session] = OrderedDict()
        self._message_ids: OrderedDict[str, str] = OrderedDict()
        self.gap = False

    def feed(self, line: str) -> Delivered | None:
        """Take the next line; the delivery that it completes, if it completes one."""
        line = line.rstrip()
        found = _LINE.match(line)
        if found is None:
            self._note_message_id(line)
            return None
        text, pid = found["text"], found["pid"]
        agreed = _TLS.match(text)
        if agreed is not None:
            session = _Session(agreed["peer"], agreed["version"], agreed["cipher"], agreed["status"].lower())
            _remember(self._sessions, pid, session, MAX_PROCESSES)
            return None
        status = STATUS.match(text)
        if status is None:
            return None
        spoke = self._session_of(pid, status["queue_id"], status["relay"])
        if status["status"] != "sent" or self._fallback.match(status["relay"]):
            return None
        return Delivered(
            queue_id=status["queue_id"],
            recipient=status["recipient"],
            transport=found["transport"],
            relay=status["relay"],
            tls_version=spoke.version if spoke is not None else "",
            cipher=spoke.cipher if spoke is not None else "",
            certificate=spoke.certificate if spoke is not None else self._without_session(),
            reply=status["reply"][:500],
            header_message_id=self._message_ids.get(status["queue_id"], ""),
        )

    def _without_session(self) -> str:
        return UNOBSERVED if self.gap else ""

    def state(self) -> dict[str, Any]:
        """What :meth:`restore` needs to go on after this line, ready for JSON."""
        return {
            "sessions": {pid: asdict(session) for pid, session in self._sessions.items()},
            "message_ids": dict(self._message_ids),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what another reader knew.  Raises ``KeyError`` or ``TypeError`` for anything else."""
        self._sessions = OrderedDict((pid, _Session(**session)) for pid, session in state["sessions"].items())
        self._message_ids = OrderedDict(state["message_ids"])

    def _note_message_id(self, line: str) -> None:
        if "/cleanup[" in line:
            noted = _MESSAGE_ID.match(line)
            if noted is not None:
                _remember(self._message_ids, noted["queue_id"], noted["message_id"], MAX_MESSAGES)

    def _session_of(self, pid: str, queue_id: str, relay: str) -> _Session | None:
        session = self._sessions.get(pid)
        if session is None:
            return None
        if session.peer != relay or session.queue_id not in {"", queue_id}:
            del self._sessions[pid]  # the client has gone on: this session speaks for nothing that follows
            return None
        session.queue_id = queue_id
        return session


def _remember(known: OrderedDict[str, Value], key: str, value: Value, most: int) -> None:
    known[key] = value
    known.move_to_end(key)
    while len(known) > most:
        known.popitem(last=False)
