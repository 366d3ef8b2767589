"""PostgreSQL hangs or its disk is full, Redis forgets everything: under load, and all goes on by itself afterwards."""

from __future__ import annotations

import time

import pytest

from tests.faults.stack import LONG, ROUNDS, Stack

pytestmark = pytest.mark.timeout(360)

SECONDS = 30 if LONG else 8


def test_while_postgresql_hangs_calls_are_refused_in_time(stack: Stack) -> None:
    restarts = stack.restarts.copy()
    with stack.load() as case:
        stack.postgres.pause()
        try:
            time.sleep(SECONDS)
        finally:
            stack.postgres.resume()
        time.sleep(1)
    assert {"log_unavailable"} <= {each.code for each in case.of("refused")}
    assert stack.restarts == restarts, "nothing had to be started again"


def test_while_the_disk_of_postgresql_is_full_calls_are_refused_and_then_go_on(stack: Stack) -> None:
    restarts = stack.restarts.copy()
    with stack.load() as case:
        stack.disk.fill_disk(True)
        try:
            time.sleep(SECONDS)
        finally:
            stack.disk.fill_disk(False)
        time.sleep(1)
    assert case.of("refused")
    started = {name for name, count in stack.restarts.items() if count > restarts[name]}
    # A write-ahead log that cannot be written ends PostgreSQL, which its supervisor starts until there is room.
    assert started <= {"postgres", "worker"}, stack.restarts - restarts


def test_what_redis_forgets_is_nothing_that_matters(stack: Stack) -> None:
    restarts = stack.restarts.copy()
    with stack.load() as case:
        for _ in range(3 * ROUNDS):
            stack.flush_redis()
            time.sleep(0.7)
    assert not case.of("refused", "failed"), case.of("refused", "failed")[:3]
    assert stack.restarts == restarts
