"""One thread beside the event loop for long work of all teams, one piece a team at a time. Knows no work."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar
from weakref import WeakValueDictionary

T = TypeVar("T")


class Beside:
    """The thread, and whose turn it is. It begins with the first work.

    One: the work is Python, and more threads would share the same interpreter and take more of it from the loop. No
    more than one piece a team waits for it, so that each other team's is next.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._turns: WeakValueDictionary[tuple[int, int], asyncio.Lock] = WeakValueDictionary()
        """By loop and team."""

    async def run(self, work: Callable[[], T], *, team: int) -> T:
        """What ``work`` gives, and raises. ``team`` is whose it is.

        Once it has begun, it keeps the thread until it is done, though nobody may wait for it any more.
        """
        loop = asyncio.get_running_loop()
        turn = self._turns.setdefault((id(loop), team), asyncio.Lock())
        async with turn:
            return await loop.run_in_executor(self._thread, work)

    def close(self) -> None:
        """Let the thread go; it ends what it does. May be used again."""
        self._thread.shutdown(wait=False, cancel_futures=True)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=self._name)
