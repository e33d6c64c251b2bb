"""The strip alarm: what counts as long seen with TLS, and how often people are told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from restante.store import tls_history
from restante.store.engine import Store
from restante.store.evidence import StoredEvidence
from restante.store.models import AuditRecord
from restante.tls.evidence import Evidence, Level
from tests.migrated import upgrade

pytestmark = pytest.mark.behaviour("A8")

NOW = 1_800_000_000.0
HOUR, DAY = 3600.0, 86_400.0


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    url = f"sqlite:///{tmp_path}/store.db"
    upgrade(url)
    opened = Store(url)
    yield opened
    opened.close()


def _see(store: Store, *looks: tuple[Level, float]) -> int:
    """Store what each look found at its time; how many alarms there are then."""
    for level, at in looks:
        StoredEvidence(store).put(Evidence("d.example", level, "seen", at, at, at))
    with store.read() as session:
        return len(session.scalars(select(AuditRecord).where(AuditRecord.action == tls_history.ALARM)).all())


def test_two_looks_with_tls_and_then_none_is_one_alarm(store: Store) -> None:
    assert _see(store, (Level.PKIX, NOW), (Level.PKIX, NOW + DAY), (Level.NONE, NOW + DAY + HOUR)) == 1
    assert _see(store, (Level.NONE, NOW + 2 * DAY), (Level.UNKNOWN, NOW + 2 * DAY + 1)) == 1
    known = tls_history.history(store, "d.example")
    assert known is not None
    assert (known.positives, known.last_positive_at, known.alarming) == (2, NOW + DAY, True)


def test_a_second_loss_alarms_again(store: Store) -> None:
    _see(store, (Level.PKIX, NOW), (Level.PKIX, NOW + 1), (Level.NONE, NOW + 2))
    assert _see(store, (Level.ENCRYPTED, NOW + 3), (Level.NONE, NOW + 4)) == 2


@pytest.mark.parametrize(
    "looks",
    [
        [(Level.NONE, NOW)],
        [(Level.PKIX, NOW), (Level.NONE, NOW + 1)],  # seen once
        [(Level.PKIX, NOW), (Level.PKIX, NOW), (Level.NONE, NOW + 1)],  # one look, stored twice
        [(Level.PKIX, NOW), (Level.PKIX, NOW + 1), (Level.UNKNOWN, NOW + 2)],  # doubt is no loss
        [(Level.PKIX, NOW), (Level.PKIX, NOW + 1), (Level.NONE, NOW + 8 * DAY)],  # too long ago
    ],
)
def test_what_is_no_loss_alarms_nobody(store: Store, looks: list[tuple[Level, float]]) -> None:
    assert _see(store, *looks) == 0


def test_the_operator_is_told_once_in_a_day(store: Store) -> None:
    _see(store, (Level.PKIX, NOW), (Level.PKIX, NOW + 1), (Level.NONE, NOW + 2))
    assert tls_history.alarms_to_tell(store, now=NOW + 3) == ["d.example"]
    tls_history.told(store, ["d.example"], now=NOW + 3)
    assert tls_history.alarms_to_tell(store, now=NOW + 2 * DAY) == []
    _see(store, (Level.PKIX, NOW + 4), (Level.NONE, NOW + 5))
    assert tls_history.alarms_to_tell(store, now=NOW + 6) == []
    assert tls_history.alarms_to_tell(store, now=NOW + 3 + DAY) == ["d.example"]
