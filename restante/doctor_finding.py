"""What the doctor says: one mistake, by name."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """One mistake.  ``name`` is stable, for scripts; ``problem`` is what is wrong and why it matters."""

    name: str
    problem: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.name}: {self.problem}. Remedy: {self.remedy}"
