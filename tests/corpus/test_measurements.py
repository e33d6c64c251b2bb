"""The packs that are on by default rarely cry wolf, and find what stands in each language's letters.

A quick version of ``python -m tests.corpus.false_positives`` and ``python -m tests.corpus.true_positives``, whose
tables are in docs/classification.md.
"""

from __future__ import annotations

import io

import pytest

from restante.classify.engine import Classifier
from restante.classify.finding import Confidence, Finding
from restante.policy import Policy
from tests.corpus.everyday import LETTERS, Letter
from tests.corpus.false_positives import LIMIT
from tests.corpus.generated import clean, samples
from tests.corpus.phrases import LANGUAGES
from tests.corpus.purposes import Packs
from tests.corpus.true_positives import of_restante

SEED = 20240312


@pytest.fixture(scope="module")
def policy() -> Policy:
    return Policy.default()


@pytest.fixture(scope="module")
def classifier(policy: Policy) -> Classifier:
    return Classifier(policy)


@pytest.fixture(scope="module")
def packs(policy: Policy) -> Packs:
    return Packs(policy.catalogue)


def _sure(classifier: Classifier, content: bytes) -> tuple[Finding, ...]:
    return tuple(
        one for one in classifier.classify(io.BytesIO(content)).findings if one.confidence >= Confidence.MEDIUM
    )


@pytest.mark.behaviour("C1")
@pytest.mark.parametrize("letter", LETTERS, ids=lambda letter: f"{letter.language}-{letter.subject[:20]}")
def test_an_ordinary_letter_gives_nothing(classifier: Classifier, letter: Letter) -> None:
    assert _sure(classifier, letter.content) == ()


@pytest.mark.behaviour("C1")
def test_the_default_packs_stay_under_the_limit_on_clean_mail(classifier: Classifier, packs: Packs) -> None:
    mails = list(clean(SEED, 7))
    hit = [
        (met.pack, sample.language, met.findings)
        for sample in mails
        for met in packs.met(_sure(classifier, sample.content), Confidence.MEDIUM)
    ]
    default = {pack.name for pack in packs.tables if pack.default}
    assert [one for one in hit if one[0] in default][int(LIMIT * len(mails)) :] == []


@pytest.mark.behaviour("C1")
@pytest.mark.parametrize("language", sorted(LANGUAGES))
def test_the_values_of_a_language_are_found_where_its_people_write_them(classifier: Classifier, language: str) -> None:
    score = of_restante(list(samples(SEED, 1, languages=(language,))), classifier, Confidence.MEDIUM)
    found, planted = sum(score.found.values()), sum(score.planted.values())
    assert found >= 0.9 * planted, score.missed
    assert sum(score.wrong.values()) <= 0.05 * found, score.wrongly


_HEALTH = {
    "en": "Alice Palmer, date of birth 12/03/1961, has been diagnosed with multiple sclerosis.",
    "de": "Sabine Weber, Geburtsdatum 12.03.1961, ist an Multipler Sklerose erkrankt; Diagnose G35.9.",
    "fr": "Claire Laurent, date de naissance 12/03/1961, est suivie pour une sclérose en plaques.",
    "es": "Lucía García, fecha de nacimiento 12/03/1961, fue diagnosticada de esclerosis múltiple.",
    "it": "Giulia Rossi, data di nascita 12/03/1961, è affetta da sclerosi multipla.",
    "nl": "Anna de Vries, geboortedatum 12-03-1961, lijdt aan multiple sclerose.",
    "pl": "Anna Kowalska, data urodzenia 12.03.1961, choruje na stwardnienie rozsiane.",
    "pt": "Marta Silva, data de nascimento 12/03/1961, tem esclerose múltipla.",
}


@pytest.mark.behaviour("C1")
@pytest.mark.parametrize("language", sorted(_HEALTH))
def test_a_person_with_a_diagnosis_is_health_information_and_each_alone_is_none(
    classifier: Classifier, packs: Packs, language: str
) -> None:
    letter = Letter(language, "x", _HEALTH[language])
    person, diagnosis = _HEALTH[language].rsplit(",", 1)
    assert {"hipaa", "gdpr-special-categories"} <= _met(classifier, packs, letter.content)
    assert "hipaa" not in _met(classifier, packs, Letter(language, "x", f"{person}.").content)
    assert "hipaa" not in _met(classifier, packs, Letter(language, "x", diagnosis).content)


@pytest.mark.behaviour("C1")
@pytest.mark.parametrize(
    ("pack", "text"),
    [
        ("credentials", "Benutzer: meier\nPasswort: k9Lmq2x7"),
        ("pci-dss", "Bitte belasten Sie die Karte 4556 7375 8689 9855."),
        ("financial", "IBAN: DE89 3704 0044 0532 0130 00"),
        ("gdpr-identifiers", "Mon numéro de sécurité sociale : 1 84 12 76 451 089 46"),
        ("legal-privilege", "ATTORNEY-CLIENT PRIVILEGED"),
        ("hr", "Anbei die fristlose Kündigung und die letzte Gehaltsabrechnung."),
        ("finance-confidential", "The insider list for the draft share purchase agreement is attached."),
    ],
)
def test_each_pack_is_met_by_what_it_is_named_after(classifier: Classifier, packs: Packs, pack: str, text: str) -> None:
    assert pack in _met(classifier, packs, Letter("en", "x", text).content)


def _met(classifier: Classifier, packs: Packs, content: bytes) -> set[str]:
    return {met.pack for met in packs.met(_sure(classifier, content), Confidence.MEDIUM)}
