"""The first step runs at once; the rest goes on in the same task."""

from __future__ import annotations

import asyncio

import pytest

from core.eager import Started

pytestmark = pytest.mark.anyio


async def test_work_that_never_waits_is_done_at_once() -> None:
    async def work() -> int:
        return 5

    started = Started(work())
    assert started.done
    assert started.result == 5
    assert await started == 5


async def test_work_that_waits_goes_on_in_the_same_task() -> None:
    gate: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def work() -> tuple[int, bool]:
        task = asyncio.current_task()
        first = await gate
        await asyncio.sleep(0)
        return first, asyncio.current_task() is task

    started = Started(work())
    assert not started.done
    gate.get_loop().call_soon(gate.set_result, 7)
    assert await started == (7, True)


async def test_fault_of_the_first_step_is_raised_at_once_and_a_later_one_when_awaited() -> None:
    async def at_once() -> None:
        raise LookupError

    async def later() -> None:
        await asyncio.sleep(0)
        raise LookupError

    with pytest.raises(LookupError):
        Started(at_once())
    started = Started(later())
    with pytest.raises(LookupError):
        await started


async def test_deadline_reaches_the_work_and_its_clean_up_runs() -> None:
    cleaned = []

    async def work() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            await asyncio.sleep(0)
            cleaned.append(True)

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await Started(work())
    assert cleaned == [True]


async def test_future_that_is_done_before_the_rest_is_awaited_is_not_lost() -> None:
    gate: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def work() -> int:
        return await gate

    started = Started(work())
    gate.set_result(3)
    assert await started == 3
