"""Counting in Redis: when a counter is full, how long that lasts, and what does not count."""

from __future__ import annotations

import secrets

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from core.errors import Unavailable
from tenants.services import counting
from tenants.services.counting import Counter, count, forget


def counter(most: int) -> Counter:
    return Counter("test", ("somebody@example.com", secrets.token_hex(8)), most)


def test_a_counter_is_full_with_more_than_its_most_and_says_for_how_long() -> None:
    one = counter(2)
    waits = [count([one], seconds=60) for _ in range(3)]
    assert waits[:2] == [0, 0]
    assert 1 <= waits[2] <= 60


def test_the_longest_wait_of_several_counts() -> None:
    short, long = counter(0), counter(0)
    count([long], seconds=600)
    assert 60 < count([short, long], seconds=60) <= 600


def test_what_is_beside_is_full_once_one_more_would_be_too_many_and_is_not_counted() -> None:
    beside = counter(1)
    assert [count([counter(9)], seconds=60, beside=[beside]) for _ in range(3)] == [0, 0, 0]
    count([beside], seconds=60)
    assert count([counter(9)], seconds=60, beside=[beside]) > 0


def test_a_forgotten_counter_begins_anew() -> None:
    one = counter(1)
    count([one], seconds=60)
    forget(one)
    assert count([one], seconds=60) == 0


def test_no_name_stands_in_redis() -> None:
    assert "somebody" not in counter(1).key


def test_without_redis_nothing_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "redis_client", lambda: redis.Redis(port=1, retry=Retry(NoBackoff(), 0)))
    one = counter(0)
    assert count([one], seconds=60) == 0
    forget(one)
    with pytest.raises(Unavailable, match="Try again shortly"):
        count([one], seconds=60, only_guard=True)
