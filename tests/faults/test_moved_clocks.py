"""Clocks go ten minutes wrong, all of Marina's or some, and right again: nothing is lost, and nothing done twice."""

from __future__ import annotations

import time

import pytest

from tests.faults.stack import LONG, Stack
from tests.protocol.waiting import wait_for

pytestmark = pytest.mark.timeout(360)

MINUTES = 60
SECONDS = 30 if LONG else 4
FOUND_SECONDS = 60
"""A lost worker is noticed in fifteen, and another one takes five to start."""

WRONG = 4
"""So many records of a load have the wrong time at least: where it is the workers' alone, those of their tasks."""

ALL = ("web-0", "web-1", "worker", "runner", "beat")

CASES = {"all behind": (ALL, -10), "workers ahead": (("worker", "runner"), 10)}
if LONG:
    CASES |= {"all ahead": (ALL, 10), "one web process and the scheduler behind": (("web-0", "beat"), -10)}


@pytest.mark.parametrize(("names", "minutes"), CASES.values(), ids=CASES)
def test_wrong_clocks_lose_nothing_and_do_nothing_twice(
    stack: Stack, names: tuple[str, ...], minutes: int
) -> None:
    restarts = stack.restarts.copy()
    with stack.load() as case:
        try:
            for name in names:
                stack.clocks[name].move_clock(minutes * MINUTES)
            time.sleep(SECONDS)
            # What is lost meanwhile is found all the same, and another worker gets hints.
            stack.kill("runner")
            done = case.tasks_done()
            wait_for(lambda: case.tasks_done() > done + 4, FOUND_SECONDS)
        finally:
            for name in names:
                stack.clocks[name].move_clock(0)
    assert not case.of("refused", "failed"), case.of("refused", "failed")[:3]
    # The fault was there: records were written by the wrong clocks, and by none that was wrong the other way.
    wrong, never = ("ahead", "behind") if minutes > 0 else ("behind", "ahead")
    assert case.counts[f"records ten minutes {wrong}"] >= WRONG
    assert not case.counts[f"records ten minutes {never}"]
    restarts["runner"] += 1
    assert stack.restarts == restarts
