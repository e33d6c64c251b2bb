"""Deciding: a table of policy × findings × evidence → routes."""

from __future__ import annotations

import pytest

from restante.classify.finding import Classification, Confidence, Finding
from restante.envelope import Address, Envelope
from restante.policy import Condition, DomainPolicy, Lexicon, Policy, Rule
from restante.routing import Route, decide, domains_to_judge, matching_rule
from restante.tls.evidence import Evidence, Level, MxEvidence

TRIGGER = Finding("trigger-subject", "subject", "[secure]", Confidence.HIGH)
CARD = Finding("payment-card", "body", "…9015", Confidence.HIGH, value_digest=b"1")
OTHER_CARD = Finding("payment-card", "body", "…1111", Confidence.HIGH, value_digest=b"2")
WEAK = Finding("id-us-ssn", "body", "…1120", Confidence.MEDIUM)
VAGUE = Finding("id-us-ssn", "body", "…1120", Confidence.LOW)
TERM = Finding("lexicon:medical-en", "body", "diagnosis", Confidence.MEDIUM)
BIRTH = Finding("date-of-birth", "body", "…1980", Confidence.MEDIUM)
ANY = (Condition(detectors=("*",)),)


def known(domain: str, level: Level, *hosts: Level) -> Evidence:
    rows = tuple(MxEvidence(f"mx{at}.{domain}", 10, one, "seen") for at, one in enumerate(hosts))
    return Evidence(domain, level, f"seen {level}", 0, 1, 2, hosts=rows)


EVIDENCE = {
    one.domain: one
    for one in (
        known("pkix.example", Level.PKIX, Level.PKIX),
        known("selfsigned.example", Level.ENCRYPTED, Level.ENCRYPTED),
        known("mixed.example", Level.ENCRYPTED, Level.ENCRYPTED, Level.UNKNOWN),
        known("clear.example", Level.NONE, Level.NONE),
        known("silent.example", Level.UNKNOWN, Level.UNKNOWN),
        known("gone.example", Level.NO_MAIL),
    )
}


def routes(policy: Policy, findings: tuple[Finding, ...], *to: str, sender: str = "ann@site.example") -> list[str]:
    envelope = Envelope(Address.parse(sender), tuple(Address.parse(one) for one in to))
    rule, matched = matching_rule(policy, Classification(findings), envelope)
    decision = decide(policy, rule, matched, envelope, EVIDENCE)
    return [str(one.route) for one in decision.recipients]


@pytest.mark.parametrize(
    ("findings", "sensitive"),
    [
        ((), False),
        ((TRIGGER,), True),
        ((CARD,), True),
        ((WEAK,), True),
        ((VAGUE,), False),
        ((TERM,), False),
        ((BIRTH, TERM), True),
        ((Finding("cannot-inspect", "attachment:a.zip", "", Confidence.MEDIUM, "encrypted ZIP archive"),), True),
        ((Finding("ambiguous-mime", "structure", "", Confidence.HIGH, "Content-Type given twice"),), True),
    ],
)
def test_the_default_policy(findings: tuple[Finding, ...], sensitive: bool) -> None:  # noqa: FBT001  a table's column
    assert routes(Policy.default(), findings, "b@clear.example") == ["portal" if sensitive else "relay"]


@pytest.mark.parametrize(
    ("domain", "encrypted", "authenticated"),
    [
        ("pkix.example", "tls", "tls"),
        ("selfsigned.example", "tls", "portal"),
        ("mixed.example", "tls", "tls"),
        ("clear.example", "portal", "portal"),
        ("silent.example", "tls", "tls"),
        ("gone.example", "tls", "tls"),
        ("never-heard-of.example", "tls", "tls"),
        ("site.example", "relay", "relay"),
        ("agreed.example", "portal", "portal"),
        ("strict.selfsigned.example", "tls", "tls"),
    ],
)
def test_each_level_of_evidence_under_each_requirement(domain: str, encrypted: str, authenticated: str) -> None:
    domains = (DomainPolicy(name="agreed.example", mode="portal-only"),)
    for requirement, expected in (("encrypted", encrypted), ("authenticated", authenticated)):
        policy = Policy(
            rule=(Rule(name="r", when=ANY, tls=requirement),), domain=domains, internal_domains={"site.example"}
        )
        assert routes(policy, (CARD,), f"b@{domain}") == [expected], requirement


