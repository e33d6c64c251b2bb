"""Sixty-four browsers open one link at the same moment, in several processes: exactly one wins, every time."""

from __future__ import annotations

import multiprocessing
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from restante.credentials import Credential, read_credential
from restante.store import links
from restante.store.engine import Store
from restante.vault import Opener
from tests.portal.conftest import make_post, make_settings

PROCESSES = 8
THREADS = 8  # as many as a store keeps connections, or it would open new ones in every round
ROUNDS = 200


def _open_all(url: str, private: bytes, link_ids: list[str], now: float, barrier: Any, results: Any) -> None:
    """One process: its threads try every link, each at the same moment as all other threads of all processes."""
    store = Store(url, busy_seconds=60)
    vault = Opener(private)
    outcomes: list[tuple[str, str]] = []

    def one() -> None:
        for link_id in link_ids:
            barrier.wait(120)
            try:
                links.claim(store, vault, link_id, window_seconds=600, now=now)
                outcomes.append((link_id, "won"))
            except links.NoSuchLink:
                outcomes.append((link_id, "lost"))

    threads = [threading.Thread(target=one) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    store.close()
    results.put(outcomes)


@pytest.mark.behaviour("P1")
@pytest.mark.slow
def test_exactly_one_of_64_wins_200_times(database_url: str, tmp_path: Path) -> None:
    settings, worker_private = make_settings(tmp_path, database_url)
    post = make_post(settings, worker_private)
    link_ids = []
    for _ in range(ROUNDS):
        token = post.waiting().token
        link_ids.append(links.find_live_link(post.store, token, now=post.clock()).link_id)
    private = read_credential(settings.credentials, Credential.VAULT)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])  # loaded once, not by each process
    barrier, results = context.Barrier(PROCESSES * THREADS), context.Queue()
    arguments = (database_url, private, link_ids, post.clock(), barrier, results)
    processes = [context.Process(target=_open_all, args=arguments) for _ in range(PROCESSES)]
    for process in processes:
        process.start()
    outcomes = Counter(outcome for _ in processes for outcome in results.get(timeout=300))
    for process in processes:
        process.join()
    post.store.close()
    assert {(outcomes[link_id, "won"], outcomes[link_id, "lost"]) for link_id in link_ids} == {
        (1, PROCESSES * THREADS - 1)
    }
