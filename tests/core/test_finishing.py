"""What was begun is finished, whoever waited for it."""

from __future__ import annotations

import asyncio

import pytest

from core.finishing import finish, stop

pytestmark = pytest.mark.anyio


async def test_it_gives_what_the_work_comes_to() -> None:
    async def work() -> int:
        await asyncio.sleep(0)
        return 7

    assert await finish(work()) == 7


async def test_what_goes_wrong_is_told() -> None:
    async def work() -> None:
        raise ValueError("wrong")

    with pytest.raises(ValueError, match="wrong"):
        await finish(work())


@pytest.mark.parametrize("fails", [False, True])
async def test_who_is_cancelled_is_so_when_it_has_ended(fails: bool) -> None:
    begun, done = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        begun.set()
        await asyncio.sleep(0.05)
        done.set()
        if fails:
            raise ValueError("wrong")

    waiting = asyncio.create_task(finish(work()))
    await begun.wait()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert done.is_set()


async def test_all_that_are_stopped_have_ended() -> None:
    ended = []

    async def work(fails: bool) -> None:
        try:
            await asyncio.sleep(600)
        finally:
            await asyncio.sleep(0)
            ended.append(fails)
            if fails:
                raise ValueError("nobody's")

    async def nothing() -> None:
        pass

    over = asyncio.create_task(nothing())
    tasks = [asyncio.create_task(work(fails)) for fails in (False, True)]
    await asyncio.sleep(0)
    await stop(None, over, *tasks)
    assert sorted(ended) == [False, True]
    assert all(task.done() for task in tasks)
    await stop()
