"""Secrets that are typed: what matches, and how much memory a crowd of guessers can take."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from argon2 import PasswordHasher, extract_parameters
from argon2.profiles import RFC_9106_LOW_MEMORY

from restante import tokens


class Watched(PasswordHasher):
    """Counts how many hash at the same time, and gives one too many the time to come."""

    def __init__(self) -> None:
        super().__init__(time_cost=1, memory_cost=64, parallelism=1)
        self._lock = threading.Lock()
        self._running = 0
        self.most = 0
        self.crowded = threading.Event()

    def hash(self, *arguments: Any, **more: Any) -> str:
        with self._lock:
            self._running += 1
            self.most = max(self.most, self._running)
            if self._running > 2:
                self.crowded.set()
        self.crowded.wait(0.2)
        found = super().hash(*arguments, **more)
        with self._lock:
            self._running -= 1
        return found


def test_a_crowd_hashes_two_at_a_time() -> None:
    watched = Watched()
    hasher = tokens.SlowHasher(watched, at_once=2)
    with ThreadPoolExecutor(8) as crowd:
        hashes = list(crowd.map(hasher.hash, ["secret"] * 8))
    assert watched.most == 2
    assert len(set(hashes)) == 8
    assert all(hasher.matches(each, "secret") for each in hashes)


def test_what_goes_wrong_frees_the_seat() -> None:
    hasher = tokens.SlowHasher(PasswordHasher(time_cost=1, memory_cost=64, parallelism=1), at_once=1)
    right = hasher.hash("secret")
    for stored, typed in ((right, "wrong"), ("no hash", "secret"), ("", "secret"), (right[:-4], "secret")):
        assert not hasher.matches(stored, typed)
    assert hasher.matches(right, "secret")


@pytest.mark.parametrize("hashed", [tokens.code_hash, tokens.phrase_hash, tokens.password_hash])
def test_what_is_stored_takes_the_work_of_rfc_9106_to_guess(hashed: Callable[[str], str]) -> None:
    assert extract_parameters(hashed("7KQM-3XRT")) == RFC_9106_LOW_MEMORY


@pytest.mark.parametrize("typed", ["7KQM-3XRT", "7kqm3xrt", " 7kqm 3xrt\n"])
def test_a_code_matches_however_it_is_typed(typed: str) -> None:
    assert tokens.code_matches(tokens.code_hash("7KQM-3XRT"), typed)
