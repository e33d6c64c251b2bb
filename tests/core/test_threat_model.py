"""The threat model points to tests: each one that it names must be there."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
DOCUMENT = TESTS.parent / "docs" / "threat-model.md"


def test_every_attacker_is_answered_by_tests_that_exist() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| ") and not line.startswith("| attacker ")]
    assert len(rows) >= 15
    for row in rows:
        assert re.search(r"`\w+/test_\w+\.py::test_\w+`", row), f"no test in: {row[:60]}"
    for file, name in re.findall(r"(\w+/test_\w+\.py)::(test_\w+)", text):
        source = (TESTS / file).read_text(encoding="utf-8")
        assert re.search(rf"^(async )?def {name}\(", source, re.MULTILINE), f"{file} has no {name}"
