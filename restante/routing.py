"""Deciding: policy × findings × TLS evidence → one route per recipient.

Pure: the same values give the same decision, with no clock, network or store.  The milter, ``restante explain``
and the delivery-time intake all decide here, so that what is explained is what happens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from restante.classify.finding import Classification, Finding
from restante.envelope import Address, Envelope
from restante.policy import FORCED_RULE, Action, Circumstances, Facts, Otherwise, Policy, Rule
from restante.tls.evidence import Ability, Evidence, Requirement


class Route(StrEnum):
    """The way of one recipient's copy."""

    RELAY = "relay"
    TLS = "tls"
    PORTAL = "portal"
    QUARANTINE = "quarantine"
    REJECT = "reject"


@dataclass(frozen=True, slots=True)
class RecipientDecision:
    """One recipient's route, with the reason in words.

    The rest matters only where the route is TLS: the level, the way out after ``deadline_hours``, and the
    ``next_hop`` where one is agreed in the place of MX hosts.
    """

    recipient: Address
    route: Route
    reason: str
    requirement: Requirement = Requirement.ENCRYPTED
    evidence: Evidence | None = None
    otherwise: Otherwise = Otherwise.PORTAL
    deadline_hours: float = 24
    next_hop: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """The outcome for one message.  ``rule`` is ``None`` when no rule matched: the message is not sensitive."""

    rule: Rule | None
    matched: tuple[Finding, ...]
    recipients: tuple[RecipientDecision, ...]

    @property
    def sensitive(self) -> bool:
        """Whether any rule asked for protection."""
        return self.rule is not None

    def routed(self, route: Route) -> tuple[RecipientDecision, ...]:
        """The recipients that take ``route``, in the order of the envelope."""
        return tuple(decision for decision in self.recipients if decision.route is route)


def matching_rule(
    policy: Policy,
    classification: Classification,
    envelope: Envelope,
    circumstances: Circumstances | None = None,
) -> tuple[Rule | None, tuple[Finding, ...]]:
    """The first rule of ``policy`` that matches, with the findings that made it match.  First match wins.

    Without a match, :meth:`Policy.forced_rule`: some domains have TLS agreed for all mail.  Without
    ``circumstances``, it is now, and everybody is a stranger.
    """
    facts = Facts(classification, envelope, policy.context, circumstances or Circumstances())
    for rule in policy.rules:
        matched = rule.match(facts)
        if matched is not None:
            return rule, matched
    return policy.forced_rule(envelope), ()


def domains_to_judge(rule: Rule | None, policy: Policy, envelope: Envelope) -> frozenset[str]:
    """The recipient domains whose TLS evidence :func:`decide` will ask for; empty when it needs none."""
    if rule is None or rule.action not in {Action.PROTECT, Action.RELAY}:
        return frozenset()
    # Where the rule itself protects nobody, only the domains count that have TLS agreed for all mail.
    everyone = rule.action is Action.PROTECT and rule.name != FORCED_RULE
    return frozenset(
        recipient.domain
        for recipient in envelope.recipients
        if (everyone or policy.forces_tls(recipient.domain))
        and not recipient.is_routed
        and not recipient.stays_here(policy.is_internal)
        and not policy.portal_only(recipient.domain)
    )


def decide(
    policy: Policy,
    rule: Rule | None,
    matched: tuple[Finding, ...],
    envelope: Envelope,
    evidence: Mapping[str, Evidence],
) -> Decision:
    """Give each recipient its route.

    ``evidence`` maps domains to what is known of them; a missing domain counts as unknown, and unknown goes by
    mandatory TLS, where delivery finds out.
    """
    if rule is None:
        relayed = tuple(
            RecipientDecision(recipient, Route.RELAY, "no rule matched") for recipient in envelope.recipients
        )
        return Decision(None, (), relayed)
    decisions = tuple(_decide_one(policy, rule, envelope, recipient, evidence) for recipient in envelope.recipients)
    return Decision(rule, matched, decisions)


_OUTRIGHT = {
    Action.REJECT: (Route.REJECT, "rejects"),
    Action.QUARANTINE: (Route.QUARANTINE, "quarantines"),
    Action.RELAY: (Route.RELAY, "relays"),
}
_OTHERWISE = {
    Otherwise.PORTAL: Route.PORTAL,
    Otherwise.QUARANTINE: Route.QUARANTINE,
    Otherwise.REJECT: Route.REJECT,
}


def _decide_one(
    policy: Policy, rule: Rule, envelope: Envelope, recipient: Address, evidence: Mapping[str, Evidence]
) -> RecipientDecision:
    forced = policy.forces_tls(recipient.domain)
    if rule.action in _OUTRIGHT and not (forced and rule.action is Action.RELAY):
        route, says = _OUTRIGHT[rule.action]
        return RecipientDecision(recipient, route, f"rule {rule.name} {says}")
    if recipient.stays_here(policy.is_internal):
        return RecipientDecision(recipient, Route.RELAY, "internal domain: never leaves this site")
    if rule.name == FORCED_RULE and not forced:
        return RecipientDecision(recipient, Route.RELAY, "no rule matched")
    if policy.portal_only(recipient.domain):
        otherwise = policy.otherwise(rule, recipient.domain)
        return _fallback(otherwise, envelope, recipient, "domain is portal-only", None)
    if recipient.is_routed:
        return _by_tls(policy, rule, recipient, "the address may be rewritten to another domain", None)
    return _by_evidence(policy, rule, envelope, recipient, evidence.get(recipient.domain))


def _by_evidence(
    policy: Policy, rule: Rule, envelope: Envelope, recipient: Address, known: Evidence | None
) -> RecipientDecision:
    requirement = policy.requirement(rule, recipient.domain)
    ability = known.ability(requirement) if known else Ability.UNKNOWN
    if ability is Ability.NO and known is not None:
        otherwise = policy.otherwise(rule, recipient.domain)
        return _fallback(otherwise, envelope, recipient, known.reason, known, requirement)
    # RFC 7505: where a domain takes no mail, the MTA's own bounce tells the sender; nothing leaves in clear meanwhile.
    reason = known.reason if known else "nothing is known of the domain yet; delivery will find out"
    return _by_tls(policy, rule, recipient, reason, known)


def _by_tls(policy: Policy, rule: Rule, recipient: Address, reason: str, known: Evidence | None) -> RecipientDecision:
    return RecipientDecision(
        recipient,
        Route.TLS,
        reason,
        policy.requirement(rule, recipient.domain),
        known,
        policy.otherwise(rule, recipient.domain),
        policy.deadline_hours(rule, recipient.domain),
        policy.next_hop(recipient.domain),
    )


def _fallback(
    otherwise: Otherwise,
    envelope: Envelope,
    recipient: Address,
    reason: str,
    evidence: Evidence | None,
    requirement: Requirement = Requirement.ENCRYPTED,
) -> RecipientDecision:
    """The way of a recipient whose domain cannot do TLS well enough."""
    route = _OTHERWISE[otherwise]
    if route is Route.PORTAL and not envelope.sender.text:
        # A bounce has no sender to pass an access code on: a reviewer decides.
        return RecipientDecision(recipient, Route.QUARANTINE, f"{reason}; no sender to tell", requirement, evidence)
    return RecipientDecision(recipient, route, reason, requirement, evidence)
