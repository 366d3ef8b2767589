"""Hashing passwords takes a bounded part of the process's memory, however many sign in at once."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.contrib.auth.hashers import Argon2PasswordHasher, check_password

from config.passwords import HASHES_AT_ONCE, MEMORY_KIB, PASSES, BoundedArgon2Hasher


def test_a_hash_costs_what_owasp_asks_for_at_least_and_no_more() -> None:
    hasher = BoundedArgon2Hasher()
    # (Tests hash at the least cost; this one does not.)
    hasher.time_cost, hasher.memory_cost = PASSES, MEMORY_KIB
    assert hasher.encode("secret", "saltsaltsalt").startswith("argon2$argon2id$v=19$m=19456,t=2,p=1$")


def test_a_hash_of_another_cost_is_still_right_and_gets_replaced() -> None:
    old = Argon2PasswordHasher().encode("secret", "saltsaltsaltsaltsaltsa")
    replaced: list[str] = []
    assert check_password("secret", old, setter=replaced.append)
    assert replaced == ["secret"]
    assert not check_password("wrong", old)


def test_only_a_few_hashes_are_made_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    lock, entered = threading.Lock(), threading.Barrier(HASHES_AT_ONCE)
    now, most = 0, 0

    def verify(self: object, password: str, encoded: str) -> bool:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        # Leaves only as one of a full round, so as many as may come in do.
        entered.wait(timeout=60)
        with lock:
            now -= 1
        return True

    monkeypatch.setattr(Argon2PasswordHasher, "verify", verify)
    with ThreadPoolExecutor(HASHES_AT_ONCE * 4) as pool:
        assert all(pool.map(lambda _: BoundedArgon2Hasher().verify("a", "b"), range(HASHES_AT_ONCE * 4)))
    assert most == HASHES_AT_ONCE
