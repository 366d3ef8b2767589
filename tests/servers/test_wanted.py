"""Which resources of a source are wanted: by whom, for how long, and how many."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import pytest
from redis import asyncio as aioredis

from servers.execution.listening import Ears
from servers.services import wanted
from servers.services.wanted import CHANNEL, let_go, read_wanted, want, wanted_key

NONE: frozenset[str] = frozenset()


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Any]:
    redis: Any = aioredis.Redis.from_url(url)
    try:
        yield redis
    finally:
        await redis.aclose()


@pytest.fixture
def on_redis(redis_url: str) -> Callable[[Callable[[Any], Awaitable[None]]], None]:
    """Do something with a connection."""

    async def run(work: Callable[[Any], Awaitable[None]]) -> None:
        async with connected(redis_url) as redis:
            await work(redis)

    return lambda work: asyncio.run(run(work))


OnRedis = Callable[[Callable[[Any], Coroutine[Any, Any, None]]], None]


def test_a_resource_is_wanted_until_the_last_one_lets_go(on_redis: OnRedis) -> None:
    async def work(redis: Any) -> None:
        source = uuid4()
        await want(redis, source, "one", ["a://b", "a://with a space"])
        await want(redis, source, "two", ["a://b"])
        await let_go(redis, source, "one", ["a://b"])
        assert await read_wanted(redis, source, NONE) == {"a://b", "a://with a space"}
        await let_go(redis, source, "two", ["a://b"])
        assert await read_wanted(redis, source, NONE) == {"a://with a space"}
        assert await read_wanted(redis, uuid4(), NONE) == NONE

    on_redis(work)


def test_what_nobody_says_again_is_forgotten(on_redis: OnRedis) -> None:
    async def work(redis: Any) -> None:
        source = uuid4()
        await want(redis, source, "one", ["a://b", "a://c"])
        assert 0 < await redis.ttl(wanted_key(source)) <= wanted.WANTED_SECONDS
        await redis.zincrby(wanted_key(source), -wanted.WANTED_SECONDS - 1, "one a://b")
        assert await read_wanted(redis, source, NONE) == {"a://c"}

    on_redis(work)


def test_listeners_are_told_of_what_is_new_and_of_what_is_gone(on_redis: OnRedis) -> None:
    async def work(redis: Any) -> None:
        source = uuid4()
        async with redis.pubsub() as pubsub:
            await pubsub.subscribe(CHANNEL)
            await pubsub.get_message(timeout=10)
            await want(redis, source, "one", ["a://b"])
            await want(redis, source, "one", ["a://b"])
            await let_go(redis, source, "two", ["a://b"])
            await let_go(redis, source, "one", ["a://b"])
            await redis.publish(CHANNEL, "the end")
            heard: list[bytes] = []
            while not heard or heard[-1] != b"the end":
                message = await pubsub.get_message(ignore_subscribe_messages=True, timeout=10)
                heard += [message["data"]] if message else []
            assert heard.count(str(source).encode()) == 2

    on_redis(work)


def test_there_are_bounds_and_what_is_listened_to_stays(
    on_redis: OnRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wanted, "MAX_WANTED", 2)
    monkeypatch.setattr(wanted, "MAX_KEPT", 4)

    async def work(redis: Any) -> None:
        source = uuid4()
        await want(redis, source, "one", ["a://1", "a://2", "a://3", "a://4", "a://5", "a" * 3_000])
        assert await redis.zcard(wanted_key(source)) == 4
        assert await read_wanted(redis, source, NONE) == {"a://1", "a://2"}
        assert await read_wanted(redis, source, frozenset({"a://4", "a://9"})) == {"a://1", "a://4"}
        # What is said again needs no room.
        await want(redis, source, "one", ["a://4", "a://5"])
        await let_go(redis, source, "one", ["a://1"])
        await want(redis, source, "two", ["a://5"])
        assert await redis.zcard(wanted_key(source)) == 4

    on_redis(work)


def test_an_update_is_one_of_what_is_wanted_or_of_the_nearest_above_it() -> None:
    async def work() -> list[str]:
        told: list[str] = []
        ears = Ears(lambda: None, told.append)
        ears.want(frozenset({"file:///a", "file:///a/b/c", "file:///d/"}))
        for uri in ("file:///a", "file:///a/b", "file:///a/b/c/d?e=f", "file:///d/e", "file:///ab", "x", ""):
            ears.updated(uri)
        ears.updated("file:///a" + "/x" * 1_000)
        return told

    assert asyncio.run(work()) == ["file:///a", "file:///a", "file:///a/b/c", "file:///d/"]
