"""What a write waits for: the disk, unless it says that it need not."""

from __future__ import annotations

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from restante.store.engine import Store
from restante.store.migrate import upgrade
from restante.store.models import Throttle

_WAITS: dict[str, tuple[str, dict[int | str, bool]]] = {
    "sqlite": ("PRAGMA synchronous", {2: True, 1: False}),
    "postgresql": ("SHOW synchronous_commit", {"on": True, "off": False}),
}


def _waits(session: Session) -> bool:
    question, answers = _WAITS[session.get_bind().dialect.name]
    return answers[session.execute(text(question)).scalar_one()]


@pytest.fixture
def durable_url(database_url: str) -> str:
    """The tests' PostgreSQL server waits for nothing by itself."""
    return database_url if database_url.startswith("sqlite") else f"{database_url}&options=-csynchronous_commit%3Don"


def test_a_write_waits_for_the_disk_unless_it_need_not_be_durable(durable_url: str) -> None:
    upgrade(durable_url)
    store = Store(durable_url)
    seen = []
    for number, durable in enumerate((True, False, True)):  # on one connection, which the pool hands out again
        with store.write(durable=durable) as session:
            session.add(Throttle(bucket=bytes([number]), count=1, window_ends_at=0))
            seen.append(_waits(session))
    with store.read() as session:
        assert session.query(Throttle).count() == 3
    store.close()
    assert seen == [True, False, True]
