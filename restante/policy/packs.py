"""Packs and tags with their selectors resolved to the names of findings, for rules to ask by."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Final, Self

from restante.classify.finding import Confidence, Finding
from restante.classify.pack_loader import Catalogue, built_in

OWN_FINDINGS: Final = (
    "trigger-subject",
    "trigger-sensitivity",
    "trigger-header",
    "subject-tag",
    "ambiguous-mime",
    "cannot-inspect",
)
"""What the classifier reports by itself, without a detector."""


@dataclass(frozen=True, slots=True)
class Purpose:
    """A pack: some finding of each of ``groups``, with at least ``confidence``."""

    name: str
    groups: tuple[frozenset[str], ...]
    confidence: Confidence
    default: bool


@dataclass(frozen=True)
class Named:
    """What rules can call by name: findings, tags of findings, purposes."""

    findings: frozenset[str] = frozenset(OWN_FINDINGS)
    tags: Mapping[str, frozenset[str]] = field(default_factory=dict)
    purposes: Mapping[str, Purpose] = field(default_factory=dict)

    @classmethod
    def of(cls, catalogue: Catalogue) -> Self:
        """Everything in ``catalogue``, and what the classifier reports by itself."""
        findings = {one.name for one in catalogue.detectors} | {f"lexicon:{one.name}" for one in catalogue.lexicons}
        findings |= {f"dictionary:{one.name}" for one in catalogue.dictionaries}
        tags: dict[str, set[str]] = {}
        for name, own in (
            *((one.name, one.tags) for one in catalogue.detectors),
            *((f"lexicon:{one.name}", one.tags) for one in catalogue.lexicons),
            *((f"dictionary:{one.name}", one.tags) for one in catalogue.dictionaries),
        ):
            for tag in own:
                tags.setdefault(tag, set()).add(name)
        purposes = (Purpose(one.name, catalogue.groups(one), one.confidence, one.default) for one in catalogue.packs)
        return cls(
            frozenset(findings).union(OWN_FINDINGS),
            {tag: frozenset(names) for tag, names in tags.items()},
            {one.name: one for one in purposes},
        )

    def means_something(self, pattern: str) -> bool:
        """Whether ``pattern``, a name of findings or a prefix with ``*``, can ever fit."""
        return any(covers(pattern, name) for name in self.findings)


@cache
def built_in_names() -> Named:
    """What rules can call by name where the policy adds nothing.  Worked out once."""
    return Named.of(built_in())


def covers(pattern: str, detector: str) -> bool:
    """Whether ``pattern``, a name or a prefix with ``*``, is a name for ``detector``."""
    return detector.startswith(pattern[:-1]) if pattern.endswith("*") else detector == pattern


def distinct(findings: Iterable[Finding]) -> int:
    """How many different values ``findings`` hold."""
    return len({one.value_digest or (one.detector, one.place, one.match) for one in findings})
