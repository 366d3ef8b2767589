"""Updates of resources that a session may have missed: kept for minutes, so that its next stream tells of them.

An update is told to the streams that are open. What is kept is only that a resource changed and when, by Redis's clock:
a stream that opens later asks what changed since its session was last told of anything.
"""

from __future__ import annotations

from typing import Any, Final

from servers.endpoint.sessions import TOLD, Session, lists_key, session_key
from servers.services.updates import updated_key

_TAKE: Final = """
local since = redis.call('hget', KEYS[2], ARGV[1])
if not since or redis.call('exists', KEYS[1]) == 0 then return {} end
local now = redis.call('TIME')
redis.call('hset', KEYS[2], ARGV[1], now[1] * 1000000 + now[2])
return redis.call('zrangebyscore', KEYS[3], '(' .. since, '+inf')
"""


async def take_updates(redis: Any, session: Session) -> list[str]:
    """The resources that changed since this was last asked, or since the session first subscribed to one.

    Of all resources of the team, whatever the session subscribed to. Raises ``RedisError``.
    """
    keys = session_key(session.id), lists_key(session.id), updated_key(session.tenant_id)
    return [uri.decode() for uri in await redis.eval(_TAKE, 3, *keys, TOLD)]
