"""What would give a recipient another route than the one decided.  Pure; in words, for whoever asks why."""

from __future__ import annotations

from typing import Final

from restante.envelope import Envelope
from restante.policy import FORCED_RULE, Action, Policy, Rule
from restante.routing import Decision, RecipientDecision, Route
from restante.tls.evidence import Ability, Level, Requirement

_BETTER: Final = {
    Requirement.ENCRYPTED: "STARTTLS with TLS 1.2 or better on at least one MX host of {domain}",
    Requirement.AUTHENTICATED: "a certificate that proves the name of an MX host of {domain}, MTA-STS in mode enforce,"
    " or DANE",
}


def alternatives(
    policy: Policy, decision: Decision, envelope: Envelope, recipient: RecipientDecision
) -> tuple[str, ...]:
    """What would change the route of ``recipient``, one way a line, the nearest first."""
    rule, domain = decision.rule, recipient.recipient.domain
    if recipient.recipient.stays_here(policy.is_internal) and recipient.route is Route.RELAY:
        return ("nothing in the message: mail to an internal domain stays on this site",)
    if rule is None or (rule.name == FORCED_RULE and not policy.forces_tls(domain)):
        return ("a rule that matches: see why none did", f'mode = "always" for {domain} in the policy')
    if rule.action is not Action.PROTECT and not (rule.action is Action.RELAY and policy.forces_tls(domain)):
        return (f"another action than {rule.action} in the rule {rule.name}, or a rule before it that matches",)
    if recipient.route is Route.TLS:
        return tuple(_from_tls(policy, rule, recipient))
    return tuple(_to_tls(policy, rule, envelope, recipient))


def _from_tls(policy: Policy, rule: Rule, recipient: RecipientDecision) -> list[str]:
    otherwise = policy.otherwise(rule, recipient.recipient.domain)
    domain = recipient.recipient.domain
    known = recipient.evidence.ability(recipient.requirement) if recipient.evidence else Ability.UNKNOWN
    ways = [f"{otherwise}: when every MX host of {domain} that answers refuses {_what(recipient.requirement)}"]
    if known is not Ability.NO_MAIL:
        hours = policy.deadline_hours(rule, domain)
        ways.append(f"{otherwise}: when delivery over TLS has failed for {hours:g} hours")
    else:
        ways = [f"a bounce: {domain} takes no mail; an MX record would change that"]
    return ways


def _to_tls(policy: Policy, rule: Rule, envelope: Envelope, recipient: RecipientDecision) -> list[str]:
    domain = recipient.recipient.domain
    if policy.portal_only(domain):
        return [f'tls: another mode than "never" or "portal-only" for {domain} in the policy']
    ways = [f"tls: {_BETTER[recipient.requirement].format(domain=domain)}"]
    seen = recipient.evidence.level if recipient.evidence else Level.UNKNOWN
    if recipient.requirement is Requirement.AUTHENTICATED and seen is Level.ENCRYPTED:
        ways.append(f'tls: tls = "encrypted" in the rule {rule.name} and nothing stricter agreed with {domain}')
    if recipient.route is Route.QUARANTINE and not envelope.sender.text:
        ways.append("portal: a sender who can be told the access code")
    else:
        ways.append(f"another way out: otherwise in the rule {rule.name} or for {domain}")
    return ways


def _what(requirement: Requirement) -> str:
    return "TLS with a proved name" if requirement is Requirement.AUTHENTICATED else "TLS"
