"""What the subscribers of one process want: said, renewed, let go, and looked for in bounded time."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest

from core.bus import Bus
from servers.endpoint import wanting
from servers.endpoint.subscribers import Subscriber
from servers.endpoint.wanting import Wanting
from servers.execution.contract import Operation, Source
from servers.services import wanted
from servers.services.surfaces import Surface, SurfaceResource
from servers.services.wanted import read_wanted, wanted_key

NONE: frozenset[str] = frozenset()
PLACE = (1, "default")


class Process:
    """A process with one server, whose resources are of the sources ``telling`` and ``quiet``."""

    def __init__(self, bus: Bus) -> None:
        self.redis = bus.redis
        self.telling = Source(uuid4(), 1, "telling", "mcp", 1, {})
        self.quiet = Source(uuid4(), 1, "quiet", "files", 1, {})
        self.surface = Surface(
            1,
            "team",
            "default",
            "",
            "",
            False,
            1,
            (),
            {},
            resources=(self._resource("quiet://one", self.quiet),),
            templates=(self._resource("far://{name}", self.telling, template=True),),
        )
        self.subscribers: dict[tuple[int, str], set[Subscriber]] = {PLACE: set()}
        self.surfaces = {PLACE: self.surface}
        kinds = {"mcp": True, "files": False}
        engine = SimpleNamespace(find=lambda kind: SimpleNamespace(tells_of_changes=kinds[kind]))
        runtime: Any = SimpleNamespace(bus=bus, engine=engine)
        self.wanting = Wanting(runtime, self.subscribers, self.surfaces)

    def add(self, *uris: str) -> Subscriber:
        """A subscriber of whom nothing is said yet."""
        caller: Any = None
        subscriber = Subscriber(caller, "default", uris=uris)
        self.subscribers[PLACE].add(subscriber)
        return subscriber

    def join(self, *uris: str) -> Subscriber:
        subscriber = self.add(*uris)
        self.wanting.changed()
        return subscriber

    def leave(self, subscriber: Subscriber) -> None:
        self.subscribers[PLACE].discard(subscriber)
        self.wanting.changed()

    async def read(self) -> frozenset[str]:
        return await read_wanted(self.redis, self.telling.id, NONE)

    async def until(self, *uris: str) -> None:
        """Wait until these are wanted, and no others."""
        async with asyncio.timeout(30):
            while await self.read() != frozenset(uris):  # noqa: ASYNC110 - it is in Redis
                await asyncio.sleep(0.02)

    @staticmethod
    def _resource(uri: str, source: Source, *, template: bool = False) -> SurfaceResource:
        return SurfaceResource(
            uri, uri, "", "", "", {}, (), None, template, Operation("resource", {}), source
        )


Work = Callable[[Process], Coroutine[Any, Any, None]]


@pytest.fixture
def in_process(redis_url: str) -> Callable[[Work], None]:
    """Do something in a process of its own."""

    async def run(work: Work) -> None:
        bus = Bus(redis_url)
        try:
            await work(Process(bus))
        finally:
            await bus.close()

    return lambda work: asyncio.run(run(work))


InProcess = Callable[[Work], None]


def test_what_subscribers_want_is_said_and_let_go_with_the_last(in_process: InProcess) -> None:
    async def work(process: Process) -> None:
        one = process.join("far://a", "far://b", "quiet://one", "none://such")
        two = process.join("far://b")
        await process.until("far://a", "far://b")
        assert not await process.redis.exists(wanted_key(process.quiet.id))
        process.leave(one)
        await process.until("far://b")
        process.leave(two)
        await process.until()
        # Nothing is left to be done.
        assert process.wanting._task is not None
        async with asyncio.timeout(30):
            await process.wanting._task

    in_process(work)


def test_it_is_said_again_where_redis_has_forgotten(
    in_process: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wanting, "RENEW_SECONDS", 0.3)

    async def work(process: Process) -> None:
        process.join("far://a")
        await process.until("far://a")
        await process.redis.delete(wanted_key(process.telling.id))
        await process.until("far://a")

    in_process(work)


def test_a_server_on_which_it_takes_long_to_look_has_its_time_and_loses_nothing(
    in_process: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(process: Process) -> None:
        process.add("far://a", "far://b")
        monkeypatch.setattr(wanting, "PLACE_SECONDS", 60.0)
        before = await process.wanting._look()
        assert before == {process.telling.id: {"far://a", "far://b"}}
        # From now on there is time for none, as on a server with thousands of templates.
        monkeypatch.setattr(wanting, "PLACE_SECONDS", 0.0)
        process.surfaces[PLACE] = dataclasses.replace(process.surface)
        process.add("far://c")
        for _ in range(2):
            assert await process.wanting._look() == before
        monkeypatch.setattr(wanting, "PLACE_SECONDS", 60.0)
        found = await process.wanting._look()
        assert found == {process.telling.id: {"far://a", "far://b", "far://c"}}

    in_process(work)


def test_what_is_said_already_is_not_let_go_for_what_comes_later(
    in_process: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wanted, "MAX_WANTED", 2)
    monkeypatch.setattr(wanting, "PLACE_SECONDS", 60.0)

    async def work(process: Process) -> None:
        process.add("far://x", "far://y")
        await process.wanting._say(await process.wanting._look(), anew=True)
        process.add("far://a")
        await process.wanting._say(await process.wanting._look(), anew=True)
        assert await process.read() == {"far://x", "far://y"}

    in_process(work)
