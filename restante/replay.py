"""Replaying stored mail: what one policy, and another, would have done with each message.

Nothing is sent, written or looked up; TLS evidence is what the caller knows already.  A message that cannot be judged
gives an outcome with a problem, whatever it holds.  Outcomes hold masked matches only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import BinaryIO

from restante.classify.engine import Classifier, least_asked
from restante.classify.extract.pool import Extractor
from restante.classify.finding import Classification, Finding
from restante.corpus import Located
from restante.envelope import Envelope
from restante.header_envelope import header_envelope, sent_at
from restante.policy import Circumstances, Facts, Policy
from restante.policy.condition import Condition
from restante.routing import Decision, RecipientDecision, decide, domains_to_judge, matching_rule
from restante.tls.evidence import Evidence, Requirement

MOST_REASONS = 5
NO_RULE = "none"

Known = Callable[[Iterable[str]], Mapping[str, Evidence]]
"""What is known of the TLS of domains; those of which nothing is known are left out."""


@dataclass(frozen=True, slots=True)
class Way:
    """What one policy does with one recipient's copy."""

    recipient: str
    route: str
    reason: str


@dataclass(frozen=True, slots=True)
class Judged:
    """What one policy does with one message.  ``findings`` are the masked ones that made the rule match."""

    rule: str
    ways: tuple[Way, ...]
    findings: tuple[str, ...]

    @property
    def essence(self) -> tuple[str, tuple[tuple[str, str], ...]]:
        """What makes a difference: rule and routes, not the words of the reasons."""
        return self.rule, tuple((way.recipient, way.route) for way in self.ways)


@dataclass(frozen=True, slots=True)
class Outcome:
    """One message: under the policy in force, and under the other one when there is one.

    ``problem`` says why it could not be judged.  ``detectors`` counts findings, ``packs`` names those that were met.
    ``unknown`` counts the recipients of whose domain TLS evidence was wanted and not there, under whichever policy
    wanted more of it.
    """

    name: str
    size: int
    problem: str = ""
    now: Judged | None = None
    new: Judged | None = None
    detectors: tuple[tuple[str, int], ...] = ()
    packs: tuple[str, ...] = ()
    unknown: int = 0

    @property
    def changed(self) -> bool:
        """Whether the two policies differ here."""
        return self.now is not None and self.new is not None and self.now.essence != self.new.essence


class Judge:
    """One or two policies, compiled; a forked process goes on with its own copy.

    ``open_known`` opens what is known of TLS, in the process that asks and when it first does: connections to a
    database do not survive a fork.  ``extractor`` looks into attachments.
    """

    def __init__(
        self, now: Policy, new: Policy | None, open_known: Callable[[], Known], extractor: Extractor | None = None
    ) -> None:
        self._now, self._new, self._open_known = now, new, open_known
        self._classifier = Classifier(now, extractor=extractor)
        apart = new is not None and _finds(new) != _finds(now)
        self._other = Classifier(new, extractor=extractor) if new is not None and apart else None
        last = new or now
        self._packs = {name: Condition(pack=name) for name in last.context.named.purposes}

    @cached_property
    def _known(self) -> Known:
        return self._open_known()

    def judge(self, located: Located) -> Outcome:
        """What happens to one message."""
        size = located.end - located.start
        if located.problem:
            return Outcome(located.name, size, located.problem)
        try:
            with located.open() as source:
                return self._judge(located.name, size, source)
        except OSError as error:
            return Outcome(located.name, size, error.strerror or "cannot be read")
        except Exception as error:  # noqa: BLE001  the message's boundary: one that breaks us must not stop the others
            # The words of the error may quote the message.
            return Outcome(located.name, size, f"a defect in Restante: {type(error).__name__}")

    def _judge(self, name: str, size: int, source: BinaryIO) -> Outcome:
        envelope, when = header_envelope(source), sent_at(source)
        circumstances = Circumstances(at=when) if when else Circumstances()
        found = self._classifier.classify(source)
        now, unknown = self._route(self._now, found, envelope, circumstances)
        new, more = None, 0
        if self._new is not None:
            if self._other is not None:
                found = self._other.classify(source)
            new, more = self._route(self._new, found, envelope, circumstances)
        facts = Facts(found, envelope, (self._new or self._now).context, circumstances)
        detectors = Counter(finding.detector for finding in found.findings)
        packs = tuple(pack for pack, condition in self._packs.items() if condition.match(facts) is not None)
        return Outcome(name, size, "", now, new, tuple(detectors.items()), packs, max(unknown, more))

    def _route(
        self, policy: Policy, found: Classification, envelope: Envelope, circumstances: Circumstances
    ) -> tuple[Judged, int]:
        rule, matched = matching_rule(policy, found, envelope, circumstances)
        domains = domains_to_judge(rule, policy, envelope)
        evidence = self._known(domains) if domains else {}
        decision = decide(policy, rule, matched, envelope, evidence)
        unknown = sum(1 for each in envelope.recipients if each.domain in domains and each.domain not in evidence)
        return _judged(decision), unknown


def _finds(policy: Policy) -> tuple[object, ...]:
    """What a classifier makes of a policy: two that agree in it find the same things."""
    return policy.tables, policy.triggers, policy.own_tags, policy.asked_headers, least_asked(policy)


def _judged(decision: Decision) -> Judged:
    return Judged(
        decision.rule.name if decision.rule else NO_RULE,
        tuple(Way(each.recipient.text, route_name(each), each.reason) for each in decision.recipients),
        tuple(dict.fromkeys(_shown(finding) for finding in decision.matched))[:MOST_REASONS],
    )


def route_name(decided: RecipientDecision) -> str:
    """A route with the level of TLS, where that is more than any."""
    level = " authenticated" if decided.requirement is Requirement.AUTHENTICATED else ""
    return f"{decided.route}{level}" if decided.route == "tls" else str(decided.route)


def _shown(finding: Finding) -> str:
    return f"{finding.detector} {finding.match or finding.reason} in {finding.place} ({finding.confidence})"


@dataclass
class Totals:
    """Counts over a replay, bounded by the names in the policies."""

    messages: int = 0
    bytes: int = 0
    failed: int = 0
    changed: int = 0
    without_recipients: int = 0
    recipients: int = 0
    unknown: int = 0
    rules: Counter[tuple[str, str]] = field(default_factory=Counter)
    routes: Counter[tuple[str, str]] = field(default_factory=Counter)
    findings: Counter[str] = field(default_factory=Counter)
    found_in: Counter[str] = field(default_factory=Counter)
    packs: Counter[str] = field(default_factory=Counter)

    def add(self, outcome: Outcome) -> None:
        """Count one message."""
        self.messages += 1
        self.bytes += outcome.size
        if outcome.now is None:
            self.failed += 1
            return
        new = outcome.new or outcome.now
        self.changed += outcome.changed
        self.without_recipients += not outcome.now.ways
        self.recipients += len(outcome.now.ways)
        self.unknown += outcome.unknown
        self.rules[outcome.now.rule, new.rule] += 1
        self.routes.update((old.route, way.route) for old, way in zip(outcome.now.ways, new.ways, strict=True))
        self.packs.update(outcome.packs)
        for detector, count in outcome.detectors:
            self.findings[detector] += count
            self.found_in[detector] += 1
