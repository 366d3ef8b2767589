"""Sources that say in the middle of a call that what they bring changed: told to whoever checks sources.

The process that serves the call only passes it on, at a pace. Fails no call.
"""

from __future__ import annotations

import asyncio
from typing import Final
from uuid import UUID

import orjson

from core.bus import Bus
from servers.execution.contract import Source
from servers.services.noting import Notes

CHANNEL: Final = "marina:said-changed"
"""Where it is told: ``[tenant id, source id]``."""

REST_SECONDS: Final = 5.0
"""Between two times that one process tells of one source. What is said meanwhile is told at the end, once."""
MAX_WAITING: Final = 1_000


class SaidChanges:
    """Those that one process hears of, on the loop that the sources' calls run on."""

    def __init__(self, bus: Bus) -> None:
        self._notes = Notes(bus, "Changes that sources told of", most=MAX_WAITING)
        self._resting: dict[UUID, bool] = {}
        """Sources that were told of a moment ago, and whether they changed since."""

    def note(self, source: Source) -> None:
        """A source said that what it brings changed. Returns at once."""
        if source.id in self._resting:
            self._resting[source.id] = True
        else:
            self._tell(source.tenant_id, source.id)

    async def settle(self) -> None:
        """Wait until what was noted is told, or was dropped."""
        await self._notes.settle()

    def _tell(self, tenant_id: int, id_: UUID) -> None:
        message = orjson.dumps([tenant_id, id_])
        self._resting[id_] = False
        self._notes.soon(lambda pipe: pipe.publish(CHANNEL, message))
        asyncio.get_running_loop().call_later(REST_SECONDS, self._rested, tenant_id, id_)

    def _rested(self, tenant_id: int, id_: UUID) -> None:
        if self._resting.pop(id_):
            self._tell(tenant_id, id_)


def read_said(message: bytes) -> tuple[int, UUID] | None:
    """Whose source it is, and which, as ``CHANNEL`` has it."""
    try:
        tenant_id, id_ = orjson.loads(message)
        return int(tenant_id), UUID(id_)
    except (ValueError, TypeError):
        return None
