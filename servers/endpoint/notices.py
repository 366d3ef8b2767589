"""What a legacy client sends that is no request: notifications, and responses to questions. Answers nothing.

Any replica may get them; what they are about may run on another. So they travel on the session's channel, and what
must not be missed waits in Redis for a while.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson

from core.bus import Bus
from servers.endpoint.questions import deliver_answer
from servers.endpoint.sessions import Session

CANCELLED_SECONDS: Final = 60
"""How long a cancellation waits for the request that it is about."""

MAX_ID_CHARACTERS: Final = 512


async def take_notice(bus: Bus, session: Session, message: Mapping[str, Any]) -> None:
    """Pass a notification or a response on to whom it concerns. Raises ``RedisError``."""
    if "method" not in message:
        await deliver_answer(bus, session, message)
    elif message["method"] == "notifications/cancelled":
        params = message.get("params")
        name = request_name(params.get("requestId") if isinstance(params, Mapping) else None)
        if name is None:
            return
        async with bus.redis.pipeline(transaction=False) as pipe:
            pipe.sadd(cancelled_key(session.id), name)
            pipe.expire(cancelled_key(session.id), CANCELLED_SECONDS)
            pipe.publish(session.channel, b"cancel " + name)
            await pipe.execute()


def request_name(rpc_id: object) -> bytes | None:
    """A request's id as it travels between processes; ``None`` for what is no id."""
    if type(rpc_id) is int or (type(rpc_id) is str and len(rpc_id) <= MAX_ID_CHARACTERS):
        return orjson.dumps(rpc_id)
    return None


def cancelled_key(session_id: str) -> str:
    """The set of a session's requests that its client cancelled lately."""
    return f"marina:cancelled:{session_id}"
