"""The results that processes share by Redis: sealed, in bounds, for their own tenant; and never a reason to fail."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from core.crypto import Sealer
from core.sealing import sealer
from servers.services.results import store as stores
from servers.services.results.store import VALUE_BYTES, Store
from tests.faults.stoppable import StoppableRedis
from tests.protocol.waiting import wait_for
from tests.servers.results.sharing import kept

pytestmark = pytest.mark.anyio

KEY, OTHER = b"k" * 32, b"o" * 32


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[StoppableRedis]:
    with StoppableRedis.running(tmp_path) as mine:
        yield mine


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Redis that answers is not taken for one that is away, however slow the machine."""
    monkeypatch.setattr(stores, "REDIS_SECONDS", 30.0)


def name_of(tenant: int, key: bytes) -> str:
    return stores._name(tenant, stores._place(key))


def plain(redis: StoppableRedis) -> Any:
    return Redis.from_url(redis.url)


async def put(store: Store, tenant: int, key: bytes, size: int = 0, seconds: float = 60) -> None:
    store.keep(tenant, key, kept(size=size), seconds)
    await store.settle()


async def found(store: Store, tenant: int, key: bytes) -> bool:
    return await store.find(tenant, key) is not None


async def test_another_process_finds_what_one_left_for_as_long_as_it_is_good(redis: StoppableRedis) -> None:
    one, two = Store(redis.url, sealer()), Store(redis.url, sealer())
    await put(one, 1, KEY, seconds=50)
    given = await two.find(1, KEY)
    assert given is not None
    assert given[0].outcome() == kept().outcome()
    assert 20 < given[1] <= 50
    assert not await found(two, 2, KEY)
    assert not await found(two, 1, OTHER)
    for each in (one, two):
        await each.close()


async def test_what_lies_in_redis_cannot_be_read_nor_put_elsewhere(redis: StoppableRedis) -> None:
    store = Store(redis.url, sealer())
    store.keep(1, KEY, kept("hunter2"), 60)
    await store.settle()
    with plain(redis) as client:
        name = name_of(1, KEY)
        sealed = client.get(name)
        assert b"hunter2" not in sealed
        for place in ((2, KEY), (1, OTHER)):
            client.set(name_of(*place), sealed, ex=60)
            assert not await found(store, *place), "it opens where it was put only"
        client.set(name, b"\x01 damaged", ex=60)
    assert not await found(store, 1, KEY)
    foreign = Store(redis.url, Sealer(b"another master key"))
    await put(foreign, 1, KEY)
    assert not await found(store, 1, KEY)
    for each in (store, foreign):
        await each.close()


async def test_a_tenant_stays_within_its_bytes_and_takes_nobody_elses(redis: StoppableRedis) -> None:
    store = Store(redis.url, sealer(), tenant_bytes=20_000)
    await put(store, 2, KEY)
    for number in range(50):
        await put(store, 1, b"%032d" % number, size=1_000, seconds=60 + number)
    held = [number for number in range(50) if await found(store, 1, b"%032d" % number)]
    # Those that end first made room.
    assert held == list(range(50 - len(held), 50))
    assert 10 < len(held) < 20
    assert await found(store, 2, KEY)
    with plain(redis) as client:
        taken = sum(client.strlen(name) for name in client.scan_iter("marina:result:1:*"))
        assert taken == int(client.get("marina:results:1:bytes")) <= 20_000
    await store.close()


async def test_results_that_ended_make_room(redis: StoppableRedis) -> None:
    store = Store(redis.url, sealer(), tenant_bytes=20_000)
    await put(store, 1, KEY, size=1_000, seconds=0.001)
    with plain(redis) as client:
        wait_for(lambda: not client.exists(name_of(1, KEY)))
        await put(store, 1, OTHER, size=10)
        assert int(client.get("marina:results:1:bytes")) == client.strlen(name_of(1, OTHER))
    await store.close()


async def test_a_result_that_is_too_large_stays_out(redis: StoppableRedis) -> None:
    store = Store(redis.url, sealer())
    await put(store, 1, KEY, size=VALUE_BYTES)
    assert not await found(store, 1, KEY)
    await store.close()


async def test_while_redis_is_away_nothing_is_found_and_nothing_fails(
    redis: StoppableRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(redis.url, sealer())
    await put(store, 1, KEY)
    redis.stop()
    assert not await found(store, 1, KEY)
    await put(store, 1, OTHER)
    redis.start()
    monkeypatch.setattr(stores, "monotonic", lambda: 1e12)
    await put(store, 1, OTHER)
    assert await found(store, 1, OTHER), "it is asked again after a while"
    await store.close()


async def test_a_redis_that_hangs_is_waited_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    connections = 0

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.read()
        writer.close()

    monkeypatch.setattr(stores, "REDIS_SECONDS", 0.05)
    monkeypatch.setattr(stores, "AWAY_SECONDS", 600.0)
    async with await asyncio.start_server(accept, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        store = Store(f"redis://127.0.0.1:{port}/0", sealer())
        for _ in range(20):
            assert not await found(store, 1, KEY)
        await store.close()
    assert connections == 1
