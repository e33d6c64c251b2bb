"""What a site remembers of whom it writes to: days, not messages; bounded; forgotten; never in the way of mail."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import event, func, select

from restante.envelope import Address
from restante.store.correspondents import DAY, Correspondents, Digests, Learner, forget, learn
from restante.store.engine import Store
from restante.store.models import Correspondent
from tests.migrated import upgrade

ANN, BOB = Address.parse("Ann@site.example"), Address.parse("bob@Clinic-Partner.example")
DIGESTS = Digests(b"secret")
START = 20_000 * DAY


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    upgrade(database_url)
    made = Store(database_url)
    yield made
    made.close()


def rows(store: Store) -> int:
    with store.read() as session:
        return session.scalar(select(func.count()).select_from(Correspondent)) or 0


@pytest.mark.behaviour("C5")
def test_a_domain_is_frequent_after_so_many_days_and_not_after_many_messages(store: Store) -> None:
    known = Correspondents(store, DIGESTS, frequent_days=3)
    slip = ["clinic-partmer.example"]
    learner = Learner(store, DIGESTS, pause_seconds=3600)
    for day in range(3):
        assert known.mistaken(slip) == frozenset()
        for hour in range(5):
            learner.note(ANN, [BOB], now=START + day * DAY + hour)
            learner.flush(now=START + day * DAY + hour)
    assert known.mistaken(slip) == frozenset(slip)
    assert known.mistaken(["clinic-partner.example", "gardener.example"]) == frozenset()
    assert known.wrote(Address.parse("ann@SITE.example"), [Address.parse("BOB@clinic-partner.example")])
    assert not known.wrote(ANN, [BOB, Address.parse("eve@clinic-partner.example")])
    assert not known.wrote(Address.parse("ben@site.example"), [BOB])
    assert not Correspondents(store, Digests(b"another"), 1).wrote(ANN, [BOB])
    learner.close()


@pytest.mark.behaviour("C5")
def test_noting_writes_nothing_and_a_day_is_written_once(store: Store) -> None:
    written: list[int] = []
    event.listen(store.engine, "before_cursor_execute", lambda *_args: written.append(1))
    learner = Learner(store, DIGESTS, pause_seconds=3600)
    for number in range(300):
        learner.note(ANN, [Address.parse(f"r{number % 3}@d.example")], now=START)
    assert written == []
    learner.flush(now=START)
    learner.note(ANN, [Address.parse("r1@d.example")], now=START)
    before = len(written)
    learner.flush(now=START)
    assert len(written) == before
    assert rows(store) == 5  # three contacts, a domain and its look
    learner.note(Address.parse("<>"), [BOB], now=START)  # a bounce is nobody's choice
    learner.close()
    assert rows(store) == 5


@pytest.mark.behaviour("C5")
def test_what_is_old_or_too_much_is_forgotten(store: Store) -> None:
    digests = [DIGESTS.of("contact", str(number)) for number in range(1300)]
    learn(store, digests[:100], now=START)
    learn(store, digests[100:], now=START + 10 * DAY)
    forget(store, keep_days=10, most=2000, now=START + 10 * DAY)
    assert rows(store) == 1300
    forget(store, keep_days=9, most=2000, now=START + 10 * DAY)
    assert rows(store) == 1200
    forget(store, keep_days=9, most=700, now=START + 10 * DAY)
    assert rows(store) == 700
    forget(store, keep_days=0, most=0, now=START + 10 * DAY)
    assert rows(store) == 0


@pytest.mark.behaviour("C5")
def test_a_database_that_is_not_there_costs_the_memory_and_no_mail(store: Store, tmp_path: object) -> None:
    learner = Learner(Store(f"sqlite:///{tmp_path}/nowhere/restante.db"), DIGESTS, pause_seconds=3600)
    learner.note(ANN, [BOB], now=START)
    learner.flush(now=START)
    assert rows(store) == 0
    learner.close()
