"""What one 50 MB message adds to the milter: the rise of its highest resident set above what it had before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.bench import mails
from tests.bench.rig import Rig

DOOR = "restante"


@dataclass(frozen=True, slots=True)
class Growth:
    """A large message of ``size`` bytes and the bytes that it added to the process that grew most."""

    what: str
    size: int
    added: int


def measure(rig: Rig, size: int) -> list[Growth]:
    """Send one large message that is relayed and one that is held; both are counted where they must arrive."""
    relayed, held = rig.directory / "large-relayed", rig.directory / "large-held"
    mails.write_large(relayed, size, subject="The whole archive")
    mails.write_large(held, size, subject="[secure] The whole archive")
    return [
        _growth(rig, "relayed", relayed, lambda: rig.deliver(DOOR, relayed, 1, sessions=1)),
        _growth(rig, "held", held, lambda: rig.hold(DOOR, held, 1, sessions=1, number=90)),
    ]


def _growth(rig: Rig, what: str, mail: Path, send: Callable[[], object]) -> Growth:
    family = rig.families[DOOR]
    family.forget_peaks()
    before = family.peak_memory()
    send()
    after = family.peak_memory()
    return Growth(what, mail.stat().st_size, max(after[pid] - before[pid] for pid in before if pid in after))
