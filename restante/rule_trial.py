"""Trying every rule on one message, in order: which one decided, and of those before it, what each lacked.

Pure.  Each key of a condition is asked by itself, by the code that decides, so that what is explained is what happens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from restante.classify.finding import Classification, Confidence
from restante.envelope import Address, Envelope
from restante.masking import masked, plain
from restante.policy import Circumstances, Facts, Policy, Rule
from restante.policy.condition import Condition
from restante.policy.packs import distinct
from restante.routing import matching_rule

MOST_NAMES = 10

_FOR_FINDINGS: Final[tuple[str, ...]] = (
    "detectors",
    "tags",
    "pack",
    "confidence",
    "count",
    "places",
    "reasons",
    "quoted",
)
_NESTED: Final = ("any_of", "all_of", "none_of")


class Outcome(StrEnum):
    """What became of one rule."""

    DECIDED = "decided"
    NO_MATCH = "no match"
    NOT_REACHED = "not reached"


@dataclass(frozen=True, slots=True)
class Trial:
    """One rule's outcome; ``reasons`` say why it did not match, or what made it match."""

    rule: str
    outcome: Outcome
    reasons: tuple[str, ...]


def trials(
    policy: Policy, classification: Classification, envelope: Envelope, circumstances: Circumstances | None = None
) -> tuple[Trial, ...]:
    """Every rule of ``policy`` in its order; at most one has decided."""
    circumstances = circumstances or Circumstances()
    deciding, matched = matching_rule(policy, classification, envelope, circumstances)
    facts = Facts(classification, envelope, policy.context, circumstances)
    tried: list[Trial] = []
    over = False
    for rule in policy.rules:
        if over:
            tried.append(Trial(rule.name, Outcome.NOT_REACHED, ()))
        elif deciding is not None and rule.name == deciding.name:
            over = True
            found = dict.fromkeys(f"{one.detector} in {plain(masked(one.place))}" for one in matched)
            tried.append(Trial(rule.name, Outcome.DECIDED, tuple(found) or ("all that it asks for holds",)))
        else:
            tried.append(Trial(rule.name, Outcome.NO_MATCH, tuple(_lacking(rule, facts))))
    return tuple(tried)


def _lacking(rule: Rule, facts: Facts) -> Iterator[str]:
    """Why ``rule`` does not match: its own patterns, else what each of its conditions lacks, of which one suffices."""
    for key in ("senders", "recipients"):
        patterns = getattr(rule, key)
        if patterns and Condition.model_validate({key: patterns}).match(facts) is None:
            yield _KEYS[key](patterns, facts)
            return
    for condition in rule.when:
        yield "; ".join(lacking(condition, facts))


def lacking(condition: Condition, facts: Facts) -> tuple[str, ...]:
    """What keeps ``condition`` from holding, in words; empty when it holds."""
    return tuple(_failures(condition, facts))


def _failures(condition: Condition, facts: Facts) -> Iterator[str]:
    for key in sorted(condition.model_fields_set - {*_FOR_FINDINGS, *_NESTED}):
        value = getattr(condition, key)
        if value in (None, ()) or Condition.model_validate({key: value}).match(facts) is not None:
            continue
        say = _KEYS.get(key)
        yield say(value, facts) if say else f"{key.replace('_', ' ')} does not hold"
    if condition.asks_for_findings:
        yield from _of_findings(condition, facts)
    for one in condition.all_of:
        yield from _failures(one, facts)
    if condition.any_of and all(one.match(facts) is None for one in condition.any_of):
        ways = (", ".join(_failures(one, facts)) for one in condition.any_of)
        yield f"none of these holds: {' / '.join(f'({way})' for way in ways)}"
    if condition.none_of is not None and condition.none_of.match(facts) is not None:
        yield f"what must not hold does: {_asks(condition.none_of)}"


