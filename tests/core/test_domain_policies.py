"""Policies for domains: what they decide, what is refused, and how they meet evidence and Postfix's tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from restante.classify.finding import Classification
from restante.envelope import Address, Envelope
from restante.policy import FORCED_RULE, Policy, load_policy
from restante.routing import Route, decide, domains_to_judge, matching_rule
from restante.tls.agreed import carries
from restante.tls.evidence import Evidence, Level, Requirement
from restante.toml_source import BadFile
from restante.transport_maps import NoNextHop, resolve_next_hops

NOW = 1_800_000_000.0
NOTHING = Classification(())


def _policy(*domains: dict[str, Any], **rest: Any) -> Policy:
    return Policy.model_validate({"domain": list(domains), **rest})


def _envelope(*recipients: str) -> Envelope:
    return Envelope(Address.parse("ann@site.example"), tuple(Address.parse(one) for one in recipients))


@pytest.mark.behaviour("D1")
def test_always_forces_tls_for_its_own_recipients_and_leaves_the_others_alone() -> None:
    policy = _policy(
        {"name": "always.example", "mode": "always", "otherwise": "quarantine", "deadline_hours": 2},
        {"name": "auto.example"},
    )
    envelope = _envelope("a@always.example", "b@auto.example", "c@other.example")
    rule, matched = matching_rule(policy, NOTHING, envelope)
    assert rule is not None
    assert rule.name == FORCED_RULE
    assert domains_to_judge(rule, policy, envelope) == {"always.example"}
    always, auto, other = decide(policy, rule, matched, envelope, {}).recipients
    assert (always.route, always.otherwise, always.deadline_hours) == (Route.TLS, "quarantine", 2)
    assert (auto.route, other.route) == (Route.RELAY, Route.RELAY)
    none = Evidence("always.example", Level.NONE, "no STARTTLS", NOW, NOW, NOW)
    assert decide(policy, rule, matched, envelope, {"always.example": none}).recipients[0].route is Route.QUARANTINE


@pytest.mark.behaviour("D1")
def test_mail_to_nobody_with_always_matches_nothing() -> None:
    policy = _policy({"name": "always.example", "mode": "always"})
    assert matching_rule(policy, NOTHING, _envelope("c@other.example")) == (None, ())


@pytest.mark.behaviour("D1")
def test_a_rule_that_relays_does_not_undo_always() -> None:
    relay = {"name": "relay", "action": "relay", "when": [{"detectors": ["*"]}]}
    policy = _policy({"name": "always.example", "mode": "always"}, rule=[relay])
    envelope = _envelope("a@always.example", "c@other.example")
    routes = [one.route for one in decide(policy, policy.rules[0], (), envelope, {}).recipients]
    assert routes == [Route.TLS, Route.RELAY]
    assert domains_to_judge(policy.rules[0], policy, envelope) == {"always.example"}


@pytest.mark.behaviour("D2")
def test_names_make_the_domain_authenticated() -> None:
    policy = _policy({"name": "p.example", "mode": "always", "certificate_names": ["Mail.P.example"]})
    rule = policy.forced_rule(_envelope("a@p.example"))
    assert rule is not None
    assert policy.requirement(rule, "p.example") is Requirement.AUTHENTICATED
    known = policy.domain_policy("p.example")
    assert known is not None
    assert known.certificate_names == ("mail.p.example",)


@pytest.mark.behaviour("D2")
@pytest.mark.parametrize(
    ("shown", "fits"),
    [
        ((("DNS", "mail.p.example"),), True),
        ((("DNS", "MAIL.p.example."),), True),
        ((("DNS", "*.p.example"),), True),
        ((("DNS", "*.example"),), False),
        ((("DNS", "p.example"),), False),
        ((("IP Address", "mail.p.example"),), False),
        ((), False),
    ],
)
def test_which_certificates_carry_a_name(shown: tuple[tuple[str, str], ...], *, fits: bool) -> None:
    assert carries({"subjectAltName": shown}, {"mail.p.example"}) is fits


@pytest.mark.behaviour("D6")
@pytest.mark.parametrize(
    ("lines", "line", "text"),
    [
        (['mode = "sometimes"'], 3, "domain.0.mode"),
        (['next_hop = "[unclosed"'], 3, "brackets do not match"),
        (["deadline_hours = 500"], 3, "domain.0.deadline_hours"),
        (['certificate_names = ["two words"]'], 3, "not a host name"),
        (['certificate_names = ["a.example"]', 'next_hop = "[192.0.2.1]"'], 1, "need a next_hop with a name"),
        (["speed = 9"], 3, "domain.0.speed"),
    ],
)
def test_a_bad_entry_is_refused_with_its_line(tmp_path: Path, lines: list[str], line: int, text: str) -> None:
    path = tmp_path / "policy.toml"
    path.write_text("\n".join(["[[domain]]", 'name = "p.example"', *lines]), encoding="utf-8")
    with pytest.raises(BadFile) as caught:
        load_policy(path)
    assert caught.value.line == line
    assert text in str(caught.value)


@pytest.mark.behaviour("D4")
def test_two_domains_behind_one_next_hop_must_agree_on_what_they_ask() -> None:
    shared = {"next_hop": "[hop.example]:587"}
    _policy({"name": "a.example", **shared}, {"name": "b.example", **shared})
    with pytest.raises(ValueError, match="ask different things"):
        _policy({"name": "a.example", **shared}, {"name": "b.example", "tls": "authenticated", **shared})


@pytest.mark.behaviour("D4")
@pytest.mark.parametrize(
    ("entry", "hop"),
    [("smtp:[Hop.example]:587", "[hop.example]:587"), (":[hop.example]", "[hop.example]"), ("relay:", ""), ("", "")],
)
def test_the_next_hop_is_what_the_table_says(entry: str, hop: str) -> None:
    asked: list[Sequence[str]] = []

    def run(argv: Sequence[str]) -> tuple[int, str]:
        asked.append(argv)
        if argv[0] == "postconf":
            return 0, "hash:/etc/postfix/first, hash:/etc/postfix/second\n"
        return (0, f"{entry}\n") if argv[-1].endswith("second") and entry else (1, "")

    policy = resolve_next_hops(_policy({"name": "p.example", "next_hop": "transport_maps"}), run)
    assert policy.next_hop("p.example") == hop
    assert [argv[-1] for argv in asked[1:]] == ["hash:/etc/postfix/first", "hash:/etc/postfix/second"]


@pytest.mark.behaviour("D4")
@pytest.mark.parametrize("answer", [(0, "local:"), (0, "smtp:[hop"), (0, "smtp:hop:submission"), (2, "")])
def test_a_table_that_cannot_be_kept_refuses_the_policy(answer: tuple[int, str]) -> None:
    policy = _policy({"name": "p.example", "next_hop": "hash:/etc/postfix/transport"})
    with pytest.raises(NoNextHop, match=r"p\.example"):
        resolve_next_hops(policy, lambda _: answer)
