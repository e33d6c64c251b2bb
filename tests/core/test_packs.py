"""The packs: every example holds, every file that cannot be used says where, and a user's own tables work."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from restante.classify.engine import Classifier
from restante.classify.examples import failures
from restante.classify.pack_loader import FOLDER, Catalogue, compiled, load_packs
from restante.classify.scan import Scanner
from restante.policy import load_policy
from restante.toml_source import BadFile


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return load_packs(tuple(sorted(FOLDER.glob("*.toml"))))


@pytest.mark.behaviour("C1")
def test_every_example_of_the_built_in_packs_holds(catalogue: Catalogue) -> None:
    scanner = Scanner(tuple(map(compiled, catalogue.detectors)), catalogue.lexicons)
    wrong = [
        f"{failure.name}: {failure.text!r} {failure.problem}"
        for failure in failures(catalogue.detectors, catalogue.lexicons, scanner)
    ]
    assert wrong == []


def test_every_built_in_detector_has_both_kinds_of_example(catalogue: Catalogue) -> None:
    tables = (*catalogue.detectors, *catalogue.lexicons)
    assert [table.name for table in tables if not table.examples or not table.counter_examples] == []
    assert [table.name for table in tables if not table.title or not table.tags] == []


def test_every_pack_asks_for_what_there_is(catalogue: Catalogue) -> None:
    wrong = {
        pack.name: selector
        for pack in catalogue.packs
        for group in pack.all
        for selector in group
        if not catalogue.selected(selector)
    }
    assert wrong == {}


STAFF = """
internal_domains = ["site.example"]

[[detector]]
name = "staff-number"
title = "Number of a member of staff"
tags = ["staff"]
validator = "restante:luhn"
context = ["staff", "personnel number"]
never = ["799-273-98713"]
examples = ["482-173-05662", { text = "staff 555-000-12343", confidence = "high" }]
counter_examples = ["482-173-05663", "x482-173-05662", "799-273-98713", "482-173-056621"]

[[detector.form]]
pattern = '[0-9]{3}-[0-9]{3}-[0-9]{5}'

[[detector.form]]
pattern = '[+]{2}[0-9]{11}'
bounded = false
case_sensitive = true

[[lexicon]]
name = "projects"
words = ["Greenfinch"]
tags = ["staff"]
examples = ["about greenfinch"]
counter_examples = ["greenfinches"]

[[pack]]
name = "staff-secrets"
all = [["staff-number"], ["lexicon:projects", "national-id"]]
"""


def _policy(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "policy.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.behaviour("C1")
def test_a_policy_brings_its_own_detectors(tmp_path: Path) -> None:
    policy = load_policy(_policy(tmp_path, STAFF))
    message = b"\n\nSee 482-173-05662, then greenfinch; x++55500012343x\n"
    found = Classifier(policy).classify(io.BytesIO(message)).findings
    assert {(hit.detector, str(hit.confidence)) for hit in found} == {
        ("staff-number", "medium"),
        ("lexicon:projects", "medium"),
    }
    assert len(found) == 3
    pack = policy.catalogue.pack("staff-secrets")
    assert pack is not None
    first, second = policy.catalogue.groups(pack)
    assert first == {"staff-number"}
    assert second >= {"lexicon:projects", "id-at-svnr"}


FORM = "[0-9]{3}-[0-9]{3}-[0-9]{5}"
BAD = (
    (FORM, "P-[0-9", 15, "detector.0.form.0.pattern", "missing ]"),
    (FORM, "P-[0-9]+", 15, "detector.0.form.0.pattern", 'repeats without end at "P-[0-9]+"'),
    (FORM, "P-[0-9]{2,}", 15, "detector.0.form.0.pattern", "repeats without end"),
    (FORM, "P-[+*]?(?:x{3}y*)", 15, "detector.0.form.0.pattern", "repeats without end"),
    (FORM, r"P-\pL{2,60}", 15, "detector.0.form.0.pattern", "is slow"),
    (FORM, "(?:[0-9]{1,1000}){1,1000}", 15, "detector.0.form.0.pattern", "no regular expression"),
    (FORM, "P-([0-9]{2,11})", 15, "detector.0.form.0.pattern", "capturing group"),
    (FORM, "P-[0-9])|(?:[0-9]", 15, "detector.0.form.0.pattern", "no regular expression"),
    (FORM, "P-(?<=x)[0-9]", 15, "detector.0.form.0.pattern", "no regular expression"),
    (FORM, "(?:P-[0-9]{2,11})?", 15, "detector.0.form.0.pattern", "matches where there is nothing"),
    ("[+]{2}[0-9]{11}", "[+]{2}[0-9", 18, "detector.0.form.1.pattern", "missing ]"),
    ("restante:luhn", "restante:moon", 8, "detector.0.validator", "restante:luhn"),
    ("restante:luhn", "stdnum:pl.nothing", 8, "detector.0.validator", "python-stdnum has no"),
    ("restante:luhn", "stdnum:..os", 8, "detector.0.validator", "is no module of python-stdnum"),
    ("restante:luhn", "luhn", 8, "detector.0.validator", "no validator is called"),
    ('tags = ["staff"]\nvalid', 'tags = ["staff"]\nrefuse = ["fancy"]\nvalid', 8, "detector.0.refuse.0", "decimal"),
    ('"staff-number"\ntitle', '"payment-card"\ntitle', 5, "detector.0.name", "is taken"),
    ('"staff-number"\ntitle', '"ambiguous-mime"\ntitle', 5, "detector.0.name", "classifier's own"),
    ('["482-173-05662", {', '["482-173-05663", {', 11, "detector.0.examples.0", "must be found with medium"),
    ('"staff 555', '"stuff 555', 11, "detector.0.examples.1", "must be found with high"),
    ('"x482-173-05662"', '"482-173-05662"', 12, "detector.0.counter_examples.1", "must not be found"),
    ('["greenfinches"]', '["a Greenfinch"]', 27, "lexicon.0.counter_examples.0", "must not be found"),
    ('"lexicon:projects", "nat', '"lexicon:project", "nat', 31, "pack.0.all", '"lexicon:project" is no tag'),
    ("bounded = false", "bound = false", 19, "detector.0.form.1.bound", "Remove the key"),
)


@pytest.mark.behaviour("C1")
@pytest.mark.parametrize(("old", "new", "line", "field", "says"), BAD, ids=[f"{case[3]} {case[1]}" for case in BAD])
def test_a_bad_table_is_refused_with_line_field_and_remedy(
    tmp_path: Path, old: str, new: str, line: int, field: str, says: str
) -> None:
    assert STAFF.count(old) == 1
    path = _policy(tmp_path, STAFF.replace(old, new))
    with pytest.raises(BadFile) as caught:
        load_policy(path)
    assert (caught.value.line, caught.value.field) == (line, field)
    assert says in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_name_that_is_defined_twice_is_refused(tmp_path: Path) -> None:
    twice = '[[lexicon]]\nname = "a"\nwords = ["xx"]\n'
    with pytest.raises(BadFile, match="defined twice"):
        load_policy(_policy(tmp_path, twice + twice))
