"""Updates of resources that a session may have missed: kept for minutes, so that its next stream tells of them.

An update is told to the streams that are open. What is kept is only that a resource changed and when, by Redis's clock:
a stream that opens later asks what changed since its session was last told of anything.
"""

from __future__ import annotations

from typing import Any, Final

from servers.endpoint.events import EVENT_SECONDS
from servers.endpoint.sessions import TOLD, Session, lists_key, session_key

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

_TAKE: Final = """
local since = redis.call('hget', KEYS[2], ARGV[1])
if not since or redis.call('exists', KEYS[1]) == 0 then return {} end
local now = redis.call('TIME')
redis.call('hset', KEYS[2], ARGV[1], now[1] * 1000000 + now[2])
return redis.call('zrangebyscore', KEYS[3], '(' .. since, '+inf')
"""


async def keep_update(redis: Any, tenant_id: int, uri: str, channel: str, message: bytes) -> None:
    """Keep that a resource changed, and say so on ``channel``. Raises ``RedisError``."""
    await redis.eval(_KEEP, 1, _updated_key(tenant_id), uri, MAX_UPDATED, EVENT_SECONDS, channel, message)


async def take_updates(redis: Any, session: Session) -> list[str]:
    """The resources that changed since this was last asked, or since the session first subscribed to one.

    Of all resources of the team, whatever the session subscribed to. Raises ``RedisError``.
    """
    keys = session_key(session.id), lists_key(session.id), _updated_key(session.tenant_id)
    return [uri.decode() for uri in await redis.eval(_TAKE, 3, *keys, TOLD)]


def _updated_key(tenant_id: int) -> str:
    return f"marina:updated:{tenant_id}"
