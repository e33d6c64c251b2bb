"""``restante explain``: the interface that stays, what is shown of a text, and that no plain value ever is."""

from __future__ import annotations

import base64
import io
import json
import quopri
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from restante.classify.engine import Classifier
from restante.classify.finding import Classification, Confidence, Finding
from restante.classify.recorder import HEAD, MOST_KEPT, TextRecorder
from restante.envelope import Address, Envelope
from restante.excerpts import LIMIT
from restante.explain import Case, explain
from restante.explain_text import render
from restante.header_envelope import header_envelope
from restante.masking import Span, masked, plain
from restante.policy import Policy, load_policy
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
NUMBER = "4111111111111111"
POLICY = Policy.default()
CLASSIFIER = Classifier(POLICY)


def _case(
    classification: Classification,
    policy: Policy = POLICY,
    envelope: Envelope = ENVELOPE,
    recorder: TextRecorder | None = None,
) -> Case:
    rule, matched = matching_rule(policy, classification, envelope)
    decision = decide(policy, rule, matched, envelope, EVIDENCE)
    return Case(policy, envelope, classification, decision, recorder)


def _explained(*findings: Finding) -> dict[str, Any]:
    return explain(_case(Classification(findings)))


def _read(raw: bytes, limit: int = LIMIT) -> dict[str, Any]:
    recorder = TextRecorder()
    classification = CLASSIFIER.classify(io.BytesIO(raw), recorder)
    found: dict[str, Any] = json.loads(json.dumps(explain(_case(classification, recorder=recorder), text_limit=limit)))
    return found


@pytest.mark.behaviour("C6")
def test_json_has_the_agreed_keys() -> None:
    explained = json.loads(json.dumps(_explained(CARD)))
    assert [{key: value for key, value in one.items() if key != "place"} for one in explained["findings"]] == [
        {
            "detector": "payment-card",
            "match": "************1111",
            "confidence": "high",
            "reason": "check digits",
            "readings": [],
        }
    ]
    assert [set(recipient) for recipient in explained["recipients"]] == [
        {"address", "route", "rule", "reason", "evidence", "changes"}
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
        "    check digits",
        "",
        "Rules, the first that matches decides:",
        "  default: decided",
        "    payment-card in attachment:a?[2J.txt",
        "",
        "Recipients:",
        "  b@tls.example -> tls (rule default): certificate verified",
        "    evidence: tls.example pkix: certificate verified",
        "    would change it: portal: when every MX host of tls.example that answers refuses TLS",
        "    would change it: portal: when delivery over TLS has failed for 24 hours",
        "  c@plain.example -> portal (rule default): no STARTTLS",
        "    evidence: plain.example none: no STARTTLS",
        "      MX 10 mx.plain.example: none, STARTTLS not offered",
        "    would change it: tls: STARTTLS with TLS 1.2 or better on at least one MX host of plain.example",
        "    would change it: another way out: otherwise in the rule default or for plain.example",
    ]


def _mail(body: bytes, kind: str = "text/plain", encoding: str = "8bit", subject: str = "Hello") -> bytes:
    return (
        f"Subject: {subject}\r\nMIME-Version: 1.0\r\nContent-Type: {kind}\r\n"
        f"Content-Transfer-Encoding: {encoding}\r\n\r\n"
    ).encode() + body


SPLIT = b"<p>Karte <b>4111</b>1111<i x='9'>1111</i>1111 im <u>Brief</u></p>"
HIDING = {
    "plain": _mail(f"Karte {NUMBER} im Brief".encode()),
    "grouped": _mail(b"Karte 4111-1111 1111-1111 im Brief"),
    "subject": _mail(b"Brief", subject=f"Karte {NUMBER}"),
    "html": _mail(SPLIT, "text/html"),
    "html comment": _mail(f"<!-- {NUMBER} --><p>Karte 41111111<!-- x -->11111111</p>".encode(), "text/html"),
    "references": _mail(b"<p>Karte " + b"".join(b"&#%d;" % ord(c) for c in NUMBER) + b" Brief</p>", "text/html"),
    "base64": _mail(base64.encodebytes(f"Karte {NUMBER} im Brief, Müller".encode()), encoding="base64"),
    "quoted-printable": _mail(quopri.encodestring(f"Müller {NUMBER} im Brief".encode()), encoding="quoted-printable"),
    "two encodings": _mail(base64.encodebytes(f"Karte {NUMBER}".encode()), encoding="base64 8bit"),
    "utf-16": _mail(f"Müller {NUMBER} im Brief".encode("utf-16"), "text/plain; charset=utf-16"),
    "wide digits": _mail("Karte ４１１１１１１１１１１１１１１１ im Brief".encode()),
    "far down": _mail(b"Alles gut. " * 9000 + f"Karte {NUMBER} im Brief ".encode() + b"Alles gut. " * 9000),
    "attachment name": _mail(b"Brief", f'text/plain; name="Karte {NUMBER}.txt"'),
    "beside another": _mail(f"Karte {NUMBER} DE89370400440532013000 5500005555555559 im Brief".encode()),
}


