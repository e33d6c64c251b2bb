"""Peers as the tests see them: start one, change its behaviour while it runs, read what it received."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.message import EmailMessage
from functools import cached_property
from pathlib import Path
from typing import Any

from tests.lab.behaviours import behaviour
from tests.lab.certificates import CertificateAuthority, CertificateKind
from tests.lab.netns import Host
from tests.lab.peer import PeerServer
from tests.lab.waiting import wait_until


@dataclass(frozen=True)
class ReceivedMail:
    """One message that a peer accepted.  ``time`` is Unix seconds; ``connection`` numbers the peer's connections."""

    time: float
    connection: int
    helo: str
    sender: str
    sender_options: str
    recipients: tuple[str, ...]
    recipient_options: tuple[str, ...]
    tls: bool
    tls_version: str
    cipher: str
    content: bytes

    @cached_property
    def message(self) -> EmailMessage:
        """The content, parsed."""
        return message_from_bytes(self.content, policy=policy.default)

    @property
    def subject(self) -> str:
        """The decoded subject; empty when there is none."""
        return str(self.message["Subject"] or "")


@dataclass(frozen=True, slots=True)
class SessionEvent:
    """One step of a session: ``open``, ``command`` (its text), ``tls`` (the version) or ``end`` (why)."""

    time: float
    connection: int
    event: str
    text: str


class Peer:
    """One scripted MTA in its own namespace on port 25."""

    def __init__(self, domain: str, host: Host, directory: Path, authority: CertificateAuthority) -> None:
        self.domain = domain
        self.mx = f"mx.{domain}"
        self.host = host
        self._directory = directory
        directory.mkdir(parents=True)
        for kind in CertificateKind:
            authority.issue(kind, self.mx, directory)
        self._read: dict[str, tuple[int, list[dict[str, Any]]]] = {}
        self._mails: list[ReceivedMail] = []
        self._server = PeerServer(self.mx, host, directory)

    def behave(self, name: str, **changes: Any) -> None:
        """Change the behaviour, or begin with one; every connection made after the return gets it.

        ``changes`` are fields of :class:`tests.lab.behaviours.Behaviour`.  Greylisting and counting begin anew.
        """
        self._server.behave(behaviour(name, changes))

    def stop(self) -> None:
        """Be gone; what was received stays readable."""
        self._server.stop()

    def reset(self) -> None:
        """Forget what was received so far."""
        for name in ("mails.jsonl", "sessions.jsonl", "clear.log"):
            (self._directory / name).write_bytes(b"")
        self._read.clear()
        self._mails.clear()

    def mails(self) -> list[ReceivedMail]:
        """Every message accepted since the last :meth:`reset`, in order."""
        records = self._records("mails.jsonl")
        self._mails += [
            ReceivedMail(
                **{
                    **record,
                    "recipients": tuple(record["recipients"]),
                    "recipient_options": tuple(record["recipient_options"]),
                    "content": base64.b64decode(record["content"]),
                }
            )
            for record in records[len(self._mails) :]
        ]
        return list(self._mails)

    def wait_for_mails(
        self, count: int = 1, seconds: float = 15, where: Callable[[ReceivedMail], bool] = lambda _: True
    ) -> list[ReceivedMail]:
        """The messages for which ``where`` is true, once there are ``count``.  Raises :class:`LabError`."""

        def found() -> list[ReceivedMail]:
            mails = [mail for mail in self.mails() if where(mail)]
            return mails if len(mails) >= count else []

        return wait_until(found, seconds, f"{count} message(s) at {self.domain}")

    def sessions(self) -> list[SessionEvent]:
        """Every step of every session since the last :meth:`reset`."""
        return [SessionEvent(**record) for record in self._records("sessions.jsonl")]

    def clear_bytes(self) -> bytes:
        """Every byte read outside of TLS since the last :meth:`reset`, connection by connection.

        Handshake records are among them.  A sensitive byte must never be.
        """
        streams: dict[int, list[bytes]] = {}
        for record in self._records("clear.log"):
            streams.setdefault(record["connection"], []).append(base64.b64decode(record["data"]))
        return b"\n".join(b"".join(pieces) for pieces in streams.values())

    def _records(self, name: str) -> list[dict[str, Any]]:
        path = self._directory / name
        if not path.exists():
            return []
        # Many wait for mail by looking here: what was read once is not read again.
        offset, records = self._read.get(name, (0, []))
        with path.open("rb") as file:
            file.seek(offset)
            # The last line may be under way: it has no newline yet.
            whole, newline, _ = file.read().rpartition(b"\n")
        records = [*records, *(json.loads(line) for line in whole.splitlines())]
        self._read[name] = (offset + len(whole) + len(newline), records)
        return records
