"""Statements that took long on a data source: the newest few of each, kept in Redis for a week. Fails no call.

What is kept has no values in it: the source's kind sees to that.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

import orjson
from redis.exceptions import RedisError

from core.bus import Bus
from core.errors import Unavailable
from servers.execution.contract import SlowStatement, Source

MOST_KEPT: Final = 50
KEPT_SECONDS: Final = 7 * 24 * 3_600
MAX_WAITING: Final = 100
"""Beyond what waits to be written by one process, statements are dropped."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class KeptStatement:
    """One statement as it was kept. ``outcome``: ``ok``, ``cancelled``, or the code of the error."""

    at: datetime
    seconds: float
    statement: str
    outcome: str


class SlowStatements:
    """Keeps them for one process, on the loop that the sources' calls run on."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._writing: set[asyncio.Task[None]] = set()

    def note(self, source: Source, slow: SlowStatement) -> None:
        """Take one down. Returns at once."""
        if len(self._writing) >= MAX_WAITING:
            return
        # The loop holds tasks weakly: without this set one could vanish before it ran.
        task = asyncio.get_running_loop().create_task(self._keep(source, slow), name="keep-slow-statement")
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)

    async def read(self, tenant_id: int, source_id: UUID) -> Sequence[KeptStatement]:
        """Those of one source, newest first. Raises ``Unavailable`` while Redis is away."""
        try:
            kept = await self._bus.redis.lrange(_key(tenant_id, source_id), 0, MOST_KEPT - 1)
        except (RedisError, OSError):
            raise Unavailable(
                "Slow statements cannot be read now: Redis does not answer. Try again."
            ) from None
        return [
            KeptStatement(datetime.fromtimestamp(at, UTC), seconds, statement, outcome)
            for at, seconds, statement, outcome in map(orjson.loads, kept)
        ]

    async def settle(self) -> None:
        """Wait until what was noted is kept, or was dropped."""
        while self._writing:
            await asyncio.wait(list(self._writing))

    async def _keep(self, source: Source, slow: SlowStatement) -> None:
        key = _key(source.tenant_id, source.id)
        now = datetime.now(UTC).timestamp()
        try:
            async with self._bus.redis.pipeline(transaction=False) as pipe:
                pipe.lpush(key, orjson.dumps([now, slow.seconds, slow.statement, slow.outcome]))
                pipe.ltrim(key, 0, MOST_KEPT - 1)
                pipe.expire(key, KEPT_SECONDS)
                await pipe.execute()
        except (RedisError, OSError):
            logger.warning("a slow statement was not kept: Redis does not answer")


def _key(tenant_id: int, source_id: UUID) -> str:
    return f"marina:slow:{tenant_id}:{source_id}"
