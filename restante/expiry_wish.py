"""``X-Restante-Expire: 3d``: how long its sender wants a message to wait in the portal, within the rule's limits."""

from __future__ import annotations

import re
from collections.abc import Iterable

from restante.policy.rule import Rule

EXPIRE_HEADER = "X-Restante-Expire"
LEAST_SECONDS = 3600.0
_WISH = re.compile(rb"\s*([1-9][0-9]{0,3})\s*([hdw])\s*", re.IGNORECASE)
_SECONDS = {b"h": 3600.0, b"d": 86_400.0, b"w": 7 * 86_400.0}


class BadWish(ValueError):
    """The header field says no time, or two say different ones.  Refuse the message: it would be kept too long."""


def wished_seconds(values: Iterable[bytes]) -> float | None:
    """What the header fields of that name ask for, in seconds; ``None`` without any.  Raises :class:`BadWish`."""
    found = {_seconds(value) for value in values}
    if len(found) > 1:
        raise BadWish(f"several {EXPIRE_HEADER} fields say different times")
    return found.pop() if found else None


def _seconds(value: bytes) -> float:
    match = _WISH.fullmatch(value)
    if match is None:
        raise BadWish(f"{EXPIRE_HEADER} must be a number and h, d or w, such as 3d")
    return int(match[1]) * _SECONDS[match[2].lower()]


def seconds_kept(rule: Rule, wish: float | None) -> float:
    """How long a message waits: as the rule says, or as its sender wishes.

    A wish is bounded below by :data:`LEAST_SECONDS`, above by what the sender could have it extended to.
    """
    if wish is None:
        return rule.expires_after.total_seconds()
    return min(max(wish, LEAST_SECONDS), rule.extended_after.total_seconds())
