"""While work makes objects in bulk, the collector waits longer; then it is as before, whatever ended it."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from core.collecting import LONG_SECONDS, MANY_OBJECTS, _Work, bulk


class Collector:
    """In place of the real one, which others of the process have changed in the meantime."""

    def __init__(self) -> None:
        self._threshold = (700, 10, 10)

    def get_threshold(self) -> tuple[int, int, int]:
        return self._threshold

    def set_threshold(self, *threshold: int) -> None:
        first, second, third = threshold
        self._threshold = first, second, third


@pytest.fixture
def gc(monkeypatch: pytest.MonkeyPatch) -> Collector:
    made = Collector()
    monkeypatch.setattr("core.collecting.gc", made)
    monkeypatch.setattr("core.collecting._work", _Work())
    return made


def test_the_collector_waits_longer_until_the_last_has_ended(gc: Collector) -> None:
    usual = gc.get_threshold()
    inner = threading.Event(), threading.Event()

    def work() -> None:
        with bulk():
            inner[0].set()
            inner[1].wait(10)

    thread = threading.Thread(target=work)
    with bulk():
        assert gc.get_threshold() == (max(MANY_OBJECTS, usual[0]), *usual[1:])
        thread.start()
        assert inner[0].wait(10)
    assert gc.get_threshold()[0] >= MANY_OBJECTS
    inner[1].set()
    thread.join()
    assert gc.get_threshold() == usual


def test_where_it_took_long_it_may_end_later_than_the_block(
    gc: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1_000.0
    monkeypatch.setattr("core.collecting.monotonic", lambda: now)
    usual = gc.get_threshold()
    later: list[Callable[[], None]] = []
    with bulk(later.append):
        pass
    assert (later, gc.get_threshold()) == ([], usual)
    with bulk(later.append):
        now += LONG_SECONDS * 2
    assert gc.get_threshold()[0] >= MANY_OBJECTS
    [end] = later
    end()
    assert gc.get_threshold() == usual


def test_work_that_fails_leaves_the_collector_as_it_was(gc: Collector) -> None:
    usual = gc.get_threshold()
    with pytest.raises(ZeroDivisionError), bulk():
        raise ZeroDivisionError
    assert gc.get_threshold() == usual
