"""Every sensitive value in every wrapping is found, or the message is said to be unreadable or ambiguous.

docs/evasions.md is the table of the outcomes.  RESTANTE_WRITE_EVASIONS=1 makes this test write it anew.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from restante.classify.engine import Classifier
from restante.classify.extract.limits import Limits
from restante.classify.extract.pool import ExtractorPool
from restante.classify.finding import Classification, Confidence
from restante.policy import Lexicon, Policy
from tests.core.evasion_samples import SAMPLES, Sample
from tests.core.evasions_structure import STRUCTURE
from tests.core.evasions_text import TEXT, Wrap

PAGE = Path(__file__).parents[2] / "docs/evasions.md"
WRAPPINGS = {name: (wrap, which) for name, wrap, which in (*TEXT, *STRUCTURE)}
# For wrappings that cost much and do not look into the text: the first sample, one of letters and the phrase.
FEW = {"card", "codice fiscale", "lexicon phrase"}
FOUND, SAID, MISSED, NOT_THERE = "found", "said", "**missed**", "–"


@pytest.fixture(scope="module")
def classifier() -> Iterator[Classifier]:
    pool = ExtractorPool(Limits())
    policy = Policy.default()
    policy = policy.model_copy(update={"lexicon": (Lexicon(name="project", words=("project bluebird",)),)})
    yield Classifier(policy, extractor=pool)
    pool.close()


def fits(sample: Sample, which: str) -> bool:
    groups = len(re.findall(r"[ .-]", sample.text)) >= 2 and sample.lines == 1
    return {
        "": True,
        "digits": sample.digits,
        "line": sample.lines == 1,
        "groups": groups,
        "groups-spaces": groups and " " in sample.text,
        "few": sample.name in FEW,
    }[which]


def outcome(sample: Sample, result: Classification) -> str:
    if any(hit.detector == sample.detector and hit.confidence >= Confidence.MEDIUM for hit in result.findings):
        return FOUND
    if any(hit.detector in {"cannot-inspect", "ambiguous-mime"} for hit in result.findings):
        return SAID
    return MISSED


@pytest.fixture(scope="module")
def outcomes(classifier: Classifier) -> dict[str, list[str]]:
    return {
        name: [
            outcome(sample, classifier.classify(io.BytesIO(wrap(sample.text)))) if fits(sample, which) else NOT_THERE
            for sample in SAMPLES
        ]
        for name, (wrap, which) in WRAPPINGS.items()
    }


@pytest.mark.behaviour("C4")
def test_nothing_hides(outcomes: dict[str, list[str]]) -> None:
    missed = {name: row for name, row in outcomes.items() if MISSED in row}
    assert missed == {}
    assert len(outcomes) >= 150
    assert len(SAMPLES) >= 8


@pytest.mark.behaviour("C4")
def test_what_the_wrapping_spares_is_found_rather_than_said(outcomes: dict[str, list[str]]) -> None:
    said = sum(row.count(SAID) for row in outcomes.values())
    found = sum(row.count(FOUND) for row in outcomes.values())
    assert found > 12 * said


def test_the_page_says_what_this_test_sees(outcomes: dict[str, list[str]]) -> None:
    page = render(outcomes)
    if os.environ.get("RESTANTE_WRITE_EVASIONS"):
        PAGE.write_text(page, encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == page


def render(outcomes: dict[str, list[str]]) -> str:
    """The page, from its own text above the table and the outcomes."""
    above, mark, _ = PAGE.read_text(encoding="utf-8").partition("<!-- table -->\n")
    lines = ["| wrapping | " + " | ".join(sample.name for sample in SAMPLES) + " |"]
    lines.append("|---" * (len(SAMPLES) + 1) + "|")
    lines += [f"| {name} | " + " | ".join(row) + " |" for name, row in outcomes.items()]
    return above + mark + "\n" + "\n".join(lines) + "\n"


def test_every_wrapping_is_a_wrapping() -> None:
    """A wrapping that changes nothing would prove nothing."""
    wraps: list[Wrap] = [wrap for wrap, _ in WRAPPINGS.values()]
    made = [wrap(SAMPLES[0].text) for wrap in wraps]
    assert len(set(made)) == len(made)