def _of_findings(condition: Condition, facts: Facts) -> Iterator[str]:
    asked = {key: getattr(condition, key) for key in _FOR_FINDINGS if key in condition.model_fields_set}
    if Condition.model_validate(asked).match(facts) is not None:
        return
    found = _number(asked, facts)
    wanted = "1 value" if condition.count == 1 else f"{condition.count} distinct values"
    least = f" at {condition.least}" if condition.least is not None else ""
    where = f" in {_names(condition.places)}" if condition.places else ""
    text = f"needs {wanted} of {_asks(condition)}{least}{where}, found {found}"
    unsure = _number({**asked, "confidence": Confidence.LOW}, facts) - found
    elsewhere = _number({key: value for key, value in asked.items() if key != "places"}, facts) - found
    if unsure > 0:
        text += f" ({unsure} more of lower confidence)"
    elif elsewhere > 0:
        text += f" ({elsewhere} more elsewhere)"
    yield text


def _number(asked: dict[str, Any], facts: Facts) -> int:
    """How many distinct values there are of what is asked for, whatever count is asked."""
    hits = Condition.model_validate({**asked, "count": 1}).match(facts)
    return distinct(hits) if hits else 0


def _asks(condition: Condition) -> str:
    """What a condition asks for, in short."""
    if condition.pack:
        return f"the pack {condition.pack}"
    if condition.detectors or condition.tags:
        return _names((*condition.detectors, *(f"tag {tag}" for tag in condition.tags)))
    keys = sorted(condition.model_fields_set - {"confidence", "count"})
    return ", ".join(key.removesuffix("_of").replace("_", " ") for key in keys)


def _names(names: Iterable[object]) -> str:
    texts = [str(name) for name in names]
    more = f" and {len(texts) - MOST_NAMES} more" if len(texts) > MOST_NAMES else ""
    return ", ".join(texts[:MOST_NAMES]) + more


def _addresses(addresses: tuple[Address, ...]) -> str:
    return _names(address.text for address in addresses) or "nobody"


_KEYS: Final[dict[str, Callable[[Any, Facts], str]]] = {
    "senders": lambda value, facts: f"the sender {facts.envelope.sender.text or '<>'} is none of {_names(value)}",
    "users": lambda value, facts: f"the user {facts.envelope.user or '(not signed in)'} is none of {_names(value)}",
    "recipients": lambda value, facts: (
        f"no recipient is one of {_names(value)}: {_addresses(facts.envelope.recipients)}"
    ),
    "only_recipients": lambda value, _: f"some recipient is none of {_names(value)}",
    "direction": lambda value, facts: f"needs {' or '.join(map(str, value))} mail, and this is {facts.direction}",
    "freemail": lambda value, _: f"needs {'a' if value else 'no'} recipient at a freemail domain",
    "lookalike": lambda value, _: f"needs {'a' if value else 'no'} recipient at a look-alike of a known domain",
    "first_contact": lambda value, _: (
        f"needs {'a recipient' if value else 'no recipient'} whom the sender has never written to"
    ),
    "min_recipients": lambda value, facts: f"needs {value} recipients, has {len(facts.envelope.recipients)}",
    "max_recipients": lambda value, facts: f"takes {value} recipients, has {len(facts.envelope.recipients)}",
    "min_size": lambda value, facts: f"needs {value} bytes, has {facts.classification.size}",
    "max_size": lambda value, facts: f"takes {value} bytes, has {facts.classification.size}",
    "attachment_names": lambda value, _: f"no attachment is called {_names(value)}",
    "attachment_types": lambda value, facts: (
        f"no attachment is {_names(value)}: {_names(facts.classification.attachment_types) or 'there is none'}"
    ),
    "header": lambda value, _: f"no header field {value.name} that fits",
    "subject_tags": lambda value, _: f"no subject tag {_names(value)}",
    "hours": lambda _, facts: f"not at this time ({facts.circumstances.at:%Y-%m-%d %H:%M %Z})",
}
