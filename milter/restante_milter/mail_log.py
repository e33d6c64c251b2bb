"""Reading Postfix's log for evidence of delivery: how each copy really left, not how it was meant to.

Only the SMTP clients of the mandatory transports are looked at.  Postfix writes a line when a TLS session is made
(``smtp_tls_loglevel=1``) and one for each recipient; both carry the client's process id, and a client works on one
message at a time.  A TLS line therefore speaks for the first queue id that follows it on that process and peer, and
for no other: a message that follows without a TLS line of its own counts as sent without TLS.

Pure: lines in, deliveries out.  Lines that are not understood are skipped; nothing here raises for any text.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

MAX_PROCESSES: Final = 4096

_LINE = re.compile(r"postfix/(?P<transport>restante-(?:tls|auth))/smtp\[(?P<pid>\d+)\]: (?P<text>.*)")
_TLS = re.compile(
    r"(?P<status>Verified|Trusted|Untrusted|Anonymous) TLS connection (?:established|reused) to (?P<peer>\S+): "
    r"(?P<version>\S+) with cipher (?P<cipher>\S+)"
)
_SENT = re.compile(
    r"(?P<queue_id>[0-9A-Za-z]+): to=<(?P<recipient>[^>]*)>,(?: orig_to=<[^>]*>,)? relay=(?P<relay>[^,]+), "
    r".*?dsn=(?P<dsn>\d\.\d{1,3}\.\d{1,3}), status=sent \((?P<reply>.*)\)$"
)


@dataclass(frozen=True, slots=True)
class Delivered:
    """One copy that a peer accepted.

    ``relay`` is Postfix's ``host[address]:port``.  ``tls_version`` is empty where no TLS was seen; ``certificate`` is
    Postfix's word for what the peer proved: verified, trusted, untrusted or anonymous.
    """

    queue_id: str
    recipient: str
    transport: str
    relay: str
    tls_version: str
    cipher: str
    certificate: str
    reply: str


@dataclass(slots=True)
class _Session:
    """What a client process last agreed on, and for which message."""

    peer: str
    version: str
    cipher: str
    certificate: str
    queue_id: str = ""


class MailLog:
    """Turns log lines into deliveries.  ``fallback`` is the intake's ``host:port``: what went there was not delivered."""

    def __init__(self, fallback_port: int) -> None:
        self._fallback = re.compile(rf"(?:127\.0\.0\.1\[127\.0\.0\.1\]|localhost\[[^\]]+\]|::1\[::1\]):{fallback_port}$")
        self._sessions: OrderedDict[str, _Session] = OrderedDict()

    def feed(self, line: str) -> Delivered | None:
        """Take the next line; the delivery that it completes, if it completes one."""
        found = _LINE.search(line)
        if found is None:
            return None
        text, pid = found["text"].rstrip(), found["pid"]
        agreed = _TLS.match(text)
        if agreed is not None:
            self._remember(pid, _Session(agreed["peer"], agreed["version"], agreed["cipher"], agreed["status"].lower()))
            return None
        sent = _SENT.match(text)
        if sent is None or self._fallback.search(sent["relay"]):
            return None
        session = self._session_of(pid, sent["queue_id"], sent["relay"])
        return Delivered(
            queue_id=sent["queue_id"],
            recipient=sent["recipient"],
            transport=found["transport"],
            relay=sent["relay"],
            tls_version=session.version if session else "",
            cipher=session.cipher if session else "",
            certificate=session.certificate if session else "",
            reply=sent["reply"][:500],
        )

    def _remember(self, pid: str, session: _Session) -> None:
        self._sessions[pid] = session
        self._sessions.move_to_end(pid)
        while len(self._sessions) > MAX_PROCESSES:
            self._sessions.popitem(last=False)

    def _session_of(self, pid: str, queue_id: str, relay: str) -> _Session | None:
        session = self._sessions.get(pid)
        if session is None or session.peer != relay or session.queue_id not in {"", queue_id}:
            return None
        session.queue_id = queue_id
        return session
