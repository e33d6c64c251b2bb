"""What a rule asks for, as a tree of conditions."""

from __future__ import annotations

from pydantic import Field

from restante.classify.finding import Confidence, Finding
from restante.policy.fields import ConfidenceName, Frozen


class Condition(Frozen):
    """One group of findings that a rule asks for: any of ``detectors``, at least ``count`` distinct values.

    A detector name ending in ``*`` matches by prefix ("lexicon:*").
    """

    detectors: tuple[str, ...] = Field(min_length=1)
    confidence: ConfidenceName = Confidence.HIGH
    count: int = Field(default=1, ge=1, le=10_000)

    def match(self, findings: tuple[Finding, ...]) -> tuple[Finding, ...]:
        """The findings that satisfy this condition; empty when there are fewer than ``count`` distinct ones."""
        hits = tuple(
            finding
            for finding in findings
            if finding.confidence >= self.confidence and any(_covers(name, finding.detector) for name in self.detectors)
        )
        distinct = {finding.value_digest or (finding.detector, finding.place, finding.match) for finding in hits}
        return hits if len(distinct) >= self.count else ()


def _covers(pattern: str, detector: str) -> bool:
    return detector.startswith(pattern[:-1]) if pattern.endswith("*") else detector == pattern
