"""Updates of resources: told to those who listen, and kept for minutes for those who come back. Knows no transport."""

from __future__ import annotations

import asyncio
import logging
from itertools import islice
from typing import Any, Final

import orjson
from redis.exceptions import RedisError

from core.bus import Bus
from core.finishing import stop

CHANNEL: Final = "marina:resource-updated"
"""Where replicas tell each other: ``[tenant id, URI]``."""

KEPT_SECONDS: Final = 300
"""How long it is known that a resource changed: as long as a session's stream can be come back to."""

MAX_UPDATED: Final = 2_000
"""Resources of one team that are known to have changed lately. The one that changed longest ago makes room."""

AT_ONCE: Final = 50
REST_SECONDS: Final = 0.5
"""Of one source so many updates are handed on, and then none for so long. A resource that changed several times
meanwhile is one update."""
AGAIN_SECONDS: Final = 5.0
"""How soon it is tried again while Redis does not answer."""

_KEEP: Final = """
local now = redis.call('TIME')
redis.call('zadd', KEYS[1], now[1] * 1000000 + now[2], ARGV[1])
redis.call('zremrangebyrank', KEYS[1], 0, -1 - tonumber(ARGV[2]))
redis.call('zremrangebyscore', KEYS[1], '-inf', (now[1] - ARGV[3]) * 1000000)
redis.call('expire', KEYS[1], ARGV[3])
redis.call('publish', ARGV[4], ARGV[5])
"""


logger = logging.getLogger(__name__)


class Updates:
    """Those that one source tells of, handed on at a pace. ``turns``: the other sources' of the process are handed on
    by the same. On one event loop."""

    def __init__(self, bus: Bus, tenant_id: int, turns: asyncio.Lock) -> None:
        self._bus = bus
        self._tenant_id = tenant_id
        self._turns = turns
        self._pending: dict[str, None] = {}
        self._telling: asyncio.Task[None] | None = None

    def note(self, uri: str) -> None:
        """A resource changed: its subscribers are told soon."""
        if len(self._pending) < MAX_UPDATED:
            self._pending[uri] = None
        if self._telling is None or self._telling.done():
            self._telling = asyncio.get_running_loop().create_task(self._tell(), name="tell-updates")

    async def close(self) -> None:
        """Tell nothing more."""
        await stop(self._telling)

    async def _tell(self) -> None:
        while self._pending:
            try:
                async with self._turns:
                    await self._tell_some()
            except (RedisError, OSError):
                logger.info("updates of resources are told later: Redis does not answer")
                await asyncio.sleep(AGAIN_SECONDS)
            else:
                await asyncio.sleep(REST_SECONDS)

    async def _tell_some(self) -> None:
        for uri in list(islice(self._pending, AT_ONCE)):
            # Said again while it is being told, it is told again.
            del self._pending[uri]
            try:
                await announce_update(self._bus.redis, self._tenant_id, uri)
            except (RedisError, OSError):
                self._pending[uri] = None
                raise


async def announce_update(redis: Any, tenant_id: int, uri: str) -> None:
    """Keep that a resource changed, and tell every replica. Raises ``RedisError``."""
    message = orjson.dumps([tenant_id, uri])
    key = updated_key(tenant_id)
    await redis.eval(_KEEP, 1, key, uri, MAX_UPDATED, KEPT_SECONDS, CHANNEL, message)


def updated_key(tenant_id: int) -> str:
    """Where the resources of a team that changed lately are kept."""
    return f"marina:updated:{tenant_id}"
