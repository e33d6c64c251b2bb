"""What follows from what among conditions: rules as alternatives of terms, a term as claims that all hold.

Sound, not complete: what is said to follow or to exclude always does; what is not said may.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any, Final

from restante.classify.finding import Confidence
from restante.policy.addresses import GROUP
from restante.policy.clock import DAYS, Hours
from restante.policy.condition import Condition, HeaderCondition, tag_word
from restante.policy.facts import Context, Direction
from restante.policy.packs import covers
from restante.policy.rule import Rule

MOST_TERMS: Final = 256
"""More alternatives in one rule are not looked at: nothing is said about it."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Findings that are asked for.  ``groups`` are of a pack; without one there is a single group."""

    groups: tuple[frozenset[str], ...]
    least: Confidence
    count: int
    places: frozenset[str]
    reasons: frozenset[str]
    quoted: bool | None


@dataclass(frozen=True, slots=True)
class Claim:
    """One key of a condition, or its opposite; ``value`` is what the key says."""

    kind: str
    value: Any
    holds: bool = True

    def opposite(self) -> Claim:
        """What is true when this is not."""
        return Claim(self.kind, self.value, not self.holds)


Term = tuple[Claim, ...]


class TooMany(Exception):
    """The rule has too many alternatives.  Say nothing about it."""


def terms_of(rule: Rule, context: Context) -> tuple[Term, ...]:
    """The alternatives under which ``rule`` matches.  Raises :class:`TooMany`."""
    own = [Claim("senders", _members(rule.senders, context))] if rule.senders else []
    own += [Claim("recipients", _members(rule.recipients, context))] if rule.recipients else []
    found = [(*own, *term) for condition in rule.when for term in terms_of_condition(condition, context)]
    if len(found) > MOST_TERMS:
        raise TooMany
    return tuple(found)


def terms_of_condition(condition: Condition, context: Context, *, holds: bool = True) -> tuple[Term, ...]:
    """The alternatives under which ``condition`` holds, or does not.  Raises :class:`TooMany`."""
    parts: list[tuple[Term, ...]] = [
        ((claim if holds else claim.opposite(),),) for claim in _claims(condition, context)
    ]
    parts += [terms_of_condition(one, context, holds=holds) for one in condition.all_of]
    if condition.any_of:
        each = [terms_of_condition(one, context, holds=holds) for one in condition.any_of]
        parts.append(_either(each) if holds else _together(each))
    if condition.none_of is not None:
        parts.append(terms_of_condition(condition.none_of, context, holds=not holds))
    if condition.always:
        parts.append(((),) if holds else ())
    return _together(parts) if holds else _either(parts)


def _together(parts: Iterable[tuple[Term, ...]]) -> tuple[Term, ...]:
    terms: tuple[Term, ...] = ((),)
    for part in parts:
        if len(terms) * len(part) > MOST_TERMS:
            raise TooMany
        terms = tuple((*left, *right) for left, right in product(terms, part))
    return terms


def _either(parts: Iterable[tuple[Term, ...]]) -> tuple[Term, ...]:
    terms = tuple(term for part in parts for term in part)
    if len(terms) > MOST_TERMS:
        raise TooMany
    return terms


def _claims(condition: Condition, context: Context) -> Iterator[Claim]:
    if condition.asks_for_findings:
        yield Claim("findings", _wanted(condition, context))
    for kind in ("freemail", "lookalike", "first_contact"):
        if (wanted := getattr(condition, kind)) is not None:
            yield Claim(kind, None, wanted)
    for kind, value_of in _VALUES.items():
        value = getattr(condition, kind)
        if value is not None and value != ():
            yield Claim(kind, value_of(value, context))


