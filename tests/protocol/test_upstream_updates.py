"""Resources of upstream MCP servers that change while clients are subscribed to them: the four pairs of eras."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager
from functools import partial
from time import monotonic
from typing import Any
from uuid import UUID

import anyio
import orjson
import pytest
from mcp import Client
from mcp.shared.subscriptions import ResourceUpdated
from mcp_types import ResourceUpdatedNotification, TextResourceContents
from websockets.sync.client import connect

from core.loop import run_async
from core.threads import run_sync
from servers.services import listening
from servers.services.runtime import Runtime
from servers.services.source_checks import check_and_listen
from servers.services.sources import create_source
from servers.services.updates import CHANNEL, REST_SECONDS
from servers.services.wanted import wanted_key
from tenants.changes import redis_client
from tests.factories import Team, make_team
from tests.marina.harbour import Harbour
from tests.protocol.conftest import ALL_SCOPES
from tests.protocol.officialclient import connected
from tests.protocol.streamclient import begin
from tests.protocol.waiting import wait_for
from tests.protocol.wireclient import Endpoint
from tests.servers.execution.mcp.library import NEWS, OTHER, Library, open_library
from tests.servers.execution.mcp.shipyard import Era

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.filterwarnings("ignore:resources/(un)?subscribe is removed"),
]

PAGE = "library://pages/7"

Announced = Callable[[Team], list[str]]


@pytest.fixture(params=["legacy", "modern"])
def library(request: pytest.FixtureRequest) -> Iterator[Library]:
    era: Era = request.param
    with open_library(era) as library:
        yield library


@pytest.fixture(params=["2026-07-28", "legacy"])
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def team() -> Team:
    return make_team()


@pytest.fixture
def endpoint(port: int, team: Team) -> Endpoint:
    return Endpoint(port, f"/mcp/{team.slug}", team.key(*ALL_SCOPES))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "FIRST_BACKOFF", 0.2)


@pytest.fixture
def announced(port: int) -> Iterator[Announced]:
    """The updates that the replicas told each other so far, of one team."""
    heard: list[tuple[int, str]] = []

    def of(team: Team) -> list[str]:
        while (message := pubsub.get_message(ignore_subscribe_messages=True)) is not None:
            heard.append(tuple(orjson.loads(message["data"])))
        return [uri for tenant_id, uri in heard if tenant_id == team.tenant_id]

    pubsub: Any = redis_client().pubsub()  # type: ignore[no-untyped-call]  # its types leave that open
    with pubsub:
        pubsub.subscribe(CHANNEL)
        pubsub.get_message(timeout=10)
        yield of


def put_behind(team: Team, library: Library) -> UUID:
    """Have the team offer what the library does, and listen to it. Gives the source."""
    source = create_source("library", "mcp", {"url": library.url}, caller=team.owner)
    check_and_listen(team.tenant_id)
    return source.pk


class Heard:
    """What a client was told, and the client. ``stop`` ends its subscription."""

    def __init__(self, client: Client, stop: Callable[[], Any]) -> None:
        self.client = client
        self.stop = stop
        self.uris: list[str] = []

    async def of(self, uri: str) -> None:
        """Wait until it was told of this resource, and forget what it was told."""
        with anyio.fail_after(30):
            while uri not in self.uris:  # noqa: ASYNC110 - two subscriptions may be told in any order
                await anyio.sleep(0.02)
        self.uris.clear()

    async def reads(self, uri: str) -> str:
        """What the client reads now."""
        held = (await self.client.read_resource(uri)).contents[0]
        assert isinstance(held, TextResourceContents)
        return held.text


@asynccontextmanager
async def subscribed(endpoint: Endpoint, mode: str, *uris: str) -> AsyncIterator[Heard]:
    """A client that subscribed in the way of its era."""

    async def note(message: object) -> None:
        if isinstance(message, ResourceUpdatedNotification):
            heard.uris.append(str(message.params.uri))

    async def listen(client: Client, begun: anyio.Event, over: anyio.CancelScope) -> None:
        with over:
            async with client.listen(resource_subscriptions=uris) as changes:
                assert list(changes.honored.resource_subscriptions or ()) == list(uris)
                begun.set()
                async for change in changes:
                    assert isinstance(change, ResourceUpdated)
                    heard.uris.append(change.uri)

    async def unsubscribe(client: Client) -> None:
        for uri in uris:
            await client.unsubscribe_resource(uri)

    given = {"message_handler": note} if mode == "legacy" else {}
    async with connected(endpoint, mode, **given) as client, anyio.create_task_group() as group:
        if mode == "legacy":
            heard = Heard(client, partial(unsubscribe, client))
            for uri in uris:
                await client.subscribe_resource(uri)
        else:
            begun, over = anyio.Event(), anyio.CancelScope()

            async def stop() -> None:
                over.cancel()

            heard = Heard(client, stop)
            group.start_soon(listen, client, begun, over)
            await begun.wait()
        yield heard
        group.cancel_scope.cancel()


async def until(so: Callable[[], Any]) -> None:
    with anyio.fail_after(30):
        while not so():  # noqa: ASYNC110 - it is another thread's
            await anyio.sleep(0.02)


async def test_a_change_of_a_resource_reaches_those_who_subscribed(
    endpoint: Endpoint, mode: str, team: Team, library: Library
) -> None:
    await run_sync(put_behind, team, library)
    async with subscribed(endpoint, mode, NEWS, PAGE) as heard:
        # However soon it is: what was written before the upstream was subscribed to is told, too.
        await until(lambda: library.listened() == {NEWS, PAGE})
        await heard.of(NEWS)
        for uri, text in ((NEWS, "land in sight"), (PAGE, "chapter seven"), (NEWS, "and gone")):
            await run_sync(library.write, uri, text)
            await heard.of(uri)
            assert await heard.reads(uri) == text
        await heard.stop()
        await until(lambda: not library.listened())


async def test_what_changes_before_the_upstream_is_subscribed_to_is_told(
    endpoint: Endpoint, mode: str, team: Team, library: Library
) -> None:
    await run_sync(partial(create_source, "library", "mcp", {"url": library.url}, caller=team.owner))
    async with subscribed(endpoint, mode, NEWS) as heard:
        library.texts[NEWS] = "early"
        await run_sync(check_and_listen, team.tenant_id)
        await heard.of(NEWS)
        assert await heard.reads(NEWS) == "early"


async def test_subscribers_at_another_replica_are_told(
    second_port: int, endpoint: Endpoint, mode: str, team: Team, library: Library
) -> None:
    source_id = await run_sync(put_behind, team, library)
    elsewhere = Endpoint(second_port, endpoint.path, endpoint.key)
    async with subscribed(endpoint, mode, NEWS) as here, subscribed(elsewhere, mode, NEWS) as there:
        await until(lambda: library.listened() == {NEWS})
        await here.of(NEWS)
        # Sessions are kept beside the processes that hold their streams.
        many = 2 if mode != "legacy" else 3
        await until(lambda: redis_client().zcard(wanted_key(source_id)) >= many)
        await here.stop()
        # Who is there still wants it.
        await anyio.sleep(1)
        assert library.listened() == {NEWS}
        there.uris.clear()
        await run_sync(library.write, NEWS, "land in sight")
        await there.of(NEWS)
        assert await there.reads(NEWS) == "land in sight"
        await there.stop()
        await until(lambda: not library.listened())


@pytest.mark.parametrize("era", ["legacy", "modern"])
async def test_an_upstream_that_was_begun_again_is_subscribed_to_again(
    endpoint: Endpoint, mode: str, team: Team, era: Era, quick: None
) -> None:
    harbour = Harbour()
    with ExitStack() as first:
        library = first.enter_context(open_library(era, harbour=harbour))
        await run_sync(put_behind, team, library)
        async with subscribed(endpoint, mode, NEWS) as heard:
            await until(lambda: library.listened() == {NEWS})
            await heard.of(NEWS)
            await run_sync(first.close)
            with open_library(era, harbour=harbour) as again:
                again.texts[NEWS] = "begun anew"
                await until(lambda: again.listened() == {NEWS})
                await heard.of(NEWS)
                assert await heard.reads(NEWS) == "begun anew"
                await run_sync(again.write, NEWS, "and going on")
                await heard.of(NEWS)
                assert await heard.reads(NEWS) == "and going on"
                await heard.stop()
                await until(lambda: not again.listened())


@pytest.fixture
def old_library() -> Iterator[Library]:
    with open_library("legacy") as library:
        yield library


async def test_a_server_of_http_sse_is_subscribed_to(
    endpoint: Endpoint, mode: str, team: Team, runtime: Runtime
) -> None:
    with open_library("legacy", sse=True) as library:
        await run_sync(put_behind, team, library)
        async with subscribed(endpoint, mode, NEWS) as heard:
            await until(lambda: library.listened() == {NEWS})
            await heard.of(NEWS)
            await run_sync(library.write, NEWS, "land in sight")
            await heard.of(NEWS)
            assert await heard.reads(NEWS) == "land in sight"
            await heard.stop()
            await until(lambda: not library.listened())
        # Streams that the server would have to break off leave parts of it unclosed.
        await run_sync(lambda: run_async(runtime.listeners.close()))
        await run_sync(lambda: run_async(runtime.engine.close()))


async def test_what_lies_below_a_resource_is_an_update_of_it_and_what_nobody_wanted_is_none(
    endpoint: Endpoint, team: Team, old_library: Library, announced: Announced
) -> None:
    await run_sync(put_behind, team, old_library)
    async with subscribed(endpoint, "legacy", NEWS, PAGE) as heard:
        await until(lambda: old_library.listened() == {NEWS, PAGE})
        await until(lambda: set(heard.uris) == {NEWS, PAGE})
        heard.uris.clear()
        await run_sync(partial(old_library.tell, OTHER, to=NEWS))
        await run_sync(partial(old_library.tell, f"{PAGE}/lines/3", to=NEWS))
        await heard.of(PAGE)
        await run_sync(partial(old_library.tell, NEWS))
        await heard.of(NEWS)
        assert OTHER not in announced(team)


async def test_an_upstream_that_tells_without_end_is_passed_on_at_a_pace(
    endpoint: Endpoint, team: Team, old_library: Library, announced: Announced
) -> None:
    await run_sync(put_behind, team, old_library)
    async with subscribed(endpoint, "legacy", NEWS) as heard:
        await until(lambda: old_library.listened() == {NEWS})
        await heard.of(NEWS)
        before, began = len(announced(team)), monotonic()
        await run_sync(partial(old_library.tell, NEWS, times=2_000))
        await heard.of(NEWS)
        # The last one is never swallowed.
        await run_sync(old_library.write, NEWS, "the end")
        await heard.of(NEWS)
        assert len(announced(team)) - before <= (monotonic() - began) / REST_SECONDS + 2


def test_a_session_whose_stream_broke_off_is_told_when_it_comes_back(
    endpoint: Endpoint, team: Team, old_library: Library
) -> None:
    put_behind(team, old_library)
    session = begin(endpoint)
    with session.listen() as stream:
        assert stream.next() is not None
        assert session.request("resources/subscribe", {"uri": NEWS}).status == 200
        wait_for(lambda: old_library.listened() == {NEWS}, 30)
        assert stream.message()["params"] == {"uri": NEWS}
    old_library.write(NEWS, "while nobody listened")
    with session.listen() as again:
        assert again.message()["params"] == {"uri": NEWS}
    assert old_library.listened() == {NEWS}
    assert session.request("resources/unsubscribe", {"uri": NEWS}).status == 200
    wait_for(lambda: not old_library.listened(), 30)


async def test_updates_cross_two_marinas(
    port: int, endpoint: Endpoint, mode: str, team: Team, library: Library
) -> None:
    def chain() -> Endpoint:
        put_behind(team, library)
        second = make_team()
        create_source("first", "mcp", {"url": endpoint.url, "token": endpoint.key}, caller=second.owner)
        check_and_listen(second.tenant_id)
        return Endpoint(port, f"/mcp/{second.slug}", second.key(*ALL_SCOPES))

    async with subscribed(await run_sync(chain), mode, NEWS) as heard:
        await until(lambda: library.listened() == {NEWS})
        await heard.of(NEWS)
        await run_sync(library.write, NEWS, "land in sight")
        await heard.of(NEWS)
        assert await heard.reads(NEWS) == "land in sight"
        await heard.stop()
        await until(lambda: not library.listened())


def test_a_websocket_subscribes_until_it_ends(endpoint: Endpoint, team: Team, old_library: Library) -> None:
    put_behind(team, old_library)
    headers = {"Authorization": f"Bearer {endpoint.key}"}
    address = f"{endpoint.url}/ws".replace("http", "ws", 1)
    with connect(address, additional_headers=headers, proxy=None) as connection:

        def take() -> Any:
            return orjson.loads(connection.recv(timeout=30))

        def do(method: str, params: Any) -> None:
            asked = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
            connection.send(orjson.dumps(asked), text=True)
            while "result" not in take():
                """What is told meanwhile."""

        client = {"name": "socket", "version": "1"}
        do("initialize", {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client})
        do("resources/subscribe", {"uri": NEWS})
        wait_for(lambda: old_library.listened() == {NEWS}, 30)
        assert take()["params"] == {"uri": NEWS}
        old_library.write(NEWS, "land in sight")
        assert take()["params"] == {"uri": NEWS}
        do("resources/unsubscribe", {"uri": NEWS})
        wait_for(lambda: not old_library.listened(), 30)
        do("resources/subscribe", {"uri": PAGE})
        wait_for(lambda: old_library.listened() == {PAGE}, 30)
    wait_for(lambda: not old_library.listened(), 30)
