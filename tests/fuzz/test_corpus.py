"""Everything that the fuzzer ever kept still holds.  Needs no fuzzer."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.targets import TARGETS

CORPUS = Path(__file__).parent / "corpus"


@pytest.mark.behaviour("C4")
@pytest.mark.parametrize("name", TARGETS)
def test_the_kept_corpus_holds(name: str) -> None:
    files = sorted((CORPUS / name).iterdir())
    assert len(files) >= 20
    for file in files:
        try:
            TARGETS[name](file.read_bytes())
        except Exception as error:
            error.add_note(f"corpus/{name}/{file.name}")
            raise


def test_the_corpus_stays_small() -> None:
    files = [file for file in CORPUS.rglob("*") if file.is_file()]
    assert len(files) <= 300
    assert sum(file.stat().st_size for file in files) <= 1 << 20