def _wanted(condition: Condition, context: Context) -> Wanted:
    reasons = frozenset(text.casefold() for text in condition.reasons)
    narrow = (condition.count, frozenset(condition.places), reasons, condition.quoted)
    purpose = context.named.purposes.get(condition.pack or "")
    if purpose is not None:
        return Wanted(purpose.groups, condition.confidence or purpose.confidence, *narrow)
    names = frozenset(condition.detectors).union(*(context.named.tags.get(tag, ()) for tag in condition.tags))
    return Wanted((names,), condition.confidence or Confidence.HIGH, *narrow)


def _members(patterns: Iterable[str], context: Context) -> frozenset[str]:
    """The patterns, with groups taken apart."""
    plain: set[str] = set()
    for pattern in patterns:
        group = context.groups.get(pattern.removeprefix(GROUP)) if pattern.startswith(GROUP) else None
        if group is None:
            plain.add(pattern)
        else:
            plain |= group.addresses | group.domains | set(group.below)
    return frozenset(plain)


def _folded(texts: Iterable[str], _context: Context) -> frozenset[str]:
    return frozenset(text.casefold() for text in texts)


def _as_it_is(value: Any, _context: Context) -> Any:
    return value


_VALUES: Final[Mapping[str, Callable[[Any, Context], Any]]] = {
    **dict.fromkeys(("senders", "recipients", "only_recipients"), _members),
    **dict.fromkeys(("min_recipients", "max_recipients", "min_size", "max_size", "header", "hours"), _as_it_is),
    **dict.fromkeys(("users", "attachment_names", "attachment_types"), _folded),
    "direction": lambda value, _context: frozenset(value),
    "subject_tags": lambda value, _context: frozenset(map(tag_word, value)),
}


def follows(claim: Claim, other: Claim) -> bool:
    """Whether ``other`` is true whenever ``claim`` is."""
    if claim.holds and other.holds:
        return _implies(claim, other)
    if claim.holds:
        return _excludes(claim, other) or _excludes(other, claim)
    return not other.holds and _implies(other.opposite(), claim.opposite())


def contradicts(term: Term) -> bool:
    """Whether no message can fit all of ``term``."""
    return any(_impossible(claim) for claim in term) or any(
        follows(one, other.opposite()) for at, one in enumerate(term) for other in term[at + 1 :]
    )


def covered(term: Term, others: Iterable[Term]) -> bool:
    """Whether whatever fits ``term`` fits one of ``others``."""
    return any(all(any(follows(one, claim) for one in term) for claim in other) for other in others)


def _impossible(claim: Claim) -> bool:
    if claim.kind == "hours":
        return not _minutes(claim.value) if claim.holds else len(_minutes(claim.value)) == _WEEK
    # Every message has a recipient, and at least no bytes.
    least = {"min_recipients": 1, "min_size": 0}.get(claim.kind)
    return least is not None and not claim.holds and bool(claim.value <= least)


def _implies(one: Claim, other: Claim) -> bool:
    if one.kind != other.kind:
        return _across(one, other)
    return _SAME_KIND[one.kind](one.value, other.value)


def _across(one: Claim, other: Claim) -> bool:
    """What follows from a claim of another kind."""
    if other.kind == "direction" and one.kind in {"freemail", "lookalike", "first_contact"}:
        return Direction.OUTGOING in other.value
    if (one.kind, other.kind) == ("only_recipients", "recipients"):
        return _within(one.value, other.value)
    return False


def _excludes(one: Claim, other: Claim) -> bool:
    """Whether both cannot be true; both are claims that hold, whatever their sign."""
    kinds = (one.kind, other.kind)
    if kinds in {("senders", "senders"), ("only_recipients", "only_recipients"), ("only_recipients", "recipients")}:
        return not _meet(one.value, other.value)
    if kinds in {("direction", "direction"), ("users", "users")}:
        return not one.value & other.value
    if kinds in {("min_size", "max_size"), ("min_recipients", "max_recipients")}:
        return bool(one.value > other.value)
    if kinds == ("hours", "hours"):
        return one.value.zone == other.value.zone and not _minutes(one.value) & _minutes(other.value)
    outgoing = {"freemail", "lookalike", "first_contact"}
    return one.kind in outgoing and other.kind == "direction" and Direction.OUTGOING not in other.value


