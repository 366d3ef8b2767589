"""Sources that say in the middle of a call that they changed: checked by one process, however many hear of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any
from uuid import UUID, uuid4

import orjson
import pytest
from mcp.server.mcpserver import Context, MCPServer
from mcp_types import ToolListChangedNotification

from config.local.ports import LOOPBACK
from core.bus import Bus
from core.loop import run_async
from servers.execution.contract import Operation, Source
from servers.services import listening, said_changes
from servers.services.listening import Listeners
from servers.services.runtime import get_runtime
from servers.services.said_changes import CHANNEL, SaidChanges
from servers.services.source_checks import check_and_listen
from servers.services.sources import create_source, execution_source, get_source
from tests.factories import Team, make_team
from tests.marina.harbour import Harbour, serve
from tests.protocol.waiting import wait_for
from tests.servers.execution.mcp.shipyard import OfOneEra


@contextmanager
def growing() -> Iterator[str]:
    """A server of before 2026-07-28 that tells of more tools only to whoever had it grow."""
    server = MCPServer("growing")

    @server.tool()
    async def grow(ctx: Context) -> str:
        server.add_tool(lambda: "ahoy", name="hail", description="Hails.")
        await ctx.session.send_notification(ToolListChangedNotification(), related_request_id=ctx.request_id)
        return "grown"

    harbour = Harbour()
    with serve(OfOneEra(server.streamable_http_app(), "legacy"), harbour.port):
        yield f"http://{LOOPBACK}:{harbour.port}/mcp"


@pytest.fixture
def team(database: None) -> Team:
    return make_team()


def test_what_is_said_within_a_call_is_looked_at_at_once(team: Team) -> None:
    with growing() as url:
        source = create_source("growing", "mcp", {"url": url}, caller=team.owner)
        check_and_listen(team.tenant_id)
        assert get_source(source.pk, caller=team.owner).health == "healthy"
        engine = get_runtime().engine
        run_async(engine.execute(execution_source(source), Operation("tool", {"name": "grow"}), {}))
        wait_for(lambda: get_source(source.pk, caller=team.owner).health == "degraded", 30)


@asynccontextmanager
async def busses(redis_url: str, count: int) -> AsyncIterator[list[Bus]]:
    made = [Bus(redis_url) for _ in range(count)]
    try:
        for bus in made:
            bus.start()
        yield made
    finally:
        for bus in made:
            await bus.close()


async def until(so: Callable[[], Any]) -> None:
    async with asyncio.timeout(30):
        while not so():  # noqa: ASYNC110 - what is waited for knows nobody who waits
            await asyncio.sleep(0.02)


def test_however_often_it_is_said_it_is_told_at_a_pace_and_the_last_is_not_lost(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(said_changes, "REST_SECONDS", 0.5)
    source = Source(uuid4(), 7, "far", "mcp", 1, {})

    async def work() -> None:
        heard: list[Any] = []
        async with busses(redis_url, 1) as (bus,):

            def hear(message: bytes) -> None:
                if str(source.id) in message.decode():
                    heard.append(orjson.loads(message))

            await bus.subscribe(CHANNEL, hear, lambda: None)
            changes = SaidChanges(bus)
            for _ in range(100):
                changes.note(source)
            await until(lambda: len(heard) == 2)
            assert heard == [[7, str(source.id)]] * 2
            # Nothing was said since: it rests, and is told at once the next time.
            await until(lambda: not changes._resting)
            changes.note(source)
            await until(lambda: len(heard) == 3)
            await changes.settle()

    asyncio.run(work())


async def hear_the_end(bus: Bus) -> None:
    """Wait until all that was published before has been heard."""
    heard, channel = asyncio.Event(), uuid4().hex
    await bus.subscribe(channel, lambda message: heard.set(), lambda: None)
    await bus.publish(channel, b"")
    await heard.wait()


class Checking:
    """A check that says so often that it is not its time."""

    def __init__(self, not_yet: int = 0) -> None:
        self.begun: list[tuple[int, UUID]] = []
        self._not_yet = not_yet

    def __call__(self, tenant_id: int, source_id: UUID) -> int:
        self.begun.append((tenant_id, source_id))
        return 0 if len(self.begun) <= self._not_yet else 1


def test_one_process_of_several_looks(redis_url: str) -> None:
    check, source_id = Checking(), uuid4()
    # Other tests may have had this process listen.
    run_async(get_runtime().listeners.close())

    async def work() -> None:
        async with busses(redis_url, 3) as (one, two, three):
            both = [Listeners(each, lambda kind: None) for each in (one, two)]
            for each in both:
                await each.want([], check)
            for bus in (one, two):
                await bus.subscribe(CHANNEL, lambda message: None, lambda: None)
            await three.publish(CHANNEL, orjson.dumps([7, source_id]))
            await three.publish(CHANNEL, b"no such thing")
            await until(lambda: check.begun)
            for bus in (one, two):
                await hear_the_end(bus)
                # Whoever was to take it has asked for it.
                await until(lambda: not any(each._taking for each in both))
            for each in both:
                await each.close()

    asyncio.run(work())
    assert check.begun == [(7, source_id)]


@pytest.mark.parametrize(("not_yet", "begun"), [(1, 2), (9, 2)])
def test_what_is_not_to_be_looked_at_yet_is_once_more_later(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, not_yet: int, begun: int
) -> None:
    monkeypatch.setattr(listening, "PUT_OFF_SECONDS", 0.1)
    monkeypatch.setattr(listening, "QUIET_SECONDS", 0.1)
    check = Checking(not_yet)

    async def work() -> None:
        async with busses(redis_url, 1) as (bus,):
            listeners = Listeners(bus, lambda kind: None)
            await listeners.want([], check)
            listeners._heard(7, uuid4())
            await until(lambda: not listeners._checking)
            await listeners.close()

    asyncio.run(work())
    assert len(check.begun) == begun
