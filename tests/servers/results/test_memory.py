"""The results that a process keeps: in bounds, each tenant within its share, and not longer than they are good."""

from __future__ import annotations

import pytest

from servers.services.results import memory
from servers.services.results.memory import Memory
from tests.servers.results.sharing import kept

ONE = kept(size=1_000)
WEIGHT = ONE.weight + 4
"""With a key of four bytes."""


class Clock:
    """Stands in for the monotonic clock, so that no test waits."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(memory, "monotonic", clock)
    return clock


def fill(cache: Memory, tenant: int, count: int, *, first: int = 0) -> None:
    for number in range(first, first + count):
        cache.keep(tenant, b"%04d" % number, ONE, 200.0)


def held(cache: Memory, tenant: int, count: int) -> list[int]:
    return [number for number in range(count) if cache.find(tenant, b"%04d" % number) is not None]


def test_a_result_is_given_until_its_time_is_over(clock: Clock) -> None:
    cache = Memory()
    cache.keep(1, b"a", ONE, 110.0)
    clock.now = 109.9
    assert cache.find(1, b"a") is ONE
    assert cache.find(2, b"a") is None
    clock.now = 110.0
    assert cache.find(1, b"a") is None
    assert (cache.weight, len(cache._tenants)) == (0, 0)


def test_a_tenants_share_is_its_bound_and_what_was_used_last_stays(clock: Clock) -> None:
    cache = Memory(tenant_bytes=WEIGHT * 10)
    fill(cache, 1, 10)
    assert cache.find(1, b"0000") is not None
    fill(cache, 1, 5, first=10)
    assert held(cache, 1, 15) == [0, *range(6, 15)]
    assert cache.weight == WEIGHT * 10


def test_a_tenant_that_fills_its_share_pushes_nobody_out(clock: Clock) -> None:
    cache = Memory(max_bytes=WEIGHT * 40, tenant_bytes=WEIGHT * 10)
    for tenant in (1, 2, 3):
        fill(cache, tenant, 5)
    fill(cache, 4, 1_000)
    assert [len(held(cache, tenant, 5)) for tenant in (1, 2, 3)] == [5, 5, 5]
    assert cache.weight == WEIGHT * (5 + 5 + 5 + 10)


def test_all_together_stay_within_the_bound_and_the_idle_make_room(clock: Clock) -> None:
    cache = Memory(max_bytes=WEIGHT * 20, tenant_bytes=WEIGHT * 10)
    for tenant in range(1, 1_000):
        fill(cache, tenant, 3)
        assert cache.weight <= WEIGHT * 20
    assert held(cache, 999, 3) == [0, 1, 2]
    assert held(cache, 1, 3) == []
    assert len(cache._tenants) <= 20


def test_what_is_too_large_or_over_already_is_not_kept(clock: Clock) -> None:
    cache = Memory(entry_bytes=WEIGHT)
    cache.keep(1, b"aaaa", kept(size=1_001), 200.0)
    cache.keep(1, b"bbbb", ONE, 100.0)
    assert (cache.weight, len(cache._tenants)) == (0, 0)


def test_a_result_takes_the_place_of_the_one_before(clock: Clock) -> None:
    cache = Memory()
    cache.keep(1, b"a", ONE, 200.0)
    cache.keep(1, b"a", kept(size=10), 200.0)
    assert cache.weight == kept(size=10).weight + 1
    # One that cannot be kept leaves no older one behind.
    cache.keep(1, b"a", kept(size=memory.ENTRY_BYTES), 200.0)
    assert cache.find(1, b"a") is None
