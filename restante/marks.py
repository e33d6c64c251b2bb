"""The header fields by which Restante's own processes recognise their work, each with a MAC.

``X-Restante-Route`` travels with a message under mandatory TLS, so that the fallback intake knows the message for
ours and knows what its rule wants.  ``X-Restante-Notice`` marks our own notices, which are never held.  A field that
anyone else wrote does not verify and means nothing.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from dataclasses import dataclass
from typing import Self

from restante.tls.evidence import Requirement

ROUTE_HEADER = "X-Restante-Route"
NOTICE_HEADER = "X-Restante-Notice"


class BadMark(ValueError):
    """The header field is not ours.  Treat the message as if it had none."""


def _mac(secret: bytes, purpose: str, text: str) -> str:
    digest = hmac.new(secret, f"{purpose}\0{text}".encode(), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(digest[:18]).decode("ascii")


def derive(secret: bytes, purpose: str) -> bytes:
    """A key for another purpose from the route secret, so that no two purposes share one."""
    return hmac.new(secret, f"derive\0{purpose}".encode(), hashlib.sha256).digest()


def _signed(secret: bytes, purpose: str, text: str) -> str:
    return f"{text} mac={_mac(secret, purpose, text)}"


def _verified(secret: bytes, purpose: str, value: str) -> dict[str, str]:
    """The ``name=value`` pairs of a mark whose MAC is right.  Raises :class:`BadMark`."""
    unfolded = " ".join(value.split())
    text, found, mac = unfolded.rpartition(" mac=")
    if not found or not hmac.compare_digest(mac.encode(), _mac(secret, purpose, text).encode()):
        raise BadMark("the mark does not verify")
    return dict(pair.split("=", 1) for pair in text.split(" ") if "=" in pair)


@dataclass(frozen=True, slots=True)
class RouteMark:
    """What a message under mandatory TLS carries.  ``deadline`` is in Unix seconds."""

    route_id: str
    requirement: Requirement
    otherwise: str
    rule: str
    deadline: float

    @classmethod
    def fresh(cls, requirement: Requirement, otherwise: str, rule: str, deadline: float) -> Self:
        """A mark with an id of its own."""
        return cls(secrets.token_hex(16), requirement, otherwise, rule, deadline)

    def sign(self, secret: bytes) -> str:
        """The value of the header field.  It begins as Postfix's header checks expect: ``tls level=LEVEL``."""
        return _signed(
            secret,
            "route",
            f"tls level={self.requirement} otherwise={self.otherwise} rule={self.rule} "
            f"deadline={self.deadline:.0f} id={self.route_id}",
        )

    @classmethod
    def verify(cls, secret: bytes, value: str) -> Self:
        """Read a mark back.  Raises :class:`BadMark` for anything that :meth:`sign` did not write."""
        pairs = _verified(secret, "route", value)
        return cls(
            pairs["id"], Requirement(pairs["level"]), pairs["otherwise"], pairs["rule"], float(pairs["deadline"])
        )


@dataclass(frozen=True, slots=True)
class NoticeMark:
    """What our own notices carry.  ``delivery_id`` is empty where the notice is for a sender."""

    message_id: str
    delivery_id: str = ""

    def sign(self, secret: bytes) -> str:
        """The value of the header field."""
        return _signed(secret, "notice", f"message={self.message_id} delivery={self.delivery_id}")

    @classmethod
    def verify(cls, secret: bytes, value: str) -> Self:
        """Read a mark back.  Raises :class:`BadMark`."""
        pairs = _verified(secret, "notice", value)
        return cls(pairs["message"], pairs["delivery"])
