"""A vocabulary finds each phrase wherever it stands as whole words, and nothing else, by whichever word it looks."""

from __future__ import annotations

import re

from hypothesis import example, given, settings
from hypothesis import strategies as st

from restante.classify.vocabulary import Vocabulary

PHRASES = (
    "s.i.n.",
    "a.a.",
    "c/c no",
    "user id",
    "v-number",
    "p.i. vat number",
    "vat",
    "(a) b",
    "a_b",
    "né le",
    "id number id",
)
PIECES = sorted(
    {part for phrase in PHRASES for part in re.findall(r"\w+|[^\w ]", phrase)} | {" ", "  ", "\n", "\n> ", "S", "É"}
)
VOCABULARY = Vocabulary([PHRASES])
TEXTS = st.lists(st.sampled_from(PIECES + [" "] * 8) | st.sampled_from(PHRASES), max_size=24).map("".join)


def written(phrase: str) -> re.Pattern[str]:
    """``phrase`` anywhere, so that one may overlap the next."""
    words = "[\\s>]{1,8}".join(map(re.escape, phrase.split(" ")))
    return re.compile(rf"(?<!\w)(?=({words})(?!\w))", re.IGNORECASE)


@settings(max_examples=400, deadline=None)
@example("a.a.a. S.I.\nN.")
@example("User \n> ID number ID NUMBER id")
@given(TEXTS)
def test_every_phrase_is_found_where_it_stands(text: str) -> None:
    padded = f"\n{text}\n"
    expected = {
        (len(padded[: found.start()].encode()), len(padded[: found.end(1)].encode()), phrase)
        for phrase in PHRASES
        for found in written(phrase).finditer(padded)
    }
    data = padded.encode()
    reading = VOCABULARY.read(data)
    assert {(begin, stop, one.key) for begin, stop, one in reading.lexicon_words(0, len(data))} == expected
    assert {one.key for one in reading.phrases} == {phrase for _, _, phrase in expected}
