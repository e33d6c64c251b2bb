"""The prefilter passes over no text in which a pattern matches, and widening only adds to what a pattern matches."""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import cache

import pytest
import re2
from hypothesis import given, settings
from hypothesis import strategies as st

from restante.classify.detector import EDGE, Form
from restante.classify.finding import Confidence
from restante.classify.pack_loader import built_in, compiled
from restante.classify.pattern import Pattern, Together
from restante.classify.scan import Budget, Hit, Scanner
from restante.classify.widen import widened

CATALOGUE = built_in()
DETECTORS = tuple(map(compiled, CATALOGUE.detectors))
FORMS = {form.pattern: form for detector in DETECTORS for form in detector.forms}
# Python's expressions have no \pL; a form of these is tried by the examples of its detector.
MADE = st.one_of(
    *(
        st.from_regex(re.compile(rf"(?:{form.body})", re.IGNORECASE if form.any_case else 0), fullmatch=True)
        for form in FORMS.values()
        if r"\p" not in form.body and Pattern(form, ()).vague
    )
)
TEXTS = st.sampled_from([example.text for table in CATALOGUE.detectors for example in table.examples])
SEPARATORS = st.sampled_from(["\n", " ", ", ", ": ", "x", "0", "\u00e4", " vat number "])


@cache
def scanner() -> Scanner:
    return Scanner(DETECTORS, CATALOGUE.lexicons)


class _Tireless(Scanner):
    """Searches for every pattern in every text."""

    def wanted(self, _text: bytes, _contexts: Collection[int], _least: Confidence) -> list[int]:
        return list(range(len(self.patterns)))


@cache
def tireless() -> Scanner:
    return _Tireless(DETECTORS, CATALOGUE.lexicons)


@cache
def exact() -> Together:
    return Together((index, pattern.form.pattern) for index, pattern in enumerate(scanner().patterns))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(MADE | TEXTS, SEPARATORS), min_size=1, max_size=4))
def test_the_prefilter_misses_nothing_that_matches(pieces: list[tuple[str, str]]) -> None:
    text = "".join(["\n", *(part for piece in pieces for part in piece), "\n"]).encode("utf-8", "replace")
    assert set(exact().match(text)) <= set(scanner().candidates(text, Confidence.LOW))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(TEXTS, SEPARATORS), min_size=1, max_size=4), st.sampled_from(Confidence))
def test_looking_for_every_pattern_finds_no_more(pieces: list[tuple[str, str]], least: Confidence) -> None:
    text = "".join(["\n", *(part for piece in pieces for part in piece), "\n"]).encode()

    def hits(every: Scanner) -> list[Hit]:
        return [hit for hit in every.scan(text, 0, len(text), Budget(least)) if hit.confidence >= least]

    assert hits(scanner()) == hits(tireless())


WRITTEN = st.sampled_from(
    [
        "a",
        "B",
        "7",
        "-",
        " ",
        "[0-4]",
        "[A-F0-3]",
        "[x.-]",
        "[^0-5]",
        "[^a-m ]",
        r"\.",
        r"\d",
        r"\s",
        "[]b]",
        r"[\d-]",
        "é",
    ]
)
TIMES = st.sampled_from(["", "", "", "?", "{2}", "{1,2}"])
BODIES = st.recursive(
    st.tuples(WRITTEN, TIMES).map("".join),
    lambda inner: st.one_of(
        st.lists(inner, min_size=2, max_size=4).map("".join),
        st.lists(inner, min_size=2, max_size=3).map(lambda some: f"(?:{'|'.join(some)})"),
        inner.map(lambda one: f"(?-i:{one})"),
    ),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(BODIES, st.data())
def test_what_a_pattern_matches_it_matches_widened(body: str, data: st.DataObject) -> None:
    pattern = Form(body).pattern
    wide = widened(pattern)
    assert wide is not None
    text = data.draw(st.from_regex(re.compile(f"(?i:{EDGE}{body}{EDGE})", re.ASCII), fullmatch=True))
    assert not re2.search(pattern, text) or re2.search(wide, text)


@pytest.mark.parametrize(
    "pattern",
    [
        r"\Qa.b\E",
        "[[:digit:]]",
        r"\x{41}",
        r"[\pL]",
        r"\p{Greek}",
        r"\bcat",
        "(?P<n>7)",
        "(7)",
        "7{,3}",
        "[7",
        "(?s:7.)",
    ],
)
def test_a_pattern_that_is_not_surely_understood_is_not_widened(pattern: str) -> None:
    assert widened(pattern) is None


def test_letters_and_digits_are_widened_and_nothing_else() -> None:
    wide = widened(f"(?i){EDGE}(?:[STFGM][0-3]{{2}}-?9[.]){EDGE}")
    assert wide is not None
    found = re2.compile(wide)
    assert found.search(" s12-9. ")
    assert found.search(" Z770. ")
    assert not found.search(" 7770. ")
    assert not found.search(" Z770, ")
