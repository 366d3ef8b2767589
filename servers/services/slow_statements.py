"""Statements that took long on a data source: the newest few of each, kept in Redis for a week. Fails no call.

What is kept has no values in it: the source's kind sees to that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import orjson

from core.bus import Bus
from servers.execution.contract import SlowStatement, Source
from servers.services.noting import Notes

MOST_KEPT: Final = 50
KEPT_SECONDS: Final = 7 * 24 * 3_600
MAX_WAITING: Final = 100
"""Beyond what waits to be written by one process, statements are dropped."""


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
        self._notes = Notes(bus, "Slow statements", most=MAX_WAITING)

    def note(self, source: Source, slow: SlowStatement) -> None:
        """Take one down. Returns at once."""
        key = _key(source.tenant_id, source.id)
        kept = orjson.dumps([datetime.now(UTC).timestamp(), slow.seconds, slow.statement, slow.outcome])

        def put(pipe: Any) -> None:
            pipe.lpush(key, kept)
            pipe.ltrim(key, 0, MOST_KEPT - 1)
            pipe.expire(key, KEPT_SECONDS)

        self._notes.soon(put)

    async def read(self, tenant_id: int, source_id: UUID) -> Sequence[KeptStatement]:
        """Those of one source, newest first. Raises ``Unavailable`` while Redis is away."""
        key = _key(tenant_id, source_id)
        [kept] = await self._notes.read(lambda pipe: pipe.lrange(key, 0, MOST_KEPT - 1))
        return [
            KeptStatement(datetime.fromtimestamp(at, UTC), seconds, statement, outcome)
            for at, seconds, statement, outcome in map(orjson.loads, kept)
        ]

    async def settle(self) -> None:
        """Wait until what was noted is kept, or was dropped."""
        await self._notes.settle()


def _key(tenant_id: int, source_id: UUID) -> str:
    return f"marina:slow:{tenant_id}:{source_id}"
