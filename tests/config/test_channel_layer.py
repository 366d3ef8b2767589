"""Live pages wait on Redis for longer than a client library's idea of a dead socket."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from channels_redis.core import RedisChannelLayer
from django.conf import settings


@pytest.mark.anyio
async def test_a_quiet_live_page_outlasts_one_wait_for_a_message() -> None:
    # As configured, but of its own: the process-wide one has connections on other loops.
    configuration: Any = settings.CHANNEL_LAYERS["default"]["CONFIG"]
    layer = RedisChannelLayer(**configuration)
    channel = await layer.new_channel()
    waiting = asyncio.ensure_future(layer.receive(channel))
    # Longer than the layer's own blocking wait: where the socket gives up first, this ends with its error.
    done, _ = await asyncio.wait({waiting}, timeout=layer.brpop_timeout + 1.5)
    assert not done
    await layer.send(channel, {"type": "late"})
    assert await asyncio.wait_for(waiting, 60) == {"type": "late"}
    await layer.close_pools()
