"""A recipient's reply as mail: whom it may reach, what it answers, and its bytes.

A reply goes to people on the message and to nobody else: its sender, and where the rule says so others of its To and Cc
who were its recipients.  Nothing that the recipient types gets into a header field but names of files, which the email
package encodes.

The mail is From the address that notices come from, so that SPF and DMARC hold: this site may not write in the name of
the recipient's domain.  The recipient is named in front of it, and Reply-To leads to them.
"""

from __future__ import annotations

import base64
import re
import secrets
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.headerregistry import Address as MailAddress
from email.message import EmailMessage
from email.parser import BytesHeaderParser
from email.policy import SMTP, SMTPUTF8, EmailPolicy, compat32
from email.utils import format_datetime, getaddresses, make_msgid
from enum import StrEnum

HEADER_CAP = 65_536
_FIELD_CAP = 20_000
_SUBJECT_CAP = 400
_MOST_REFERENCES = 20
_LINE = 57  # RFC 2045, section 6.8: 76 characters, which are 57 bytes
_MESSAGE_ID = re.compile(r"<[!-;=?-~]{1,250}>")
_KIND = re.compile(r"(application|audio|image|video)/[a-z0-9][a-z0-9.+-]{0,80}")


class ReplyTo(StrEnum):
    """Whom a rule lets a recipient reply to from the portal."""

    SENDER = "sender"
    ALL = "all"  # and to others of To and Cc
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Original:
    """What a reply needs of the header of the message that it answers.

    ``people`` are the addresses in To and Cc, in lower case; ``message_id`` is empty where there is none.
    """

    message_id: str
    references: tuple[str, ...]
    people: frozenset[str]


def read_original(header: bytes) -> Original:
    """Read it from the first bytes of a message, whatever they are; at most :data:`HEADER_CAP` are looked at."""
    found = BytesHeaderParser(policy=compat32).parsebytes(header[:HEADER_CAP])

    def values(name: str) -> list[str]:
        return [str(value)[:_FIELD_CAP] for value in found.get_all(name, [])]

    own = _MESSAGE_ID.findall("".join(values("Message-ID")[:1]))
    # RFC 5322, section 3.6.4: without References, the parent's In-Reply-To where it names one message.
    known = _MESSAGE_ID.findall(" ".join(values("References")))
    parents = _MESSAGE_ID.findall(" ".join(values("In-Reply-To")))
    references = known or (parents if len(parents) == 1 else [])
    # One at a time: of a field that is malformed, the library gives nothing, nor of those beside it.
    people = [each for value in values("To") + values("Cc") for each in getaddresses([value])]
    return Original(
        message_id=own[0] if own else "",
        references=tuple(references),
        people=frozenset(address.lower() for _, address in people if address),
    )


def others_of(original: Original, recipients: Iterable[str], author: str, sender: str) -> tuple[str, ...]:
    """Those of ``recipients`` who stand in To or Cc for ``author`` to see, without ``author`` and ``sender``."""
    without = {author.lower(), sender.lower()}
    shown = {one for one in recipients if one.lower() in original.people and one.lower() not in without}
    return tuple(sorted(shown))


def subject_of(original: str) -> str:
    """``Re:`` and the subject (RFC 5322, section 3.6.5) on one line."""
    text = " ".join("".join(c if c.isprintable() else " " for c in original).split())[:_SUBJECT_CAP]
    return text if text.lower().startswith("re:") else f"Re: {text}".strip()


def kind_of(claimed: str) -> str:
    """The media type of an attachment: what its browser says, unless mail programs would do more than save it."""
    kind = claimed.partition(";")[0].strip().lower()
    return kind if _KIND.fullmatch(kind) else "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Enclosure:
    """A file of a reply.  ``read`` gives its bytes afresh at each call."""

    name: str = field(repr=False)
    kind: str
    read: Callable[[], Iterator[bytes]] = field(repr=False)


