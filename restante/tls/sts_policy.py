"""MTA-STS records and policies as values (RFC 8461, section 3).  Pure.

Guarantees: any bytes give a value or :class:`BadPolicy`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

MAX_POLICY: Final = 65_536
LONGEST_AGE: Final = 31_557_600
# A policy with more patterns is answered by the names of its hosts: Postfix reads an answer as one line.
MAX_PATTERNS: Final = 50

_LABEL: Final = "[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
_PATTERN: Final = re.compile(rf"(\*\.)?{_LABEL}(\.{_LABEL})+")
_FIELD: Final = re.compile(r"([A-Za-z0-9][A-Za-z0-9_.-]{0,31}):[ \t]*([^\x00-\x1f\x7f]*)")
_RECORD: Final = re.compile(
    r"v=STSv1([ \t]*;[ \t]*[A-Za-z0-9][A-Za-z0-9_.-]{0,31}=[\x21-\x3a\x3c\x3e-\x7e]+)+[ \t]*;?[ \t]*"
)
_ID: Final = re.compile(r";[ \t]*id=([A-Za-z0-9]{1,32})[ \t]*(?:;|$)")


class BadPolicy(ValueError):
    """The policy is not one: the domain is as if it had none, unless an earlier one is still in force."""


class Mode(StrEnum):
    """What senders are to do when a host fails the policy."""

    ENFORCE = "enforce"
    TESTING = "testing"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class StsPolicy:
    """A policy as published.  ``mx`` are host names or ``*.`` patterns in lower case; ``max_age`` is in seconds."""

    mode: Mode
    mx: tuple[str, ...]
    max_age: int

    def allows(self, host: str) -> bool:
        """Whether the policy names ``host``; ``*`` stands for exactly one label (RFC 8461, section 4.1)."""
        host = host.lower().rstrip(".")
        _, _, parent = host.partition(".")
        return any(pattern == host or (pattern.startswith("*.") and pattern[2:] == parent) for pattern in self.mx)

    @property
    def postfix_patterns(self) -> tuple[str, ...]:
        """The patterns for Postfix's ``match=``, where a leading dot stands for the wildcard."""
        return tuple(pattern.removeprefix("*") for pattern in self.mx)


@dataclass(frozen=True, slots=True)
class KnownPolicy:
    """A policy that was fetched for ``domain`` under the record's ``id``.  Times are Unix seconds."""

    domain: str
    id: str
    policy: StsPolicy
    fetched_at: float

    @property
    def expires_at(self) -> float:
        """Until when it binds, whatever happens to the record or to its server (RFC 8461, section 5.1)."""
        return self.fetched_at + self.policy.max_age


def policy_id(texts: Iterable[bytes]) -> str | None:
    """The id in the TXT records of ``_mta-sts.DOMAIN``; ``None`` unless exactly one is a sound record (section 3.1)."""
    records = [text for text in texts if re.match(rb"v=STSv1[ \t]*;", text)]
    if len(records) != 1 or len(records[0]) > 4096:
        return None
    text = records[0].decode("latin-1")
    found = _ID.search(text) if _RECORD.fullmatch(text) else None
    return found[1] if found else None


def parse_policy(data: bytes) -> StsPolicy:
    """Read a policy file (section 3.2).  Unknown and repeated fields are ignored.  Raises :class:`BadPolicy`."""
    if len(data) > MAX_POLICY:
        raise BadPolicy("the policy is too large")
    try:
        lines = data.decode("utf-8").replace("\r\n", "\n").split("\n")
    except UnicodeDecodeError:
        raise BadPolicy("the policy is no UTF-8 text") from None
    fields: dict[str, str] = {}
    patterns: dict[str, None] = {}
    for line in lines:
        if not line.strip(" \t"):
            continue
        field = _FIELD.fullmatch(line)
        if field is None:
            raise BadPolicy("a line of the policy is no field")
        name, value = field[1], field[2].rstrip(" \t")
        if name == "mx":
            patterns[_pattern(value)] = None
        else:
            fields.setdefault(name, value)
    return _policy(fields, tuple(patterns))


def _policy(fields: dict[str, str], patterns: tuple[str, ...]) -> StsPolicy:
    if fields.get("version") != "STSv1":
        raise BadPolicy("the policy has no version STSv1")
    try:
        mode = Mode(fields.get("mode", ""))
    except ValueError:
        raise BadPolicy("the policy has no known mode") from None
    age = fields.get("max_age", "")
    if not re.fullmatch(r"[0-9]{1,10}", age) or int(age) > LONGEST_AGE:
        raise BadPolicy("the policy's max_age is missing or out of range")
    if not patterns and mode is not Mode.NONE:
        raise BadPolicy("the policy names no MX host")
    return StsPolicy(mode, patterns, int(age))


def _pattern(value: str) -> str:
    pattern = value.lower().rstrip(".")
    if len(pattern) > 255 or not _PATTERN.fullmatch(pattern):
        raise BadPolicy("an mx field of the policy is no host name")
    return pattern
