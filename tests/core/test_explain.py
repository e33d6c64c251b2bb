"""``restante explain``: the interface that stays, from values alone."""

from __future__ import annotations

import json

import pytest

from restante.classify.finding import Classification, Confidence, Finding
from restante.envelope import Address, Envelope
from restante.explain import explain, render
from restante.policy import Policy
from restante.routing import decide, matching_rule
from restante.tls.evidence import Evidence, Level, MxEvidence

CARD = Finding("payment-card", "attachment:a\x1b[2J.txt", "************1111", Confidence.HIGH, "check digits")
ENVELOPE = Envelope(Address.parse("a@example.com"), (Address.parse("b@tls.example"), Address.parse("c@plain.example")))
EVIDENCE = {
    "tls.example": Evidence("tls.example", Level.PKIX, "certificate verified", 1.0, 2.0, 3.0),
    "plain.example": Evidence(
        "plain.example",
        Level.NONE,
        "no STARTTLS",
        1.0,
        2.0,
        3.0,
        hosts=(MxEvidence("mx.plain.example", 10, Level.NONE, "STARTTLS not offered"),),
    ),
}


def _explained(*findings: Finding) -> dict[str, object]:
    classification = Classification(findings)
    policy = Policy.default()
    rule, matched = matching_rule(policy, classification, ENVELOPE)
    return explain(classification, decide(policy, rule, matched, ENVELOPE, EVIDENCE))


@pytest.mark.behaviour("C6")
def test_json_has_the_agreed_keys() -> None:
    explained = json.loads(json.dumps(_explained(CARD)))
    assert explained["findings"] == [
        {"detector": "payment-card", "place": CARD.place, "match": "************1111", "confidence": "high"}
    ]
    assert [set(recipient) for recipient in explained["recipients"]] == [
        {"address", "route", "rule", "reason", "evidence"}
    ] * 2
    assert [(one["address"], one["route"], one["rule"]) for one in explained["recipients"]] == [
        ("b@tls.example", "tls", "default"),
        ("c@plain.example", "portal", "default"),
    ]
    assert explained["recipients"][1]["evidence"]["hosts"][0]["host"] == "mx.plain.example"


@pytest.mark.behaviour("C6")
def test_a_message_that_is_not_sensitive_has_no_rule() -> None:
    explained = json.loads(json.dumps(_explained()))
    assert explained["findings"] == []
    assert {(one["route"], one["rule"], one["evidence"]) for one in explained["recipients"]} == {("relay", None, None)}
    assert "  none" in render(explained)


@pytest.mark.behaviour("C6")
def test_text_shows_every_part_and_no_control_characters() -> None:
    text = render(_explained(CARD))
    assert text.splitlines() == [
        "Findings:",
        "  payment-card in attachment:a?[2J.txt: ************1111 (high)",
        "Recipients:",
        "  b@tls.example -> tls (rule default): certificate verified",
        "    evidence: tls.example pkix: certificate verified",
        "  c@plain.example -> portal (rule default): no STARTTLS",
        "    evidence: plain.example none: no STARTTLS",
        "      MX 10 mx.plain.example: none, STARTTLS not offered",
    ]
