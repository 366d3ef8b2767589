"""Work of a thread that stands still now and then, where there is a loop that others wait for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from core import resting
from core.resting import REST_TIMES, WORK_SECONDS, begin_resting, rest, stay_awake

WORK: float = 0.05


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a process that serves nobody."""
    monkeypatch.setattr(resting, "_beside_a_loop", threading.Event())
    monkeypatch.setattr(resting, "_awake", threading.Event())


def in_a_thread(work: Callable[[], None]) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def compute(seconds: float) -> None:
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


def test_it_stands_still_for_most_of_the_time() -> None:
    took = []

    def work() -> None:
        began = time.monotonic()
        for _ in range(round(WORK / WORK_SECONDS) + 1):
            compute(WORK_SECONDS)
            rest()
        took.append(time.monotonic() - began)

    begin_resting()
    in_a_thread(work)
    assert took[0] > WORK * (1 + REST_TIMES)


def test_what_a_thread_did_before_is_not_made_up_for(monkeypatch: pytest.MonkeyPatch) -> None:
    rested: list[float] = []
    clock = SimpleNamespace(sleep=rested.append, thread_time=time.thread_time)
    monkeypatch.setattr("core.resting.time", clock)

    def work() -> None:
        compute(0.2)
        rest()

    begin_resting()
    in_a_thread(work)
    assert 10 * WORK_SECONDS * REST_TIMES <= rested[0] < 0.2 * REST_TIMES


def test_who_is_to_stay_awake_never_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    rests: list[float] = []
    clock = SimpleNamespace(sleep=rests.append, thread_time=time.thread_time)
    monkeypatch.setattr("core.resting.time", clock)

    def work() -> None:
        compute(5 * WORK_SECONDS)
        rest()

    stay_awake()
    begin_resting()
    in_a_thread(work)
    assert rests == []


def test_where_nobody_waits_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    rests: list[float] = []
    clock = SimpleNamespace(sleep=rests.append, thread_time=time.thread_time)
    monkeypatch.setattr("core.resting.time", clock)

    def work() -> None:
        compute(5 * WORK_SECONDS)
        rest()

    in_a_thread(work)
    assert rests == []
    begin_resting()
    in_a_thread(work)
    assert len(rests) == 1
