"""Work that is not left half done when whoever waits for it is cancelled, and work that nobody wants any more."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def finish(work: Coroutine[Any, Any, T]) -> T:
    """What it comes to. Who is cancelled meanwhile is cancelled when it has ended; a second time, at once."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        heed(task)
        raise


def heed(task: asyncio.Future[Any]) -> None:
    """Look at what went wrong in one that has ended: whoever waited may have gone, and asyncio would log it."""
    if not task.cancelled():
        task.exception()


async def stop(*tasks: asyncio.Task[Any] | None) -> None:
    """Cancel those that there are, and wait until they have ended. What they raise is nobody's."""
    ending = [task for task in tasks if task is not None]
    for task in ending:
        task.cancel()
    await asyncio.gather(*ending, return_exceptions=True)