def test_a_domain_may_ask_for_more_than_the_rule_and_never_for_less() -> None:
    rule = Rule(name="r", when=ANY)
    strict = DomainPolicy(name="selfsigned.example", tls="authenticated")
    assert routes(Policy(rule=(rule,), domain=(strict,)), (CARD,), "b@selfsigned.example") == ["portal"]
    lax = DomainPolicy(name="selfsigned.example", tls="encrypted")
    policy = Policy(rule=(Rule(name="r", when=ANY, tls="authenticated"),), domain=(lax,))
    assert routes(policy, (CARD,), "b@selfsigned.example") == ["portal"]


@pytest.mark.parametrize("otherwise", ["portal", "quarantine", "reject"])
def test_what_happens_otherwise(otherwise: str) -> None:
    policy = Policy(rule=(Rule(name="r", when=ANY, otherwise=otherwise),))
    assert routes(policy, (CARD,), "b@clear.example", "c@pkix.example") == [otherwise, "tls"]


@pytest.mark.parametrize("action", ["relay", "quarantine", "reject"])
def test_outright_actions_ask_for_no_evidence(action: str) -> None:
    policy = Policy(rule=(Rule(name="r", when=ANY, action=action),))
    envelope = Envelope(Address.parse("a@x"), (Address.parse("b@pkix.example"),))
    assert domains_to_judge(policy.rules[0], policy, envelope) == frozenset()
    assert routes(policy, (CARD,), "b@pkix.example") == [action]


def test_a_bounce_has_nobody_to_pass_a_code_on_so_a_reviewer_decides() -> None:
    assert routes(Policy.default(), (CARD,), "b@clear.example", sender="<>") == ["quarantine"]


def test_the_first_matching_rule_wins() -> None:
    two = Policy(rule=(Rule(name="one", when=ANY, action="reject"), Rule(name="two", when=ANY)))
    assert routes(two, (CARD,), "b@pkix.example") == ["reject"]


def test_a_threshold_counts_distinct_values() -> None:
    policy = Policy(rule=(Rule(name="r", when=(Condition(detectors=("payment-card",), count=2),)),))
    assert routes(policy, (CARD, CARD), "b@clear.example") == ["relay"]
    assert routes(policy, (CARD, OTHER_CARD), "b@clear.example") == ["portal"]


@pytest.mark.parametrize(
    ("senders", "recipients", "matches"),
    [
        ((), (), True),
        (("site.example",), (), True),
        (("Ann@Site.example",), (), True),
        (("other.example",), (), False),
        ((), ("clear.example",), True),
        ((), ("b@clear.example",), True),
        ((), ("other.example",), False),
        (("site.example",), ("other.example",), False),
    ],
)
def test_sender_and_recipient_conditions(
    senders: tuple[str, ...],
    recipients: tuple[str, ...],
    matches: bool,  # noqa: FBT001
) -> None:
    policy = Policy(rule=(Rule(name="r", when=ANY, senders=senders, recipients=recipients),))
    assert routes(policy, (CARD,), "b@clear.example") == [str(Route.PORTAL if matches else Route.RELAY)]


@pytest.mark.parametrize(
    "address",
    [
        "bob%clear.example@site.example",
        "clear.example!bob@site.example",
        '"bob@clear.example"@site.example',
        "bob%clear.example",
        "clear.example!bob",
    ],
)
def test_an_address_that_the_mta_may_rewrite_is_never_taken_for_internal(address: str) -> None:
    policy = Policy.default(frozenset({"site.example"}))
    assert routes(policy, (CARD,), address, "ann@site.example", "postmaster") == ["tls", "relay", "relay"]


def test_idn_domains_are_judged_by_their_a_labels() -> None:
    policy = Policy(
        rule=(Rule(name="r", when=ANY),),
        domain=(DomainPolicy(name="bücher.example", mode="portal-only"),),
        lexicon=(Lexicon(name="l", words=("word",)),),
    )
    assert routes(policy, (CARD,), "b@BÜCHER.example.", "c@xn--bcher-kva.example") == ["portal", "portal"]
