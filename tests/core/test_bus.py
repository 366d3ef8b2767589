"""Messages between processes, over the real Redis."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator

import pytest
from django.conf import settings
from redis.asyncio import BlockingConnectionPool, Redis

from core.bus import Bus
from core.heedful import heed

pytestmark = pytest.mark.anyio


class Ear:
    """Keeps what it hears."""

    def __init__(self) -> None:
        self.messages: asyncio.Queue[bytes] = asyncio.Queue()
        self.missed = asyncio.Event()

    async def next(self) -> bytes:
        async with asyncio.timeout(60):
            return await self.messages.get()

    async def listen(self, bus: Bus, channel: str) -> Ear:
        self.listener = await bus.subscribe(channel, self.messages.put_nowait, self.missed.set)
        return self


@pytest.fixture
async def buses(database: None, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Bus, Bus]]:
    # A Redis that has to wait for a processor is not away.
    monkeypatch.setattr("core.bus.SUBSCRIBE_SECONDS", 60.0)
    monkeypatch.setattr("core.bus._COMMAND_SECONDS", 60.0)
    made = Bus(settings.ENV.redis_url), Bus(settings.ENV.redis_url)
    for bus in made:
        bus.start()
    yield made
    for bus in made:
        await bus.close()


def _channel() -> str:
    return f"test:{secrets.token_hex(6)}"


async def test_message_reaches_every_listener_in_every_process(buses: tuple[Bus, Bus]) -> None:
    one, two = buses
    channel = _channel()
    ears = [await Ear().listen(bus, channel) for bus in (one, two, two)]
    await one.publish(channel, b"hello")
    assert [await ear.next() for ear in ears] == [b"hello"] * 3


async def test_what_is_published_after_subscribing_is_heard(buses: tuple[Bus, Bus]) -> None:
    one, two = buses
    for number in range(30):
        channel = _channel()
        ear = await Ear().listen(two, channel)
        await one.publish(channel, str(number))
        assert await ear.next() == str(number).encode()


async def test_listener_that_was_added_while_the_bus_runs_is_heard(buses: tuple[Bus, Bus]) -> None:
    one, two = buses
    await Ear().listen(two, _channel())
    channel = _channel()
    ear = Ear()
    two.listen(channel, ear.messages.put_nowait, ear.missed.set)
    async with asyncio.timeout(60):
        await ear.missed.wait()
    await one.publish(channel, b"late")
    assert await ear.next() == b"late"


async def test_channel_is_heard_again_by_who_joins_while_another_leaves(buses: tuple[Bus, Bus]) -> None:
    one, two = buses
    channel = _channel()
    for number in range(20):
        first = await Ear().listen(two, channel)
        two.leave(first.listener)
        second = await Ear().listen(two, channel)
        await one.publish(channel, str(number))
        async with asyncio.timeout(60):
            heard = await second.messages.get() if second.messages.qsize() else None
            if heard is None:
                waiting = asyncio.create_task(second.messages.get())
                missing = asyncio.create_task(second.missed.wait())
                await asyncio.wait({waiting, missing}, return_when=asyncio.FIRST_COMPLETED)
                waiting.cancel()
                missing.cancel()
        two.leave(second.listener)


async def test_gap_is_told_once_the_connection_is_back(buses: tuple[Bus, Bus]) -> None:
    one, two = buses
    channel = _channel()
    ear = await Ear().listen(two, channel)
    ear.missed.clear()
    redis = Redis.from_url(settings.ENV.redis_url)
    await redis.client_kill_filter(_type="pubsub", skipme=True)
    await redis.aclose()
    async with asyncio.timeout(60):
        await ear.missed.wait()
    await one.publish(channel, b"after")
    assert await ear.next() == b"after"


async def test_bus_without_redis_lets_subscribe_return(
    database: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.bus.SUBSCRIBE_SECONDS", 0.05)
    bus = Bus("redis://127.0.0.1:1")
    bus.start()
    await Ear().listen(bus, _channel())
    await bus.close()


@pytest.mark.parametrize("turns", range(12))
async def test_cancellation_is_heard_wherever_a_command_is(buses: tuple[Bus, Bus], turns: int) -> None:
    bus, _ = buses
    key = _channel()
    await bus.redis.set(key, "kept")
    went_on = asyncio.Event()

    async def ask() -> None:
        async with bus.redis.pipeline(transaction=False) as pipe:
            pipe.exists(key)
            pipe.exists(key)
            await pipe.execute()
        await asyncio.get_running_loop().create_future()
        went_on.set()

    async with asyncio.timeout(60):
        for _ in range(20):
            asking = asyncio.create_task(ask())
            for _ in range(turns):
                await asyncio.sleep(0)
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
            # Nobody gets an answer that was another's.
            assert await bus.redis.get(key) == b"kept"
    assert not went_on.is_set()


async def test_subscriber_that_is_cancelled_disturbs_nobody(buses: tuple[Bus, Bus]) -> None:
    one, two = buses
    channel = _channel()
    ear = await Ear().listen(two, channel)
    ear.missed.clear()
    for turns in range(40):
        joining = asyncio.create_task(Ear().listen(two, _channel()))
        for _ in range(turns % 8):
            await asyncio.sleep(0)
        joining.cancel()
        await asyncio.gather(joining, return_exceptions=True)
    await one.publish(channel, b"still here")
    assert await ear.next() == b"still here"
    assert not ear.missed.is_set()


@pytest.mark.parametrize("url", ["redis://h/0", "rediss://h/0", "unix:///run/redis.sock"])
def test_every_kind_of_connection_is_heedful(url: str) -> None:
    pool = BlockingConnectionPool.from_url(url)
    heed(pool, url)
    assert "heedful" in pool.connection_class.__module__
