"""What a legacy client sends that is no request: notifications, and responses to questions. Answers nothing.

Any replica may get them; what they are about may run on another. So they travel on the session's channel, and what
must not be missed waits in Redis for a while.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson

from core.bus import Bus
from servers.endpoint.eras import MAX_ID_CHARACTERS
from servers.endpoint.questions import deliver_answer
from servers.endpoint.sessions import Session

CANCELLED_SECONDS: Final = 60
"""How long a cancellation waits for the request that it is about."""

MAX_CANCELLED: Final = 1_000
"""Cancellations of one session that wait; what comes in beyond them is only announced."""


async def take_notice(bus: Bus, session: Session, message: Mapping[str, Any]) -> None:
    """Pass a notification or a response on to whom it concerns. Raises ``RedisError``."""
    if "method" not in message:
        await deliver_answer(bus, session, message)
    elif message["method"] == "notifications/cancelled":
        params = message.get("params")
        name = request_name(params.get("requestId") if isinstance(params, Mapping) else None)
        if name is None:
            return
        key = cancelled_key(session.id)
        waiting = await bus.redis.scard(key)
        async with bus.redis.pipeline(transaction=False) as pipe:
            if waiting < MAX_CANCELLED:
                pipe.sadd(key, name)
                pipe.expire(key, CANCELLED_SECONDS)
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
