"""What the mails about receipts say.  In English, like everything that senders and operators are told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from restante.languages import ENGLISH, Words
from restante.receipts import Receipt


@dataclass(frozen=True, slots=True)
class Happened:
    """What happened to one copy.  Times are Unix seconds.

    ``was`` is the state that an expired copy was in; ``status`` is the enhanced status code (RFC 3463) and ``reply``
    the words with which a notice, or a reply, was refused; ``about`` what a notice was about, empty for the message.
    """

    event: Receipt
    recipient: str
    at: float
    sent_at: float
    expires_at: float
    was: str = ""
    status: str = ""
    reply: str = ""
    about: str = ""

    def moment(self, when: float) -> str:
        """A time in words."""
        return Words(ENGLISH).moment(when)


def _expired(one: Happened) -> str:
    if one.was == "quarantined":
        return f"Your message to {one.recipient} waited for review until its time was over. It was not sent."
    return f"{one.recipient} did not open your message in time. It can no longer be opened: send it again if needed."


def _lost(one: Happened) -> str:
    refused = f" with status {one.status}" if one.status else ""
    words = f': "{one.reply}"' if one.reply else "."
    if one.about == "sign-in":
        return (
            f"A notice to {one.recipient} about signing in to read messages did not arrive: it was refused{refused}"
            f"{words} Your message can still be read by who signs in. Check that the address is still right."
        )
    return (
        f"The notice to {one.recipient} did not arrive: it was refused{refused}{words} Your message still waits in the "
        f"portal, but {one.recipient} does not know of it. Check the address."
    )


def _reply_lost(one: Happened) -> str:
    if one.was:
        return (
            f"{one.recipient} replied to your message, which ended before it was certain that the reply was sent. "
            "If you have no reply, ask for it in another way."
        )
    words = f': "{one.reply}"' if one.reply else "."
    return (
        f"{one.recipient} replied to your message, and the reply could not be brought to everybody whom it was for"
        f"{words} Ask for it in another way."
    )


_TEXTS: Mapping[Receipt, tuple[str, Callable[[Happened], str]]] = MappingProxyType(
    {
        Receipt.OPENED: (
            "Your message was opened",
            lambda one: f"Your message was opened by {one.recipient} on {one.moment(one.at)}.",
        ),
        Receipt.DOWNLOADED: (
            "Your message was downloaded",
            lambda one: f"{one.recipient} began to download from your message on {one.moment(one.at)}.",
        ),
        Receipt.REPLIED: (
            "Your message was replied to",
            lambda one: f"{one.recipient} replied to your message on {one.moment(one.at)}. The reply comes as a mail.",
        ),
        Receipt.EXPIRING: (
            "Your message has not been read",
            lambda one: (
                f"{one.recipient} has not opened your message. It is kept until {one.moment(one.expires_at)}, and can "
                "not be opened after that. You can remind the recipient, or have it kept longer."
            ),
        ),
        Receipt.EXPIRED: ("Your message has expired", _expired),
        Receipt.NOT_ME: (
            "Your message was opened by somebody else",
            lambda one: (
                f"{one.recipient} says that somebody else opened your message. Since {one.moment(one.at)} nobody can "
                "open it. Talk to the recipient, by telephone or in person, and then recall the message, or let it be "
                "opened again with a new access code."
            ),
        ),
        Receipt.NOTICE_LOST: ("A notice about your message did not arrive", _lost),
        Receipt.REPLY_LOST: ("A reply to your message was lost", _reply_lost),
    }
)


def subject_of(event: Receipt) -> str:
    """The subject of the mail to the sender."""
    return _TEXTS[event][0]


def text_of(one: Happened) -> str:
    """What the sender is told, with the time of the message that it is about."""
    return f"About your message of {one.moment(one.sent_at)}. {_TEXTS[one.event][1](one)}"
