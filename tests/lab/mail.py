"""Sending mail as a user's program would, and the sample messages that the tests and the demo send.

The reply codes are what matters, so commands are sent one by one; the content goes out byte for byte, dots stuffed.
"""

from __future__ import annotations

import smtplib
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import SMTP

from tests.lab.netns import Host

TIMEOUT_SECONDS = 60.0
SENDER = "ann@site.example"
RECIPIENTS = ("bob@tls.example",)
MARKER = "TOP-SECRET-CONTENT"

# A number that passes the check digit and is nobody's: the brand's own test number is on every list of samples,
# which detectors may ignore.
CARD_NUMBER = "4929 1234 5678 9015"


@dataclass(frozen=True, slots=True)
class Submission:
    """What the server said.  ``code`` is the reply that settled the message: to DATA's end, or the earlier refusal.

    ``refused`` maps refused recipients to their codes.
    """

    code: int
    reply: str
    refused: dict[str, int]

    @property
    def accepted(self) -> bool:
        """Whether the server has taken responsibility for the message."""
        return self.code == 250


def send(
    content: bytes | EmailMessage,
    sender: str,
    recipients: Sequence[str],
    *,
    host: Host | None,
    address: str = "127.0.0.1",
    port: int = 25,
    options: Sequence[str] = (),
    rcpt_options: Sequence[str] = (),
) -> Submission:
    """Send one message to the server at ``address``, from inside ``host`` where one is given.

    ``options`` go to MAIL.  Raises ``OSError`` or ``smtplib.SMTPServerDisconnected`` when the connection breaks.
    """
    raw = content if isinstance(content, bytes) else content.as_bytes(policy=SMTP)

    def session() -> Submission:
        with smtplib.SMTP(address, port, local_hostname="client.site.example", timeout=TIMEOUT_SECONDS) as client:
            return _transact(client, raw, sender, recipients, options, rcpt_options)

    return host.call(session) if host else session()


def _transact(
    client: smtplib.SMTP,
    raw: bytes,
    sender: str,
    recipients: Sequence[str],
    options: Sequence[str],
    rcpt_options: Sequence[str],
) -> Submission:
    client.ehlo()
    if "SMTPUTF8" in options:
        client.command_encoding = "utf-8"
    code, reply = client.mail(sender, options)
    refused: dict[str, int] = {}
    if code == 250:
        for recipient in recipients:
            code, reply = client.rcpt(recipient, rcpt_options)
            if code // 100 != 2:
                refused[recipient] = code
        if len(refused) < len(recipients):
            code, reply = client.data(raw)
    return Submission(code, reply.decode("utf-8", "replace"), refused)


def message(subject: str, text: str, *, sender: str = SENDER, to: Sequence[str] = RECIPIENTS) -> EmailMessage:
    """A plain message with its own Message-ID."""
    mail = EmailMessage()
    mail["From"] = sender
    mail["To"] = ", ".join(to)
    mail["Subject"] = subject
    mail["Message-ID"] = f"<{uuid.uuid4()}@site.example>"
    mail.set_content(text)
    return mail


def newsletter(*, sender: str = SENDER, to: Sequence[str] = RECIPIENTS) -> EmailMessage:
    """A message that nothing in the default policy matches."""
    return message(
        "Our news for November", "The autumn fair opens on Saturday at ten. Come and see us.", sender=sender, to=to
    )


def triggered(marker: str = MARKER, *, sender: str = SENDER, to: Sequence[str] = RECIPIENTS) -> EmailMessage:
    """A message that its sender marked; ``marker`` stands in subject and body, to be looked for in clear."""
    return message(f"[secure] your results {marker}", f"These are for you alone: {marker}.", sender=sender, to=to)


def with_card(marker: str = MARKER, *, sender: str = SENDER, to: Sequence[str] = RECIPIENTS) -> EmailMessage:
    """A message that holds a payment card number."""
    return message("your order", f"Please charge my card {CARD_NUMBER}. {marker}", sender=sender, to=to)


def for_review(*, sender: str = SENDER, to: Sequence[str] = RECIPIENTS) -> EmailMessage:
    """A message that the lab's policy puts into quarantine (rule ``review``)."""
    return message("about project nightfall", "The project nightfall figures are below.", sender=sender, to=to)
