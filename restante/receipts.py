"""What a sender is told of a copy after it was sent, and which of it a sender may leave out."""

from __future__ import annotations

import hmac
from enum import StrEnum

from restante.marks import derive


class Receipt(StrEnum):
    """Something that happens to a copy."""

    OPENED = "opened"
    DOWNLOADED = "downloaded"
    REPLIED = "replied"
    EXPIRING = "expiring"  # its time is nearly over, and nobody has read it
    EXPIRED = "expired"  # nobody has read it, and nobody can any more
    NOT_ME = "not-me"  # the recipient says that somebody else opened it
    NOTICE_LOST = "notice-lost"  # the recipient's mail server would not have the notice
    REPLY_LOST = "reply-lost"  # what the recipient wrote could not be brought to those it was for


CHOSEN = (Receipt.OPENED, Receipt.DOWNLOADED, Receipt.REPLIED, Receipt.EXPIRING, Receipt.EXPIRED)
"""Those that a sender chooses by mail.  The others ask for something to be done, and are always sent."""


def sender_digest(route_secret: bytes, address: str) -> bytes:
    """A sender's address as the store knows it beside preferences: keyed, so that the database alone names nobody."""
    key = derive(route_secret, "sender-preferences")
    return hmac.digest(key, address.lower().encode("utf-8", "surrogateescape"), "sha256")[:16]
