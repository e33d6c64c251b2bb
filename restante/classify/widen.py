"""Patterns that match more, and are cheaper to look for together: any digit where some may stand, any letter likewise.

An automaton of many patterns needs a state for each combination of those that may still match.  Digits and letters
that no pattern tells apart lead to the same state.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Final

import re2

_LETTERS: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_DIGITS: Final = "0123456789"
RUNS: Final = b"\n".join(one * length for one in (b"0", b"a") for length in range(100))
"""Numbers and words of every length."""

# Everything that patterns are written with, each token whole; not what is followed by a name or a number.
_TOKEN = re.compile(
    r"(?P<class>\[(?!\^)\]?(?:\\[^\w]|\\[dstnrf]|[^\[\]\\])*\])"
    r"|(?P<character>[^\\\[\](){}|?*+.^$])"
    r"|\[\^\]?(?:\\[^\w]|\\[dstnrf]|[^\[\]\\])*\]|\\[^\w]|\\[dstnrf]"
    r"|\(\?(?:i\)|(?:-?i)?:)|[)|.?*+]|\{[0-9]+(?:,[0-9]*)?\}",
    re.ASCII,
)


def widened(pattern: str) -> str | None:
    """A pattern that matches wherever ``pattern`` does; nothing where it has what is not surely understood here."""
    written, at = [], 0
    while at < len(pattern):
        token = _TOKEN.match(pattern, at)
        if token is None:
            return None
        members = token["class"] or (token["character"] if token[0].isalnum() else None)
        written.append(_any_of_its_kind(members) if members else token[0])
        at = token.end()
    return "".join(written)


@cache
def _any_of_its_kind(members: str) -> str:
    """The class or character ``members``, with all digits where it has one, and all letters where it has one."""
    has = re2.compile(members)
    kinds = [kind for kind, all_of_it in (("[0-9]", _DIGITS), ("[A-Za-z]", _LETTERS)) if has.search(all_of_it)]
    return f"(?:{'|'.join([members, *kinds])})"