@pytest.mark.behaviour("C6")
@pytest.mark.parametrize("wrapping", HIDING)
def test_matches_are_marked_and_no_plain_value_is_shown(wrapping: str) -> None:
    explained = _read(HIDING[wrapping])
    assert any(finding["detector"] == "payment-card" and finding["readings"] for finding in explained["findings"])
    marked = [
        segment["text"]
        for text in explained["texts"]
        for excerpt in text["excerpts"]
        for segment in excerpt["segments"]
        if segment["detector"] == "payment-card"
    ]
    assert marked
    for shown in (json.dumps(explained["texts"], ensure_ascii=False), render(explained), json.dumps(explained)):
        digits = re.sub(r"\D", "", shown)
        for secret in (NUMBER, NUMBER[:8], "370400440532", "55000055"):
            assert secret not in digits
        assert base64.b64encode(NUMBER.encode())[:12].decode() not in shown


@pytest.mark.behaviour("C6")
def test_what_stands_around_a_match_is_shown_and_bounded() -> None:
    explained = _read(HIDING["far down"])
    (body,) = [text for text in explained["texts"] if text["place"] == "body"]
    assert body["matches"] == 1
    shown = "".join(segment["text"] for excerpt in body["excerpts"] for segment in excerpt["segments"])
    assert "Karte ************1111 im Brief" in shown
    assert len(shown) <= LIMIT
    assert body["excerpts"][0]["cut"]


@pytest.mark.behaviour("C6")
def test_a_finding_tells_in_which_reading_it_was_found() -> None:
    explained = _read(_mail(SPLIT, "text/html; charset=iso-8859-15"))
    card = next(finding for finding in explained["findings"] if finding["detector"] == "payment-card")
    assert card["readings"] == ["utf-8, HTML as seen"]
    latin = _read(_mail(b"M\xfcller " + NUMBER.encode(), "text/plain; charset=iso-8859-15", "8bit"))
    card = next(finding for finding in latin["findings"] if finding["detector"] == "payment-card")
    assert "iso8859-15" in card["readings"]
    assert "Müller" in json.dumps(latin["texts"], ensure_ascii=False)


@pytest.mark.behaviour("C6")
def test_identifiers_that_nobody_asked_for_are_masked_as_well() -> None:
    text = "Kunde 123456789012, ref 77-88-99-10, gültig bis 12/27, Schlüssel AKIAIOSFODNN7EXAMPLEabcd1234, Zimmer 12"
    assert plain(masked(text)) == (
        "Kunde ************, ref **-**-**-**, gültig bis 12/27, Schlüssel ****************************, Zimmer 12"
    )


@pytest.mark.behaviour("C6")
def test_a_value_is_masked_where_markup_stands_between_its_characters() -> None:
    text = "<p>" + "<b>".join(NUMBER) + "</p> DE<i>8937</i>0400<b a=7>4405</b>32013000"
    shown = plain(masked(text, (), {NUMBER: "payment-card", "DE89370400440532013000": "iban"}))
    assert shown == "<p>" + "<b>".join("*" * 12 + "1111") + "</p> **<i>****</i>****<b a=*>****</b>****3000"


@pytest.mark.behaviour("C6")
def test_of_overlapping_matches_none_shows_what_the_other_hides() -> None:
    text = "x ABCDEFGH1234 y"
    segments = masked(text, (Span(2, 14, "one"), Span(2, 10, "two")))
    assert plain(segments) == "x ********1234 y"
    segments = masked(text, (Span(2, 10, "two"), Span(6, 14, "one")))
    assert plain(segments) == "x ********1234 y"


@given(st.text(max_size=60), st.integers(0, 60), st.integers(0, 60))
@settings(max_examples=60, deadline=None)
def test_masking_keeps_the_length_of_any_text(text: str, start: int, stop: int) -> None:
    segments = masked(text, (Span(start, max(start, stop), "one"),), {"12345": "two", text: "three"})
    assert len(plain(segments)) == len(text)