def _within(some: frozenset[str], others: frozenset[str]) -> bool:
    """Whether every address that fits ``some`` fits ``others``."""
    return all(any(_address_covers(other, one) for other in others) for one in some)


def _meet(some: frozenset[str], others: frozenset[str]) -> bool:
    """Whether some address may fit both."""
    return any(_address_covers(one, other) or _address_covers(other, one) for one in some for other in others)


def _address_covers(pattern: str, other: str) -> bool:
    if pattern == other:
        return True
    if "@" in pattern or GROUP in pattern or GROUP in other:
        return False
    domain = other.rpartition("@")[2]
    if pattern.startswith("."):
        return domain.endswith(pattern)
    return "@" in other and domain == pattern


def _names_within(some: frozenset[str], others: frozenset[str]) -> bool:
    return all(any(_name_covers(other, one) for other in others) for one in some)


def _name_covers(pattern: str, other: str) -> bool:
    if other.endswith("*"):
        return pattern.endswith("*") and other.startswith(pattern[:-1])
    return covers(pattern, other)


def _findings_imply(one: Wanted, other: Wanted) -> bool:
    if not _narrower(one, other):
        return False
    first, *rest = other.groups
    if other.count > 1 and not (one.count >= other.count and _names_within(one.groups[0], first)):
        return False
    if other.count <= 1 and not any(_names_within(group, first) for group in one.groups):
        return False
    return all(any(_names_within(group, wanted) for group in one.groups) for wanted in rest)


def _narrower(one: Wanted, other: Wanted) -> bool:
    """Whether of the same findings all that count for ``one`` count for ``other``."""
    if one.least < other.least or (other.places and not one.places) or (other.reasons and not one.reasons):
        return False
    return (
        other.quoted in {None, one.quoted}
        and all(any(_place_within(here, there) for there in other.places) for here in one.places if other.places)
        and all(any(there in here for there in other.reasons) for here in one.reasons if other.reasons)
    )


def _place_within(here: str, there: str) -> bool:
    return here == there or here.startswith(f"{there}:")


def _header_implies(one: HeaderCondition, other: HeaderCondition) -> bool:
    return (
        one.name.lower() == other.name.lower()
        and other.contains.casefold() in one.contains.casefold()
        and other.matches in {"", one.matches}
    )


def _hours_imply(one: Hours, other: Hours) -> bool:
    return one.zone == other.zone and _minutes(one) <= _minutes(other)


_WEEK: Final = 7 * 1440


def _minutes(hours: Hours) -> frozenset[int]:
    """The minutes of the week, in the zone of ``hours``, that lie within."""
    found: set[int] = set()
    length = hours.end - hours.start if hours.start < hours.end else 1440 - hours.start + hours.end
    for day in hours.days if not hours.never else ():
        start = DAYS.index(day) * 1440 + hours.start
        found.update((start + at) % _WEEK for at in range(length))
    return frozenset(found)


def _subset(one: frozenset[str], other: frozenset[str]) -> bool:
    return one <= other


def _always(_one: object, _other: object) -> bool:
    return True


_SAME_KIND: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "findings": _findings_imply,
    "senders": _within,
    "recipients": _within,
    "only_recipients": _within,
    "freemail": _always,
    "lookalike": _always,
    "first_contact": _always,
    "min_recipients": lambda one, other: one >= other,
    "max_recipients": lambda one, other: one <= other,
    "min_size": lambda one, other: one >= other,
    "max_size": lambda one, other: one <= other,
    "header": _header_implies,
    "hours": _hours_imply,
    "users": _subset,
    "attachment_names": _subset,
    "attachment_types": _subset,
    "direction": _subset,
    "subject_tags": _subset,
}
