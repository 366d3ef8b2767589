"""What is noted in Redis beside calls: in its order, no more than its bound, and with no fault where Redis is away."""

from __future__ import annotations

import logging
from collections.abc import Callable
from secrets import token_hex
from typing import Any

import pytest
from django.conf import settings

from config.local.ports import LOOPBACK, find_free_port
from core.bus import Bus
from core.errors import Unavailable
from core.loop import run_async
from servers.services.noting import Notes


def push(key: str, value: int) -> Callable[[Any], object]:
    return lambda pipe: pipe.rpush(key, value)


def test_what_is_noted_is_written_in_its_order_and_beyond_the_bound_dropped(database: None) -> None:
    key = f"marina:test:{token_hex(8)}"

    async def note() -> list[bytes]:
        bus = Bus(settings.ENV.redis_url)
        notes = Notes(bus, "They", most=40)
        for number in range(50):
            notes.soon(push(key, number))
        await notes.settle()
        notes.soon(push(key, 99))
        await notes.settle()
        [found, _] = await notes.read(lambda pipe: pipe.lrange(key, 0, -1).delete(key))
        await bus.close()
        return list(found)

    assert list(map(int, run_async(note()))) == [*range(40), 99]


def test_without_redis_notes_are_dropped_and_cannot_be_read(caplog: pytest.LogCaptureFixture) -> None:
    async def note() -> None:
        bus = Bus(f"redis://{LOOPBACK}:{find_free_port()}/0")
        notes = Notes(bus, "They", most=40)
        notes.soon(push("marina:test", 1))
        await notes.settle()
        with pytest.raises(Unavailable, match="They cannot be read now"):
            await notes.read(lambda pipe: pipe.llen("marina:test"))
        await bus.close()

    with caplog.at_level(logging.WARNING):
        run_async(note())
    assert "notes were not kept: Redis does not answer" in caplog.messages
