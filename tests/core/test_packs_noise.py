"""Numbers that mean nobody are not taken for anybody: what the detectors find in logs, shop mail and scripts."""

from __future__ import annotations

from collections import Counter

import pytest

from restante.classify.finding import Confidence
from restante.classify.pack_loader import FOLDER, compiled, load_packs
from restante.classify.scan import Budget, Scanner
from restante.classify.text import normalise
from tests.core.log_noise import noise

LINES = 3_000
TOGETHER = 50  # lines to a message
# One in 40 random numbers of 16 digits begins like a card and passes its check digit, and nearly any nine digits that
# are grouped in 3, 2 and 4 may be a Social Security number.
EXPECTED = {"payment-card": 12, "id-us-ssn": 4}
ELSEWHERE = 2


@pytest.mark.behaviour("C1")
def test_numbers_of_machines_are_nobodys() -> None:
    detectors = load_packs(tuple(sorted(FOLDER.glob("*.toml")))).detectors
    scanner = Scanner(tuple(map(compiled, detectors)))
    lines = list(noise(4, LINES))
    found: Counter[str] = Counter()
    for first in range(0, LINES, TOGETHER):
        text = normalise("\n".join(["", *lines[first : first + TOGETHER], ""]))
        hits = scanner.scan(text, 0, len(text), Budget(Confidence.MEDIUM))
        found.update(hit.detector for hit in hits if hit.confidence >= Confidence.MEDIUM)
    assert {name: count for name, count in found.items() if count > EXPECTED.get(name, ELSEWHERE)} == {}
    assert sum(found.values()) < LINES / 100
