"""Detectors: every one has examples and counter-examples, and all of them go through the real classifier."""

from __future__ import annotations

import io

import pytest

from restante.classify.engine import Classifier
from restante.classify.finding import Confidence, Finding
from restante.classify.pack_loader import FOLDER, load_packs
from restante.policy import Lexicon, Policy
from tests.core.classify_samples import FOUND, LEFT_ALONE

CLASSIFIER = Classifier(Policy.default(), least=Confidence.LOW)
HIGH, MEDIUM, LOW = Confidence.HIGH, Confidence.MEDIUM, Confidence.LOW


def findings(text: str, classifier: Classifier = CLASSIFIER) -> tuple[Finding, ...]:
    message = "Subject: x\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n" + text + "\r\n"
    return classifier.classify(io.BytesIO(message.encode())).findings


@pytest.mark.behaviour("C1")
@pytest.mark.parametrize(("detector", "text", "confidence"), FOUND)
def test_finds_with_the_right_confidence(detector: str, text: str, confidence: Confidence) -> None:
    hits = [finding for finding in findings(text) if finding.detector == detector]
    assert [hit.confidence for hit in hits][:1] == [confidence]
    assert hits[0].place == "body"


@pytest.mark.behaviour("C1")
@pytest.mark.parametrize(("detector", "text"), LEFT_ALONE)
def test_leaves_alone(detector: str, text: str) -> None:
    assert [finding for finding in findings(text) if finding.detector == detector] == []


def test_every_detector_has_both_kinds_of_example() -> None:
    names = {detector.name for detector in load_packs((FOLDER / "identifiers.toml",)).detectors}
    assert names == {name for name, _, _ in FOUND}
    assert names == {name for name, _ in LEFT_ALONE}


@pytest.mark.parametrize(("detector", "text", "_confidence"), FOUND)
def test_shows_at_most_the_last_four_characters(detector: str, text: str, _confidence: Confidence) -> None:
    for finding in findings(text):
        if finding.detector == detector:
            assert set(finding.match[:-4]) == {"*"}
            assert len(finding.value_digest) == 16


@pytest.mark.behaviour("C1")
@pytest.mark.parametrize(
    ("markup", "detector"),
    [
        ('<row id="1234567890123"><npi>1234567893</npi></row>', "health-us-npi"),
        ("<cpf>52998224725</cpf>", "id-br-cpf"),
        ("<p><pesel>44051401359</pesel></p>", "id-pl-pesel"),
    ],
)
def test_the_name_of_a_tag_is_a_context_word(markup: str, detector: str) -> None:
    message = f"Subject: x\r\nContent-Type: text/html\r\n\r\n{markup}\r\n".encode()
    for least in (LOW, MEDIUM):
        found = Classifier(Policy.default(), least=least).classify(io.BytesIO(message)).findings
        assert {one.confidence for one in found if one.detector == detector} == {HIGH}


@pytest.mark.behaviour("C1")
@pytest.mark.parametrize(("distance", "confidence"), [(200, HIGH), (290, HIGH), (310, LOW), (2000, LOW)])
@pytest.mark.parametrize("after", [False, True])
def test_a_context_word_counts_within_300_characters(distance: int, confidence: Confidence, *, after: bool) -> None:
    filler = ("lorem ipsum " * 200)[: distance - 2]
    text = f"123456782 {filler} BSN" if after else f"BSN {filler} 123456782"
    assert {hit.confidence for hit in findings(text) if hit.detector == "id-nl-bsn"} == {confidence}


def test_a_context_word_is_a_whole_word() -> None:
    assert {hit.confidence for hit in findings("absn 123456782 bsnx") if hit.detector == "id-nl-bsn"} == {LOW}


@pytest.mark.behaviour("C3")
def test_distinct_values_have_distinct_digests_and_one_value_has_one() -> None:
    text = "4111 1111 1111 1111, 4111111111111111 and 5500 0000 0000 0004"
    hits = [hit for hit in findings(text) if hit.detector == "payment-card"]
    assert len(hits) == 2
    assert len({hit.value_digest for hit in hits}) == 2


def test_a_digest_says_nothing_outside_its_message() -> None:
    first, second = (findings("4111 1111 1111 1111")[0] for _ in range(2))
    assert first.value_digest != second.value_digest


LEXICON = Classifier(
    Policy(
        lexicon=(
            Lexicon(name="project", words=("lic", "Straße", "top secret", "öffentlich", "C++")),
            Lexicon(name="health", words=("HIV", "diagnosis"), confidence=HIGH),
        )
    )
)


@pytest.mark.behaviour("C1")
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("the public library", []),
        ("a LIC number", ["lexicon:project"]),
        ("lic", ["lexicon:project"]),
        ("publication lic.", ["lexicon:project"]),
        ("lic_number", []),
        ("auf der STRASSE", ["lexicon:project"]),
        ("auf der straße", ["lexicon:project"]),
        ("Top\r\nSecret", ["lexicon:project"]),
        ("topsecret", []),
        ("ÖFFENTLICH", ["lexicon:project"]),
        ("veröffentlicht", []),
        ("written in C++ today", ["lexicon:project"]),
        ("hiv test, top secret", ["lexicon:health", "lexicon:project"]),
        ("archive", []),
    ],
)
def test_lexicon_words_are_whole_and_in_any_case(text: str, expected: list[str]) -> None:
    own = ("lexicon:project", "lexicon:health")
    assert sorted(hit.detector for hit in findings(text, LEXICON) if hit.detector in own) == expected


def test_a_lexicon_of_ten_thousand_words() -> None:
    words = tuple(f"word{number}x" for number in range(10_000))
    classifier = Classifier(Policy(lexicon=(Lexicon(name="large", words=words),)))
    assert [hit.match for hit in findings("see word9999x, not word10000x", classifier)] == ["*****999x"]


def test_nothing_of_a_password_is_legible() -> None:
    found = findings("Your password: Tr0ub4dor&3x")
    shown = [one.match for one in found if one.detector == "credential-password"]
    assert shown
    assert {character for match in shown for character in match} == {"*"}
