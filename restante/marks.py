"""The header fields by which Restante's own processes recognise their work, sealed and authenticated.

``X-Restante-Route`` travels with a message under mandatory TLS, so that the fallback intake knows the message for
ours and knows what its rule wants.  ``X-Restante-Notice`` marks our own notices, which are never held.  A field that
anyone else wrote does not verify and means nothing.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from dataclasses import asdict, dataclass
from typing import Any, Self

from nacl import bindings
from nacl.exceptions import CryptoError

from restante.tls.evidence import Requirement

ROUTE_HEADER = "X-Restante-Route"
NOTICE_HEADER = "X-Restante-Notice"

NOTICE = "notice"
"""A route mark's ``otherwise`` on our own notices.  A notice mark alone proves nothing: everyone who got one has it."""


class BadMark(ValueError):
    """The header field is not ours.  Treat the message as if it had none."""


_WORD = 48
_NONCE = bindings.crypto_aead_xchacha20poly1305_ietf_NPUBBYTES


def derive(secret: bytes, purpose: str) -> bytes:
    """A key for one purpose from the route secret, so that no two purposes share one."""
    return hmac.new(secret, f"derive\0{purpose}".encode(), hashlib.sha256).digest()


def _seal(secret: bytes, purpose: str, fields: dict[str, str | float]) -> str:
    """``fields`` as one opaque word: recipients of the message learn nothing of our rules from it."""
    nonce = secrets.token_bytes(_NONCE)
    sealed = bindings.crypto_aead_xchacha20poly1305_ietf_encrypt(
        json.dumps(fields, separators=(",", ":")).encode(), purpose.encode(), nonce, derive(secret, purpose)
    )
    return base64.urlsafe_b64encode(nonce + sealed).decode("ascii")


def _open(secret: bytes, purpose: str, value: str) -> dict[str, Any]:
    """The fields of ``value``, if :func:`_seal` made it.  Raises :class:`BadMark`."""
    try:
        raw = base64.urlsafe_b64decode(value.encode("ascii"))
        plain = bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(
            raw[_NONCE:], purpose.encode(), raw[:_NONCE], derive(secret, purpose)
        )
    except (ValueError, CryptoError) as error:
        raise BadMark("the mark does not verify") from error
    fields: dict[str, Any] = json.loads(plain)
    return fields


@dataclass(frozen=True, slots=True)
class RouteMark:
    """What a message under mandatory TLS carries.  ``deadline`` is in Unix seconds.

    ``kept_seconds`` is how long it waits should it be held after all; 0 means as the rule says then.
    """

    route_id: str
    requirement: Requirement
    otherwise: str
    rule: str
    deadline: float
    kept_seconds: float = 0.0

    @classmethod
    def fresh(
        cls, requirement: Requirement, otherwise: str, rule: str, deadline: float, kept_seconds: float = 0.0
    ) -> Self:
        """A mark with an id of its own."""
        return cls(secrets.token_hex(16), requirement, otherwise, rule, deadline, kept_seconds)

    def sign(self, secret: bytes) -> str:
        """The value of the header field.  It begins as Postfix's header checks expect: ``tls level=LEVEL``."""
        return f"tls level={self.requirement} {_seal(secret, 'route', asdict(self))}"

    @classmethod
    def verify(cls, secret: bytes, value: str) -> Self:
        """Read a mark back.  Raises :class:`BadMark` for anything that :meth:`sign` did not write."""
        fields = _open(secret, "route", "".join(value.split()[2:]))
        return cls(**{**fields, "requirement": Requirement(fields["requirement"])})


@dataclass(frozen=True, slots=True)
class NoticeMark:
    """What our own notices carry.  ``delivery_id`` is empty where the notice is for a sender.

    ``job_id`` is set where the notice is about ways to sign in, and brings no link.
    """

    message_id: str
    delivery_id: str = ""
    job_id: str = ""

    def sign(self, secret: bytes) -> str:
        """The value of the header field, in words short enough to fold.

        The email package writes a longer word as RFC 2047 encoded words, which would not verify.
        """
        sealed = _seal(secret, "notice", asdict(self))
        return " ".join(sealed[start : start + _WORD] for start in range(0, len(sealed), _WORD))

    @classmethod
    def verify(cls, secret: bytes, value: str) -> Self:
        """Read a mark back.  Raises :class:`BadMark`."""
        return cls(**_open(secret, "notice", "".join(value.split())))
