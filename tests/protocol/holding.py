"""What the tests' kinds have in common whose tools wait until a test lets them go."""

from __future__ import annotations

import asyncio
import threading


class Holding:
    """Holds runs. ``entered`` counts those that began to wait, ``cancelled`` says that one was stopped meanwhile."""

    def __init__(self) -> None:
        self.entered = threading.Semaphore(0)
        self.cancelled = threading.Event()
        self._held: set[asyncio.Future[None]] = set()
        self._came = asyncio.Event()

    async def hold(self) -> None:
        """Wait to be let go."""
        held: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._held.add(held)
        self._came.set()
        self.entered.release()
        try:
            await held
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        finally:
            self._held.discard(held)

    async def let_go(self, runs: int = 1) -> None:
        """End what is held, well, once that many runs are. On Marina's loop."""
        while len(self._held) < runs:
            self._came.clear()
            await self._came.wait()
        for held in list(self._held):
            # One that was stopped has not gone yet.
            if not held.done():
                held.set_result(None)
