"""What can happen to a recipient's ways to sign in, and how the notice about it says so in the recipient's language."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Self

from restante.languages import Words, marked


class Change(StrEnum):
    """What was set, changed or removed.  The greeting phrase is none: it signs nobody in."""

    PASSKEY = "passkey"
    PASSWORD = "password"  # noqa: S105  the word, and none
    NEW_PASSWORD = "new-password"  # noqa: S105  in the place of an earlier one
    REMOVED = "removed"  # everything: by the recipient, by enrolling anew, or with a copy that was frozen
    REMOVED_BY_OPERATOR = "removed-by-operator"


_TEXTS: Mapping[Change, str] = MappingProxyType(
    {
        Change.PASSKEY: marked("Passkey, set on %(moment)s"),
        Change.PASSWORD: marked("Password with one-time codes, set on %(moment)s"),
        Change.NEW_PASSWORD: marked("Password with one-time codes, changed on %(moment)s"),
        Change.REMOVED: marked("All ways to sign in, removed on %(moment)s"),
        Change.REMOVED_BY_OPERATOR: marked("All ways to sign in, removed by the administrators on %(moment)s"),
    }
)


@dataclass(frozen=True, slots=True)
class Changed:
    """One change, and when it was made, in Unix seconds."""

    what: Change
    at: float

    @classmethod
    def of(cls, kept: Mapping[str, Any]) -> Self:
        """From what :meth:`kept` gave."""
        return cls(Change(kept["what"]), kept["at"])

    def kept(self) -> dict[str, Any]:
        """As a job's payload keeps it."""
        return {"what": str(self.what), "at": self.at}

    def line(self, words: Words) -> str:
        """What the notice says of it."""
        return words.gettext(_TEXTS[self.what], moment=words.moment(self.at))
