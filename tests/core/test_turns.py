"""What takes long turns has others go first, and is as nice as before."""

from __future__ import annotations

import os
from threading import Event, Thread, get_native_id

import pytest

from core.turns import take_long_turns
from tests.turns import has_long_turns

UNKNOWN = 2**30
"""No thread's number: Linux has 2**22 at most."""


def test_a_thread_takes_long_turns_and_others_of_its_process_do_not() -> None:
    said: list[object] = []

    def work() -> None:
        me = get_native_id()
        os.setpriority(os.PRIO_PROCESS, me, os.getpriority(os.PRIO_PROCESS, me) + 3)
        before = os.sched_getscheduler(me), os.getpriority(os.PRIO_PROCESS, me)
        said.extend([take_long_turns(), has_long_turns(me)])
        said.append((os.sched_getscheduler(me), os.getpriority(os.PRIO_PROCESS, me)) == before)

    thread = Thread(target=work)
    thread.start()
    thread.join()
    assert said == [True, True, True]


def test_another_thread_is_given_them() -> None:
    end = Event()
    thread = Thread(target=end.wait, args=(60,))
    thread.start()
    try:
        assert thread.native_id is not None
        assert take_long_turns(thread.native_id)
        assert has_long_turns(thread.native_id)
    finally:
        end.set()
        thread.join()


def test_where_there_is_no_such_thread_or_no_such_call_nothing_is_done(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert not take_long_turns(UNKNOWN)
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    assert not take_long_turns()
