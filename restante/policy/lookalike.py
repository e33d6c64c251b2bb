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
_PAIRS: Final = (("m", "rn"), ("w", "vv"), ("0", "o"), ("1", "l"), ("i", "l"))


@cache
def _looks() -> dict[int, str]:
    text = files("restante.policy").joinpath("data/confusables.txt").read_text(encoding="utf-8")
    return {ord(line[0]): line[2:] for line in text.splitlines() if line and not line.startswith("#")}


def _shown(domain: str) -> str:
    """``domain``, in A-labels, as readers show it."""
    if "xn--" not in domain:
        return domain
    try:
        return idna.decode(domain)
    except (idna.IDNAError, UnicodeError):
        return domain  # no reader shows it as anything else either


def _skeleton(shown: str) -> str:
    seen = shown.translate(_looks())
    for written, prototype in _PAIRS:
        seen = seen.replace(written, prototype)
    return seen


def skeleton(domain: str) -> str:
    """What ``domain``, in A-labels, looks like: two domains with one skeleton cannot be told apart at a glance."""
    return _skeleton(_shown(domain))


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
    shown = _shown(domain)
    if len(shown.rpartition(".")[0]) < SHORTEST_WITH_SLIP:
        return frozenset({_skeleton(shown)})
    return frozenset({_skeleton(shown), *map(_skeleton, slips(shown))})


def resembles(domain: str, others: Collection[str]) -> str:
    """The one of ``others`` that ``domain`` can be taken for; empty where it is one of them, or below one."""
    if any(domain == other or domain.endswith(f".{other}") for other in others):
        return ""
    shown = _shown(domain)
    length = len(shown.rpartition(".")[0])
    allowed = 0 if length < SHORTEST_WITH_SLIP else 1 if length < SHORTEST_WITH_TWO else 2
    return next((other for other in others if _within(shown, _shown(other), allowed)), "")


def _within(one: str, other: str, allowed: int) -> bool:
    """Whether two domains look alike, or at most ``allowed`` slips lie between them before one last label."""
    seen, others_seen = _skeleton(one), _skeleton(other)
    if seen == others_seen:
        return True
    if not allowed or one.rpartition(".")[2] != other.rpartition(".")[2] or abs(len(one) - len(other)) > allowed:
        return False
    return min(_distance(one, other), _distance(seen, others_seen)) <= allowed


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
