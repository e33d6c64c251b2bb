"""Which packs a message meets at a given confidence, and by which findings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from restante.classify.finding import Confidence, Finding
from restante.classify.pack_loader import Catalogue
from restante.classify.tables import PackTable


@dataclass(frozen=True, slots=True)
class Met:
    """A pack that a message meets: of each group the surest finding."""

    pack: str
    findings: tuple[Finding, ...]


class Packs:
    """The packs of a catalogue with their selectors resolved once."""

    def __init__(self, catalogue: Catalogue) -> None:
        self.tables: tuple[PackTable, ...] = catalogue.packs
        self._groups = {pack.name: catalogue.groups(pack) for pack in catalogue.packs}

    def met(self, findings: tuple[Finding, ...], confidence: Confidence) -> Iterator[Met]:
        """Every pack whose groups all have a finding of ``confidence`` or more."""
        sure = [finding for finding in findings if finding.confidence >= confidence]
        for name, groups in self._groups.items():
            hits = [[finding for finding in sure if finding.detector in group] for group in groups]
            if all(hits):
                yield Met(name, tuple(max(group, key=lambda one: one.confidence) for group in hits))
