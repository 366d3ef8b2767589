"""How many calls of a tool had a result without running: counted in memory, added up in Redis by day. Fails no call."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from redis.exceptions import RedisError

from core.bus import Bus
from core.errors import Unavailable

DAYS: Final = 7
"""Today, and the days before it, that are shown together."""

_KEPT_SECONDS: Final = (DAYS + 1) * 86_400
_MAX_TOOLS: Final = 10_000
"""Tools counted in memory while Redis is away. Beyond them, calls are not counted."""

_FIELDS: Final = ("hits", "joined", "runs")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Counts:
    """Calls of one tool: answered from what was kept, given the result of another call's run, and run."""

    hits: int = 0
    joined: int = 0
    runs: int = 0

    @property
    def calls(self) -> int:
        """All of them."""
        return self.hits + self.joined + self.runs

    @property
    def hit_rate(self) -> float | None:
        """The share that was answered from what was kept; ``None`` where there was no call."""
        return self.hits / self.calls if self.calls else None


class Counter:
    """Counts for one process, on its event loop."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._counted: dict[tuple[int, UUID], list[int]] = {}

    def hit(self, tenant_id: int, tool_id: UUID) -> None:
        """A call was answered from what was kept."""
        self._count(tenant_id, tool_id, 0)

    def join(self, tenant_id: int, tool_id: UUID) -> None:
        """A call was given the result of a run that another one had begun."""
        self._count(tenant_id, tool_id, 1)

    def run(self, tenant_id: int, tool_id: UUID) -> None:
        """A call runs."""
        self._count(tenant_id, tool_id, 2)

    async def flush(self) -> None:
        """Add what was counted to what all processes have; while Redis is away it is kept for the next time."""
        counted, self._counted = self._counted, {}
        if not counted:
            return
        today = datetime.now(UTC)
        try:
            async with self._bus.redis.pipeline(transaction=False) as pipe:
                for (tenant_id, tool_id), numbers in counted.items():
                    key = _key(tenant_id, tool_id, today)
                    for field, number in zip(_FIELDS, numbers, strict=True):
                        if number:
                            pipe.hincrby(key, field, number)
                    pipe.expire(key, _KEPT_SECONDS)
                await pipe.execute()
        except (RedisError, OSError):
            for place, numbers in counted.items():
                now = self._counted.setdefault(place, [0, 0, 0])
                self._counted[place] = [a + b for a, b in zip(now, numbers, strict=True)]
            logger.warning("how often results are shared was not counted: Redis does not answer")

    async def read(self, tenant_id: int, tool_id: UUID) -> Counts:
        """The counts of a tool over ``DAYS``, of all processes. Raises ``Unavailable`` while Redis is away."""
        today = datetime.now(UTC)
        try:
            async with self._bus.redis.pipeline(transaction=False) as pipe:
                for before in range(DAYS):
                    pipe.hmget(_key(tenant_id, tool_id, today - timedelta(days=before)), *_FIELDS)
                days = await pipe.execute()
        except (RedisError, OSError):
            raise Unavailable(
                "The counts of the cache cannot be read now: Redis does not answer. Try again."
            ) from None
        return Counts(*(sum(int(number or 0) for number in numbers) for numbers in zip(*days, strict=True)))

    def _count(self, tenant_id: int, tool_id: UUID, at: int) -> None:
        numbers = self._counted.get((tenant_id, tool_id))
        if numbers is None:
            if len(self._counted) >= _MAX_TOOLS:
                return
            numbers = self._counted[tenant_id, tool_id] = [0, 0, 0]
        numbers[at] += 1


def _key(tenant_id: int, tool_id: UUID, day: datetime) -> str:
    return f"marina:shared:{tenant_id}:{tool_id}:{day:%Y%m%d}"
