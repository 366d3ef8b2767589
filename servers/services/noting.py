"""Writes to Redis what a process notes beside its work: nobody waits for that, and it fails no call."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from redis.exceptions import RedisError

from core.bus import Bus
from core.errors import Unavailable

Put = Callable[[Any], object]
"""Gives a pipeline its commands."""
IsOver = Callable[[bytes, bytes], bool]
"""Whether a field of a hash, by its name and value, is of nobody any more."""

logger = logging.getLogger(__name__)


class Notes:
    """Those of one process, of one sort, on the loop that the sources' calls run on. ``what`` they are, for errors.

    They are written in the order in which they were noted, as many at once as wait. Beyond ``most``, they are dropped.
    """

    def __init__(self, bus: Bus, what: str, *, most: int) -> None:
        self._bus = bus
        self._what = what
        self._most = most
        self._waiting: list[Put] = []
        self._sweeps: dict[str, IsOver] = {}
        self._task: asyncio.Task[None] | None = None

    def soon(self, put: Put, *, sweep: tuple[str, IsOver] | None = None) -> None:
        """Have one written, and what is over taken out of a hash with it. Returns at once."""
        if len(self._waiting) >= self._most:
            return
        self._waiting.append(put)
        if sweep is not None:
            self._sweeps[sweep[0]] = sweep[1]
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._write(), name="write-notes")

    async def read(self, ask: Put) -> list[Any]:
        """What Redis answers to each command. Raises ``Unavailable`` while it is away."""
        try:
            return await self._run([ask])
        except (RedisError, OSError):
            raise Unavailable(f"{self._what} cannot be read now: Redis does not answer. Try again.") from None

    async def settle(self) -> None:
        """Wait until what was noted is kept, or was dropped."""
        while self._task is not None and not self._task.done():
            await asyncio.wait([self._task])

    async def _write(self) -> None:
        while self._waiting:
            puts, self._waiting = self._waiting, []
            sweeps, self._sweeps = self._sweeps, {}
            try:
                await self._run(puts)
                for key, is_over in sweeps.items():
                    await self._sweep(key, is_over)
            except (RedisError, OSError):
                logger.warning(
                    "notes were not kept: Redis does not answer",
                    extra={"what": self._what, "dropped": len(puts)},
                )

    async def _sweep(self, key: str, is_over: IsOver) -> None:
        found = await self._bus.redis.hgetall(key)
        if over := [name for name, value in found.items() if is_over(name, value)]:
            await self._bus.redis.hdel(key, *over)

    async def _run(self, puts: list[Put]) -> list[Any]:
        async with self._bus.redis.pipeline(transaction=False) as pipe:
            for put in puts:
                put(pipe)
            found: list[Any] = await pipe.execute()
            return found
