"""What processes found of the servers behind a source: nothing stays of what is over. On real Redis."""

from __future__ import annotations

from time import time
from uuid import uuid4

import orjson
import pytest
from django.conf import settings

from core.bus import Bus
from servers.execution.contract import Source, UpstreamState
from servers.services.upstream_states import KEPT_SECONDS, UpstreamStates

pytestmark = pytest.mark.anyio


async def test_nothing_stays_of_processes_that_ended_and_of_former_versions() -> None:
    bus = Bus(settings.ENV.redis_url)
    source = Source(uuid4(), 1, "far", "mcp", 2, {})
    key = f"marina:upstreams:1:{source.id}"
    long_ago = time() - KEPT_SECONDS - 1
    kept = {
        "ended.0": ["https://a.example", "open", "", long_ago, long_ago, 5, 2],
        "former.0": ["https://a.example", "open", "", time(), time() + 30, 5, 1],
        "other.0": ["https://a.example", "open", "", long_ago, time() + 30, 5, 2],
    }
    await bus.redis.hset(key, mapping={name: orjson.dumps(value) for name, value in kept.items()})
    states = UpstreamStates(bus)
    states.note(source, UpstreamState(0, "https://a.example", "closed", "", 0.0, None, 0))
    await states.settle()
    assert set(await bus.redis.hgetall(key)) == {b"other.0", f"{states._process}.0".encode()}
    assert len(await states.read(1, source.id, 2)) == 2
    await bus.close()
