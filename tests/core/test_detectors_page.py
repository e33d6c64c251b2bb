"""docs/detectors.md says what the packs find."""

from __future__ import annotations

from tests.core.detectors_page import MARK, PAGE, tables


def test_the_page_lists_what_the_packs_find() -> None:
    text, mark, rest = PAGE.read_text(encoding="utf-8").partition(MARK)
    assert "cry wolf" in text
    assert mark + rest == tables(), "write it anew: python -m tests.core.detectors_page"
