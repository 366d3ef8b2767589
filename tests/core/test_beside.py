"""Long work has one thread, whatever loop it is of, and a team one turn at a time."""

from __future__ import annotations

import asyncio
import threading

from core.beside import Beside


def _name() -> str:
    return threading.current_thread().name


def test_loops_one_after_another_have_the_same_thread() -> None:
    beside = Beside("beside-loops")
    found = [asyncio.run(beside.run(_name, team=1)) for _ in range(3)]
    assert len(set(found)) == 1
    assert found[0].startswith("beside-loops")


async def _has_run_after_it_was_closed() -> None:
    beside = Beside("beside-closed")
    begun, go_on = threading.Event(), threading.Event()

    def work() -> str:
        begun.set()
        assert go_on.wait(20)
        return "done"

    under_way = asyncio.ensure_future(beside.run(work, team=1))
    waiting = asyncio.ensure_future(beside.run(_name, team=2))
    await asyncio.to_thread(begun.wait, 20)
    beside.close()
    assert (await beside.run(_name, team=3)).startswith("beside-closed")
    go_on.set()
    assert await under_way == "done"
    await asyncio.wait([waiting])
    assert waiting.cancelled()
    beside.close()


def test_closed_it_ends_what_it_does_and_may_be_used_again() -> None:
    asyncio.run(_has_run_after_it_was_closed())
