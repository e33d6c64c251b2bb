"""What is wrong with a policy that is valid as a file: names that mean nothing, rules that no message reaches.

``grave`` problems are those that make a rule silently do less than it says; a policy that has one is refused when it
is loaded.  The rest is for ``restante policy check`` to report; a ``hint`` may be as it was meant.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from restante.policy.addresses import GROUP
from restante.policy.condition import Condition
from restante.policy.facts import Context
from restante.policy.logic import Term, TooMany, contradicts, covered, terms_of, terms_of_condition
from restante.policy.packs import covers
from restante.policy.rule import Rule
from restante.toml_source import BadFile, line_of, read_text

if TYPE_CHECKING:
    from restante.policy.policy import Policy

Location = tuple[int | str, ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, where, and how to mend it."""

    location: Location
    text: str
    remedy: str
    grave: bool = False
    hint: bool = False


def problems(policy: Policy) -> tuple[Problem, ...]:
    """Everything that is wrong, in the order of the rules; grave problems of a rule first."""
    context = policy.context
    words = {f"lexicon:{one.name}": len(one.words) for one in policy.catalogue.lexicons}
    found: list[Problem] = []
    before: list[tuple[Rule, tuple[Term, ...]]] = []
    for index, rule in enumerate(policy.rule):
        found += _unknown_names(rule, index, context)
        found += _impossible_counts(rule, index, context, words)
        try:
            terms = terms_of(rule, context)
        except TooMany:
            continue
        found += _unreachable(rule, index, terms, before, context)
        before.append((rule, terms))
    return (*found, *_unused_groups(policy), *_uninspected(policy))


def grave_problem(policy: Policy) -> Problem | None:
    """The first problem for which the policy must be refused."""
    context = policy.context
    return next((one for index, rule in enumerate(policy.rule) for one in _unknown_names(rule, index, context)), None)


def refuse_first_contact(policy: Policy, path: Path) -> None:
    """Refuse what nobody can answer: to a site that learns no correspondents everybody is a stranger.

    Raises :class:`restante.toml_source.BadFile`.
    """
    for index, rule in enumerate(policy.rule):
        for location, one in _located(rule, index):
            if one.first_contact is not None:
                where = (*location, "first_contact")
                problem = "nothing is remembered of whom this site writes to"
                remedy = "Set learn = true in [correspondents] of the settings, or remove the condition"
                raise BadFile(path, line_of(read_text(path), where), ".".join(map(str, where)), problem, remedy)


def _located(rule: Rule, index: int) -> Iterator[tuple[Location, Condition]]:
    for number, condition in enumerate(rule.when):
        yield from _below(condition, ("rule", index, "when", number))


def _below(condition: Condition, location: Location) -> Iterator[tuple[Location, Condition]]:
    yield location, condition
    for key, conditions in (("any", condition.any_of), ("all", condition.all_of)):
        for number, one in enumerate(conditions):
            yield from _below(one, (*location, key, number))
    if condition.none_of is not None:
        yield from _below(condition.none_of, (*location, "not"))


def _unknown_names(rule: Rule, index: int, context: Context) -> Iterator[Problem]:
    named = context.named
    for key in ("senders", "recipients"):
        yield from _unknown_groups(getattr(rule, key), ("rule", index, key), context)
    for location, one in _located(rule, index):
        if one.pack is not None and one.pack not in named.purposes:
            remedy = f"Write one of {', '.join(sorted(named.purposes)) or 'your own [[pack]] tables'}"
            yield Problem((*location, "pack"), f'there is no pack "{one.pack}"', remedy, grave=True)
        for tag in one.tags:
            if tag not in named.tags:
                remedy = "Correct its spelling, or give the tag to a detector"
                yield Problem((*location, "tags"), f'no detector has the tag "{tag}"', remedy, grave=True)
        for name in one.detectors:
            if not named.means_something(name):
                remedy = "Correct its spelling, or define it in a [[detector]] or [[lexicon]]"
                yield Problem((*location, "detectors"), f'no detector is called "{name}"', remedy, grave=True)
        for key in ("senders", "recipients", "only_recipients"):
            yield from _unknown_groups(getattr(one, key), (*location, key), context)


