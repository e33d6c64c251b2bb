"""Counting tries on both databases, from many threads at once."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from sqlalchemy import func, select

from restante.store import throttle
from restante.store.engine import Store
from restante.store.models import Throttle
from tests.migrated import upgrade

NARROW = throttle.Limit("narrow", 5, 900)
WIDE = throttle.Limit("wide", 30, 3600)


@pytest.fixture
def url(database_url: str, tmp_path: Path) -> str:
    upgrade(database_url)
    return database_url


def test_tries_are_counted_within_a_window(url: str) -> None:
    store = Store(url)
    for _ in range(5):
        throttle.take(store, [NARROW.of("a")], now=100)
    with pytest.raises(throttle.Throttled) as refused:
        throttle.take(store, [NARROW.of("a")], now=400)
    assert refused.value.retry_after == 600
    throttle.take(store, [NARROW.of("b")], now=400)
    throttle.take(store, [NARROW.of("a")], now=1001)
    store.close()


def test_a_refused_try_counts_nowhere(url: str) -> None:
    store = Store(url)
    for _ in range(50):
        try:
            throttle.take(store, [NARROW.of("link", "client"), WIDE.of("link")], now=100)
        except throttle.Throttled:
            continue
    with store.read() as session:
        assert sorted(session.scalars(select(Throttle.count))) == [5, 5]
    store.close()


def test_a_right_try_is_given_back(url: str) -> None:
    store = Store(url)
    counters = [NARROW.of("a"), WIDE.of("a")]
    for _ in range(40):
        throttle.take(store, counters, now=100)
        throttle.give_back(store, counters)
    throttle.give_back(store, counters)
    with store.read() as session:
        assert set(session.scalars(select(Throttle.count))) == {0}
    throttle.purge(store, now=100 + 3601)
    with store.read() as session:
        assert session.scalar(select(func.count()).select_from(Throttle)) == 0
    store.close()


def test_many_at_once_do_not_slip_past(url: str) -> None:
    store = Store(url, busy_seconds=30)
    passed = []

    def guess() -> None:
        try:
            throttle.take(store, [NARROW.of("a"), WIDE.of("a")], now=100)
        except throttle.Throttled:
            return
        passed.append(1)

    threads = [threading.Thread(target=guess) for _ in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    store.close()
    assert len(passed) == 5


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("", "unknown"),
        (None, "unknown"),
        ("unix:", "unknown"),
    ],
)
def test_what_one_client_is(address: str | None, key: str) -> None:
    assert throttle.client_key(address) == key


def test_keys_do_not_run_together() -> None:
    assert NARROW.of("ab", "c").bucket != NARROW.of("a", "bc").bucket
    assert NARROW.of("a").bucket != WIDE.of("a").bucket