@dataclass(frozen=True, slots=True)
class ReplyMail:
    """A reply that is ready to be written.  ``author`` is the recipient who wrote it, ``portal`` the From address."""

    author: str
    portal: str
    organisation: str
    hostname: str
    sender: str
    others: tuple[str, ...]
    original: Original
    subject: str = field(repr=False)
    text: str = field(repr=False)
    files: tuple[Enclosure, ...] = ()

    @property
    def recipients(self) -> tuple[str, ...]:
        """Whom it goes to."""
        return (self.sender, *self.others)

    @property
    def _utf8(self) -> bool:
        return not all(one.isascii() for one in (*self.recipients, self.author, self.portal))

    @property
    def parameters(self) -> tuple[str, ...]:
        """The ESMTP parameters of MAIL that it needs (RFC 6531, section 3.4)."""
        return ("SMTPUTF8",) if self._utf8 else ()

    def write(self, now: float) -> Iterator[bytes]:
        """The bytes (RFC 5322, RFC 2045), a piece at a time.  Raises ``ValueError`` for an address that is none."""
        policy = SMTPUTF8 if self._utf8 else SMTP
        head = self._head(policy, now)
        text = EmailMessage(policy=policy)
        text.set_content(_lines(self.text), charset="utf-8", cte="quoted-printable")
        del text["MIME-Version"]
        if not self.files:
            yield _fields(head) + text.as_bytes()
            return
        boundary = f"=_{secrets.token_hex(20)}"  # "=_" stands in no base64 and no quoted-printable text (RFC 2045, 6.7)
        head["Content-Type"] = f'multipart/mixed; boundary="{boundary}"'
        yield _fields(head) + b"\r\n"
        yield f"--{boundary}\r\n".encode() + text.as_bytes()
        for file in self.files:
            part = EmailMessage(policy=policy)
            part["Content-Type"] = file.kind
            part["Content-Transfer-Encoding"] = "base64"
            part.add_header("Content-Disposition", "attachment", filename=file.name)
            yield f"\r\n--{boundary}\r\n".encode() + _fields(part) + b"\r\n"
            yield from _base64(file.read())
        yield f"\r\n--{boundary}--\r\n".encode()

    def _head(self, policy: EmailPolicy[EmailMessage], now: float) -> EmailMessage:
        head = EmailMessage(policy=policy)
        head["From"] = MailAddress(f"{self.author} via {self.organisation}", addr_spec=self.portal)
        head["Reply-To"] = _address(self.author)
        head["To"] = _address(self.sender)
        if self.others:
            head["Cc"] = tuple(map(_address, self.others))
        head["Subject"] = self.subject
        head["Date"] = format_datetime(datetime.fromtimestamp(now, UTC))
        head["Message-ID"] = make_msgid(domain=self.hostname)
        if self.original.message_id:
            known = [one for one in self.original.references if one != self.original.message_id]
            # The first and the latest: a thread of years would make a header field of a megabyte.
            kept = known if len(known) <= _MOST_REFERENCES else [known[0], *known[-_MOST_REFERENCES + 1 :]]
            head["In-Reply-To"] = self.original.message_id
            head["References"] = " ".join((*kept, self.original.message_id))
        head["MIME-Version"] = "1.0"
        return head


def _address(address: str) -> MailAddress:
    local, _, domain = address.rpartition("@")
    return MailAddress(username=local.strip('"'), domain=domain)


def _fields(message: EmailMessage) -> bytes:
    return b"".join(message.policy.fold_binary(name, value) for name, value in message.items())


def _lines(text: str) -> str:
    """A form's text with the line ends that the email package takes: what it does not know, it would cut or keep."""
    return "\n".join(text.replace("\r\n", "\n").replace("\r", "\n").split("\n")).rstrip("\n") + "\n"


def _base64(pieces: Iterable[bytes]) -> Iterator[bytes]:
    tail = b""
    for piece in pieces:
        block = tail + piece
        whole = len(block) - len(block) % _LINE
        yield base64.encodebytes(block[:whole]).replace(b"\n", b"\r\n")
        tail = block[whole:]
    yield base64.encodebytes(tail).replace(b"\n", b"\r\n")