def _unknown_groups(patterns: tuple[str, ...], location: Location, context: Context) -> Iterator[Problem]:
    for pattern in patterns:
        name = pattern.removeprefix(GROUP)
        if pattern.startswith(GROUP) and name not in context.groups:
            yield Problem(location, f'there is no group "{name}"', "Add a [[group]] of that name", grave=True)


def _impossible_counts(rule: Rule, index: int, context: Context, words: Mapping[str, int]) -> Iterator[Problem]:
    """Counts beyond what can be told apart: a word counts once, however often it is written."""
    for location, one in _located(rule, index):
        if one.count == 1:
            continue
        purpose = context.named.purposes.get(one.pack or "")
        names = purpose.groups[0] if purpose is not None else _meant(one, context)
        if names and names <= words.keys():
            most = sum(words[name] for name in names)
            if most < one.count:
                text = f"there are only {most} different words to be found"
                yield Problem((*location, "count"), text, "Lower the count, or count something else")


def _meant(condition: Condition, context: Context) -> frozenset[str]:
    """The findings that ``condition`` asks for by name or tag."""
    named = context.named
    by_name = {name for name in named.findings if any(covers(pattern, name) for pattern in condition.detectors)}
    return frozenset(by_name).union(*(named.tags.get(tag, ()) for tag in condition.tags))


def _unreachable(
    rule: Rule, index: int, terms: tuple[Term, ...], before: list[tuple[Rule, tuple[Term, ...]]], context: Context
) -> Iterator[Problem]:
    possible = [term for term in terms if not contradicts(term)]
    if not possible:
        text = f"rule {rule.name} can never match: its conditions contradict each other"
        yield Problem(("rule", index, "when"), text, "Correct the conditions, or remove the rule")
        return
    yield from _dead_conditions(rule, index, context)
    names = {earlier.name: earlier_terms for earlier, earlier_terms in before}
    covering = [next((name for name, each in names.items() if covered(term, each)), "") for term in possible]
    if all(covering):
        first = ", ".join(dict.fromkeys(covering))
        text = f"rule {rule.name} is never reached: {first}, before it, matches whatever it would"
        yield Problem(("rule", index, "name"), text, "Move it before, or remove it")


def _dead_conditions(rule: Rule, index: int, context: Context) -> Iterator[Problem]:
    """Conditions that never hold, in a rule that may match by others."""
    for number, condition in enumerate(rule.when):
        terms = [term for term in terms_of_condition(condition, context) if not contradicts(term)]
        if not terms:
            text = f"condition {number + 1} of rule {rule.name} can never hold"
            yield Problem(("rule", index, "when", number), text, "Correct or remove it")


def _unused_groups(policy: Policy) -> Iterator[Problem]:
    used = {pattern for rule in policy.rule for pattern in (*rule.senders, *rule.recipients)}
    for one in policy.conditions:
        used.update((*one.senders, *one.recipients, *one.only_recipients))
    for index, group in enumerate(policy.group):
        if f"{GROUP}{group.name}" not in used:
            text = f"no rule speaks of the group {group.name}"
            yield Problem(("group", index, "name"), text, f'Write "{GROUP}{group.name}" in a rule, or remove it')


def _uninspected(policy: Policy) -> Iterator[Problem]:
    """What cannot be looked into must be decided on: else it would pass as clean."""
    asked = {name for one in policy.conditions for name in one.detectors}
    for finding in ("cannot-inspect", "ambiguous-mime"):
        if policy.rule and not any(covers(name, finding) for name in asked):
            text = f"no rule asks for {finding}: what is so passes as if it were clean"
            yield Problem(("rule", 0, "name"), text, f'Ask for it: when = [{{ detectors = ["{finding}"] }}]', hint=True)
