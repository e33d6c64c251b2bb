"""One-time codes of an authenticator app (TOTP, RFC 6238): six digits, SHA-1, steps of 30 seconds, as all apps have it.

The code of the step before and after counts as well: clocks differ (section 5.2).  A step is named, so that whoever
stores the latest one that was used can refuse it a second time (section 5.2, "one time only").
"""

from __future__ import annotations

import base64
import hmac
import os
from urllib.parse import quote

from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP

from restante.tokens import plain_number

DIGITS, STEP_SECONDS, DRIFT_STEPS = 6, 30, 1
SECRET_BYTES = 20


def fresh_secret() -> bytes:
    """A secret to share with an app: as long as the hash, as RFC 4226 recommends (section 4)."""
    return os.urandom(SECRET_BYTES)


def matching_step(secret: bytes, typed: str, now: float) -> int | None:
    """The step whose code ``typed`` is, at ``now`` (Unix seconds) give or take one step; ``None`` where it is none."""
    totp = TOTP(secret, DIGITS, SHA1(), STEP_SECONDS)  # noqa: S303  what the apps do; HMAC does not suffer from it
    given = plain_number(typed).encode()
    found = None
    for step in range(int(now // STEP_SECONDS) - DRIFT_STEPS, int(now // STEP_SECONDS) + DRIFT_STEPS + 1):
        if hmac.compare_digest(totp.generate(step * STEP_SECONDS), given):
            found = step
    return found


def written(secret: bytes) -> str:
    """The secret as a person types it into an app, in groups of four letters."""
    text = base64.b32encode(secret).decode()
    return " ".join(text[at : at + 4] for at in range(0, len(text), 4))


def address_of(secret: bytes, account: str, issuer: str) -> str:
    """The ``otpauth:`` address that an app reads out of a picture or a link."""
    label = f"{quote(issuer, safe='')}:{quote(account, safe='@')}"
    return f"otpauth://totp/{label}?secret={base64.b32encode(secret).decode()}&issuer={quote(issuer, safe='')}"
