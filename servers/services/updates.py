"""Updates of resources: told to those who listen, and kept for minutes for those who come back. Knows no transport."""

from __future__ import annotations

from typing import Any, Final

import orjson

CHANNEL: Final = "marina:resource-updated"
"""Where replicas tell each other: ``[tenant id, URI]``."""

KEPT_SECONDS: Final = 300
"""How long it is known that a resource changed: as long as a session's stream can be come back to."""

MAX_UPDATED: Final = 2_000
"""Resources of one team that are known to have changed lately. The one that changed longest ago makes room."""

_KEEP: Final = """
local now = redis.call('TIME')
redis.call('zadd', KEYS[1], now[1] * 1000000 + now[2], ARGV[1])
redis.call('zremrangebyrank', KEYS[1], 0, -1 - tonumber(ARGV[2]))
redis.call('zremrangebyscore', KEYS[1], '-inf', (now[1] - ARGV[3]) * 1000000)
redis.call('expire', KEYS[1], ARGV[3])
redis.call('publish', ARGV[4], ARGV[5])
"""


async def announce_update(redis: Any, tenant_id: int, uri: str) -> None:
    """Keep that a resource changed, and tell every replica. Raises ``RedisError``."""
    message = orjson.dumps([tenant_id, uri])
    key = updated_key(tenant_id)
    await redis.eval(_KEEP, 1, key, uri, MAX_UPDATED, KEPT_SECONDS, CHANNEL, message)


def updated_key(tenant_id: int) -> str:
    """Where the resources of a team that changed lately are kept."""
    return f"marina:updated:{tenant_id}"
