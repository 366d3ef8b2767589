"""Listens for tenants' changes on Redis and says which. Keeps nothing; a lost message is made up for by the rest."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from redis import asyncio as aioredis
from redis.exceptions import RedisError

from tenants.changes import CHANNEL

FIRST_BACKOFF_SECONDS: Final = 0.2
LAST_BACKOFF_SECONDS: Final = 5.0
_PING_SECONDS: Final = 10.0

logger = logging.getLogger(__name__)


async def listen_for_changes(
    redis_url: str, *, changed: Callable[[int], None], missed: Callable[[], None]
) -> None:
    """Call ``changed(tenant_id)`` for each announcement, until cancelled.

    Calls ``missed()`` each time the subscription begins: what was announced before was not heard.
    """
    backoff = FIRST_BACKOFF_SECONDS
    while True:
        client = aioredis.Redis.from_url(
            redis_url, socket_connect_timeout=2.0, health_check_interval=_PING_SECONDS
        )
        try:
            async with client.pubsub() as subscription:
                await subscription.subscribe(CHANNEL)
                missed()
                backoff = FIRST_BACKOFF_SECONDS
                while True:
                    message = await subscription.get_message(
                        ignore_subscribe_messages=True, timeout=_PING_SECONDS
                    )
                    if message is not None and message["data"].isdigit():
                        changed(int(message["data"]))
        except (RedisError, OSError):
            logger.warning(
                "changes are not heard: no connection to Redis", extra={"again_in_seconds": backoff}
            )
        finally:
            await client.aclose()
        await asyncio.sleep(backoff)
        backoff = min(backoff * 2, LAST_BACKOFF_SECONDS)