@pytest.mark.behaviour("C6")
def test_memory_is_bounded_whatever_the_message_holds() -> None:
    recorder = TextRecorder()
    CLASSIFIER.classify(io.BytesIO(_mail(b"Alles gut. Karte 4111111111111111. " * 30_000)), recorder)
    kept = sum(len(text) for part in recorder.texts for one in part.readings.values() for _, text in one.pieces)
    assert kept <= MOST_KEPT
    assert not recorder.complete
    quiet = TextRecorder()
    CLASSIFIER.classify(io.BytesIO(_mail(b"Alles gut. " * 20_000)), quiet)
    assert (
        sum(len(text) for part in quiet.texts for one in part.readings.values() for _, text in one.pieces) <= HEAD + 999
    )


@given(st.binary(max_size=300))
@settings(max_examples=100, deadline=None)
def test_any_header_gives_an_envelope(raw: bytes) -> None:
    for field in (b"To: ", b"From: ", b"Return-Path: <"):
        envelope = header_envelope(io.BytesIO(field + raw + b"\r\n\r\nbody"))
        assert len(envelope.recipients) <= 300


def test_the_envelope_of_a_stored_message() -> None:
    raw = b"From: A <a@x.example>\nTo: b@y.example, =?utf-8?q?C?= <c@z.example>,\n b@y.example\nCc: nobody\n\n"
    envelope = header_envelope(io.BytesIO(raw))
    assert (envelope.sender.text, [each.text for each in envelope.recipients]) == (
        "a@x.example", ["b@y.example", "c@z.example"],
    )  # fmt: skip
    assert header_envelope(io.BytesIO(b"\nbody")).sender.text == ""


RULES = """
[[rule]]
name = "three-cards"
action = "reject"
when = [{ detectors = ["payment-card"], count = 3 }]

[[rule]]
name = "sure-names"
when = [{ detectors = ["iban"], confidence = "high", places = ["subject"] }]

[[rule]]
name = "from-hr"
senders = ["hr.example"]
when = [{ always = true }]

[[rule]]
name = "large"
when = [{ min_size = "1 MB", any = [{ direction = "inbound" }, { attachment_types = ["image/*"] }] }]

[[rule]]
name = "but-not-freely"
when = [{ detectors = ["payment-card"], not = { recipients = ["tls.example"] } }]

[[rule]]
name = "cards"
when = [{ detectors = ["payment-card"] }]

[[rule]]
name = "never-reached"
action = "quarantine"
when = [{ always = true }]
"""


@pytest.mark.behaviour("C6")
def test_each_rule_before_the_one_that_decides_says_what_it_lacked(tmp_path: Path) -> None:
    (tmp_path / "policy.toml").write_text(RULES)
    policy = load_policy(tmp_path / "policy.toml")
    iban = Finding("iban", "body", "****3000", Confidence.HIGH, "check digits", b"2")
    classification = Classification((replace(CARD, value_digest=b"1"), iban), size=4000)
    rules = {rule["name"]: rule for rule in explain(_case(classification, policy))["rules"]}
    assert [(name, rule["outcome"]) for name, rule in rules.items()] == [
        ("three-cards", "no match"),
        ("sure-names", "no match"),
        ("from-hr", "no match"),
        ("large", "no match"),
        ("but-not-freely", "no match"),
        ("cards", "decided"),
        ("never-reached", "not reached"),
    ]
    inbound, pictures = "needs inbound mail, and this is outgoing", "no attachment is image/*: there is none"
    assert [rule["reasons"] for rule in rules.values()] == [
        ["needs 3 distinct values of payment-card at high, found 1"],
        ["needs 1 value of iban at high in subject, found 0 (1 more elsewhere)"],
        ["the sender a@example.com is none of hr.example"],
        [f"needs 1000000 bytes, has 4000; none of these holds: ({inbound}) / ({pictures})"],
        ["what must not hold does: recipients"],
        ["payment-card in attachment:a\x1b[2J.txt"],
        [],
    ]


@pytest.mark.behaviour("C6")
def test_what_is_less_sure_than_a_rule_asks_is_counted_apart(tmp_path: Path) -> None:
    (tmp_path / "policy.toml").write_text(RULES)
    unsure = replace(CARD, confidence=Confidence.MEDIUM, value_digest=b"1")
    rules = explain(_case(Classification((unsure,)), load_policy(tmp_path / "policy.toml")))["rules"]
    assert rules[0]["reasons"] == [
        "needs 3 distinct values of payment-card at high, found 0 (1 more of lower confidence)"
    ]
