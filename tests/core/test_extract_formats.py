"""Attachments of every kind: what they hold is found, what cannot be read is said, and the rest raises no doubt."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator

import pytest

from restante.classify.engine import Classifier
from restante.classify.extract.limits import Limits
from restante.classify.extract.pool import ExtractorPool
from restante.classify.finding import Classification, Confidence
from restante.policy import Policy
from tests.core.attachment_samples import CLEAN, FOUND, MESSAGE, PLAIN, SEALED, encrypted_zip, zipped


@pytest.fixture(scope="module")
def classifier() -> Iterator[Classifier]:
    pool = ExtractorPool(Limits())
    yield Classifier(Policy.default(), extractor=pool)
    pool.close()


def mail(name: str, content: bytes, kind: str = "application/octet-stream") -> bytes:
    head = f"From: ann@site.example\r\nSubject: files\r\nMIME-Version: 1.0\r\nContent-Type: {kind}\r\n"
    head += f'Content-Disposition: attachment; filename="{name}"\r\nContent-Transfer-Encoding: base64\r\n\r\n'
    return head.encode() + base64.encodebytes(content)


def classify(
    classifier: Classifier, name: str, content: bytes, kind: str = "application/octet-stream"
) -> Classification:
    return classifier.classify(io.BytesIO(mail(name, content, kind)))


def cards(result: Classification) -> list[str]:
    return [one.place for one in result.findings if one.detector == "payment-card" and one.confidence > Confidence.LOW]


def sealed(result: Classification) -> dict[str, str]:
    return {one.place: one.reason for one in result.findings if one.detector == "cannot-inspect"}


@pytest.mark.behaviour("C1")
@pytest.mark.parametrize("name", FOUND)
def test_a_card_number_is_found_wherever_it_lies(classifier: Classifier, name: str) -> None:
    result = classify(classifier, name, FOUND[name]())
    places = cards(result)
    assert places, result.findings
    assert all(place.startswith(f"attachment:{name}") for place in places)


@pytest.mark.behaviour("C4")
@pytest.mark.parametrize("name", SEALED)
def test_what_cannot_be_read_is_said(classifier: Classifier, name: str) -> None:
    make, reason = SEALED[name]
    found = sealed(classify(classifier, name, make()))
    assert any(reason in one for one in found.values()), found
    assert all(place.startswith(f"attachment:{name}") for place in found)


@pytest.mark.parametrize("name", CLEAN)
def test_ordinary_files_raise_no_doubt(classifier: Classifier, name: str) -> None:
    assert sealed(classify(classifier, name, CLEAN[name]())) == {}


@pytest.mark.behaviour("C4")
def test_places_lead_to_the_innermost_file(classifier: Classifier) -> None:
    content = zipped(("in/inner.zip", zipped(("a.txt", PLAIN), ("b.zip", encrypted_zip()))), ("m.eml", MESSAGE))
    result = classify(classifier, "report.zip", content)
    assert sealed(result) == {
        "attachment:report.zip/in/inner.zip/b.zip/secret.txt": "encrypted file in a ZIP archive",
    }
    assert set(cards(result)) == {"attachment:report.zip/in/inner.zip/a.txt", "attachment:report.zip/m.eml"}


def test_a_file_name_that_is_a_card_number_is_found_and_not_repeated(classifier: Classifier) -> None:
    result = classify(classifier, "scans.zip", zipped(("4111111111111111.txt", b"nothing")))
    assert cards(result) == ["attachment:scans.zip/#1"]
    assert "4111111111111111" not in repr(result.findings)


@pytest.mark.parametrize("kind", ["text/plain", "image/png", "application/pdf", "application/x-unheard-of"])
def test_what_a_part_claims_to_be_decides_nothing(classifier: Classifier, kind: str) -> None:
    assert cards(classify(classifier, "a", FOUND["text.zip"](), kind))


def test_without_an_extractor_documents_are_findings() -> None:
    result = Classifier(Policy.default()).classify(io.BytesIO(mail("a.zip", FOUND["text.zip"]())))
    assert sealed(result) == {"attachment:a.zip": "ZIP archive or Office document: not looked into"}


def test_numbers_are_read_as_their_format_shows_them(classifier: Classifier) -> None:
    import openpyxl

    book = openpyxl.Workbook()
    book.active.append(["SSN", 36904399])
    book.active["B1"].number_format = "000-00-0000"
    buffer = io.BytesIO()
    book.save(buffer)
    found = {one.detector for one in classify(classifier, "a.xlsx", buffer.getvalue()).findings}
    assert "id-us-ssn" in found
