"""Pictures are read where the settings ask for it, in the same confinement; without tesseract the start says so."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from fpdf import FPDF
from PIL import Image, ImageDraw, ImageFont

from restante.classify.engine import Classifier
from restante.classify.extract.from_settings import NoTesseract, extractor_from, require_programs
from restante.classify.extract.limits import Limits
from restante.classify.extract.pool import ExtractorPool
from restante.policy import Policy
from restante.settings import ClassifySettings
from tests.core.attachment_samples import CARD
from tests.core.test_extract_formats import cards, classify, sealed


@pytest.fixture(scope="module")
def picture() -> bytes:
    image = Image.new("L", (700, 120), 255)
    ImageDraw.Draw(image).text((20, 30), f"Card: {CARD}", fill=0, font=ImageFont.load_default(40))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def scan(picture: bytes) -> bytes:
    document = FPDF()
    document.add_page()
    document.image(io.BytesIO(picture), w=150)
    return bytes(document.output())


@pytest.fixture(scope="module")
def reading() -> Iterator[Classifier]:
    pool = ExtractorPool(Limits(ocr="eng", ocr_images=1))
    yield Classifier(Policy.default(), extractor=pool)
    pool.close()


@pytest.mark.behaviour("C1")
def test_a_picture_is_read(reading: Classifier, picture: bytes) -> None:
    assert cards(classify(reading, "scan.png", picture)) == ["attachment:scan.png"]


@pytest.mark.behaviour("C1")
def test_a_page_that_is_a_picture_is_read(reading: Classifier, scan: bytes) -> None:
    assert cards(classify(reading, "scan.pdf", scan)) == ["attachment:scan.pdf/page 1"]


@pytest.mark.behaviour("C4")
def test_a_picture_that_cannot_be_read_is_said(reading: Classifier, picture: bytes) -> None:
    assert "tesseract cannot read" in str(sealed(classify(reading, "cut.png", picture[:60])))


def test_pictures_are_not_read_unless_asked_for(scan: bytes) -> None:
    pool = extractor_from(ClassifySettings())
    assert pool is not None
    try:
        result = classify(Classifier(Policy.default(), extractor=pool), "scan.pdf", scan)
    finally:
        pool.close()
    assert cards(result) == []
    assert sealed(result) == {}


def test_a_start_without_tesseract_names_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    require_programs(ClassifySettings(ocr=True))
    monkeypatch.setattr("restante.classify.extract.from_settings.PROGRAM", str(tmp_path / "tesseract"))
    require_programs(ClassifySettings())
    with pytest.raises(NoTesseract, match="tesseract-ocr"):
        require_programs(ClassifySettings(ocr=True))
