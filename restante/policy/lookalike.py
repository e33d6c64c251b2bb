"""Domains that a person would take for another: by letters that look alike (UTS 39, section 4) or by one slip.

Pure.  A slip is one letter too many, too few, wrong, or two neighbours exchanged.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import cache
from importlib.resources import files
from typing import Final

import idna

SHORTEST_WITH_SLIP: Final = 6
"""Characters before the last dot from which one slip counts: shorter names are too often near each other."""

SHORTEST_WITH_TWO: Final = 12
"""From here two slips count, where the other domain is known in plain."""

_LETTERS: Final = "abcdefghijklmnopqrstuvwxyz0123456789-"
_PAIRS: Final = (("rn", "m"), ("vv", "w"), ("0", "o"), ("1", "l"), ("i", "l"))


@cache
def _looks() -> dict[int, str]:
    text = files("restante.policy").joinpath("data/confusables.txt").read_text(encoding="utf-8")
    return {ord(line[0]): line[2:] for line in text.splitlines() if line and not line.startswith("#")}


def skeleton(domain: str) -> str:
    """What ``domain``, in A-labels, looks like: two domains with one skeleton cannot be told apart at a glance."""
    shown = domain
    if "xn--" in domain:
        try:
            shown = idna.decode(domain)
        except (idna.IDNAError, UnicodeError):
            shown = domain  # no reader shows it as anything else either
    shown = shown.translate(_looks())
    for written, seen in _PAIRS:
        shown = shown.replace(written, seen)
    return shown


def slips(text: str) -> Iterator[str]:
    """Every text that is one slip away from ``text``; the last label is left alone.  Some come more than once."""
    name, dot, last = text.rpartition(".")
    for at in range(len(name) + 1):
        head, tail = name[:at], name[at:]
        if tail:
            yield head + tail[1:] + dot + last
        if len(tail) > 1 and tail[0] != tail[1]:
            yield head + tail[1] + tail[0] + tail[2:] + dot + last
        for letter in _LETTERS:
            yield head + letter + tail + dot + last
            if tail and letter != tail[0]:
                yield head + letter + tail[1:] + dot + last


def disguises(domain: str) -> frozenset[str]:
    """The skeletons of which a frequent domain may be the bearer, if ``domain`` is to be its look-alike."""
    seen = skeleton(domain)
    if len(seen.rpartition(".")[0]) < SHORTEST_WITH_SLIP:
        return frozenset({seen})
    return frozenset({seen, *slips(seen)})


def resembles(domain: str, others: Collection[str]) -> str:
    """The one of ``others`` that ``domain`` can be taken for; empty where it is one of them, or below one."""
    if any(domain == other or domain.endswith(f".{other}") for other in others):
        return ""
    seen = skeleton(domain)
    length = len(seen.rpartition(".")[0])
    allowed = 0 if length < SHORTEST_WITH_SLIP else 1 if length < SHORTEST_WITH_TWO else 2
    return next((other for other in others if _within(seen, skeleton(other), allowed)), "")


def _within(one: str, other: str, allowed: int) -> bool:
    """Whether at most ``allowed`` slips lie between two skeletons with one last label."""
    if one == other:
        return True
    if not allowed or one.rpartition(".")[2] != other.rpartition(".")[2] or abs(len(one) - len(other)) > allowed:
        return False
    return _distance(one, other) <= allowed


def _distance(one: str, other: str) -> int:
    """The slips between two texts (optimal string alignment)."""
    before: list[int] = []
    row = list(range(len(other) + 1))
    for at, letter in enumerate(one, 1):
        here = [at]
        for to, wanted in enumerate(other, 1):
            cost = min(row[to] + 1, here[to - 1] + 1, row[to - 1] + (letter != wanted))
            if at > 1 and to > 1 and letter == other[to - 2] and one[at - 2] == wanted:
                cost = min(cost, before[to - 2] + 1)
            here.append(cost)
        before, row = row, here
    return row[-1]
