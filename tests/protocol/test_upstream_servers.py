"""Upstream MCP servers behind Marina, by the official client: the four pairs of eras, and Marina behind Marina."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import anyio
import pytest
from mcp import Client
from mcp.client import ClientRequestContext
from mcp.shared.exceptions import MCPError
from mcp.shared.subscriptions import ToolsListChanged
from mcp_types import (
    CreateMessageRequestParams,
    CreateMessageResult,
    ElicitRequestParams,
    ElicitResult,
    ResourceLink,
    TextContent,
    TextResourceContents,
    ToolListChangedNotification,
)

from core.threads import run_sync
from servers.services.servers import create_server
from servers.services.source_checks import check_and_listen
from servers.services.sources import create_source, get_source, refresh_source
from tests.factories import Team, make_team
from tests.farside import far_side
from tests.marina.harbour import Harbour
from tests.protocol.conftest import ALL_SCOPES, Records
from tests.protocol.officialclient import connected
from tests.protocol.wireclient import Endpoint
from tests.servers.changing import Changing, tool
from tests.servers.execution.mcp.shipyard import Era, open_shipyard

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module", params=["legacy", "modern"])
def yard(request: pytest.FixtureRequest) -> Iterator[Harbour]:
    era: Era = request.param
    with open_shipyard(era) as harbour:
        yield harbour


@pytest.fixture(scope="module")
def access(port: int, yard: Harbour) -> Endpoint:
    """A team whose server offers what the upstream does."""
    team = make_team()
    create_source("yard", "mcp", {"url": yard.url}, caller=team.owner)
    return Endpoint(port, f"/mcp/{team.slug}", team.key(*ALL_SCOPES))


@pytest.fixture(scope="module")
def chained(port: int, access: Endpoint) -> Endpoint:
    """A second team, whose upstream is the first team's server."""
    team = make_team()
    settings = {"url": access.url, "token": access.key, "prefix": "far_"}
    create_source("first", "mcp", settings, caller=team.owner)
    return Endpoint(port, f"/mcp/{team.slug}", team.key(*ALL_SCOPES))


@pytest.fixture(params=["2026-07-28", "legacy"])
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def client(mode: str, access: Endpoint) -> AsyncIterator[Client]:
    async with connected(access, mode) as client:
        yield client


async def test_tools_cross_with_their_schemas_hints_and_icons(client: Client) -> None:
    tools = {tool.name: tool for tool in (await client.list_tools()).tools}
    add = tools["add"]
    assert (add.title, add.annotations and add.annotations.read_only_hint) == ("Add", True)
    assert add.icons is not None
    assert add.icons[0].src == "https://example.com/ship.png"
    assert add.output_schema is not None


async def test_results_cross_whole(client: Client) -> None:
    launched = await client.call_tool("launch", {"name": "Argo"})
    assert launched.structured_content == {"name": "Argo", "masts": 3}
    everything = await client.call_tool("everything", {})
    assert [block.type for block in everything.content] == ["text", "image", "resource", "resource_link"]
    assert isinstance(everything.content[3], ResourceLink)
    assert everything.meta is not None
    assert everything.meta["example.com/trip"] == 7
    sunk = await client.call_tool("sink", {})
    assert sunk.is_error
    assert isinstance(sunk.content[0], TextContent)
    assert "the hull has a hole" in sunk.content[0].text


async def test_progress_crosses(client: Client) -> None:
    told: list[Any] = []

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        told.append((progress, total, message))

    await client.call_tool("sail", {}, progress_callback=hear)
    assert told == [(1, 3, "mile 1"), (2, 3, "mile 2"), (3, 3, "mile 3")]


async def test_resources_templates_and_prompts_cross(client: Client) -> None:
    assert [str(each.uri) for each in (await client.list_resources()).resources] == ["ship://log"]
    for uri, text in (("ship://log", "calm"), ("ship://deck/2", "deck 2")):
        held = (await client.read_resource(uri)).contents[0]
        assert isinstance(held, TextResourceContents)
        assert held.text == text
    prompt = await client.get_prompt("greet", {"name": "Ann"})
    assert isinstance(prompt.messages[0].content, TextContent)
    assert prompt.messages[0].content.text == "Greet Ann in a warm way."


async def test_a_cancelled_call_is_cancelled_at_the_upstream(client: Client, yard: Harbour) -> None:
    yard.waiting.clear()
    yard.cancelled.clear()
    async with anyio.create_task_group() as group:
        group.start_soon(client.call_tool, "moor", {})
        await anyio.to_thread.run_sync(yard.waiting.wait, 10)
        group.cancel_scope.cancel()
    assert await anyio.to_thread.run_sync(yard.cancelled.wait, 10)


async def answer(context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
    """What somebody at the client enters."""
    return ElicitResult(action="accept", content={"name": "Argo"})


async def test_questions_cross_and_the_call_goes_on_with_the_answer(
    mode: str, access: Endpoint, yard: Harbour
) -> None:
    before = len(yard.of("tools/call"))
    async with connected(access, mode, elicitation_callback=answer) as client:
        named = await client.call_tool("name_it", {})
    assert isinstance(named.content[0], TextContent)
    assert named.content[0].text == "named Argo"
    rounds = [seen for seen in yard.of("tools/call")[before:] if "inputResponses" not in seen.body["params"]]
    assert len(rounds) == 1


async def sample(context: ClientRequestContext, params: CreateMessageRequestParams) -> CreateMessageResult:
    """What a model at the client says."""
    return CreateMessageResult(role="assistant", model="m", content=TextContent(text="yo ho"))


@pytest.mark.filterwarnings("ignore:The sampling capability is deprecated")
async def test_a_models_words_cross(mode: str, access: Endpoint) -> None:
    async with connected(access, mode, sampling_callback=sample) as client:
        sung = await client.call_tool("sing", {})
    assert isinstance(sung.content[0], TextContent)
    assert sung.content[0].text == "yo ho"


@pytest.fixture
def team() -> Team:
    return make_team()


@pytest.fixture
def key(team: Team) -> str:
    return team.key(*ALL_SCOPES)


@contextmanager
def changing(era: Era) -> Iterator[tuple[str, Callable[[], Any], Callable[[], Any]]]:
    """The address of a server, whether somebody listens to it, and what has it offer ``hail``, too, and say so."""
    if era == "modern":
        with open_shipyard(era) as harbour:

            async def build() -> None:
                async with Client(harbour.url) as client:
                    await client.call_tool("build", {})

            yield harbour.url, lambda: harbour.of("subscriptions/listen"), lambda: asyncio.run(build())
        return
    with far_side() as side:
        upstream = Changing(side)
        upstream.tell_of_changes()

        def build_one() -> None:
            upstream.tools.append(tool("hail", "Hails."))
            upstream.say("notifications/tools/list_changed")

        yield upstream.url, upstream.listened.is_set, build_one


@pytest.mark.parametrize("era", ["legacy", "modern"])
async def test_a_change_of_lists_crosses_when_it_was_taken_over(
    port: int, mode: str, era: Era, team: Team, key: str
) -> None:
    heard, listening = anyio.Event(), anyio.Event()

    async def note(message: object) -> None:
        if isinstance(message, ToolListChangedNotification):
            heard.set()

    async def listen(client: Client) -> None:
        async with client.listen(tools_list_changed=True) as changes:
            listening.set()
            assert await anext(aiter(changes)) == ToolsListChanged()
            heard.set()

    async def names(client: Client) -> set[str]:
        return {tool.name for tool in (await client.list_tools()).tools}

    endpoint = Endpoint(port, f"/mcp/{team.slug}", key)
    with anyio.fail_after(40), changing(era) as (url, is_listened, build):
        source = await run_sync(partial(create_source, "yard", "mcp", {"url": url}, caller=team.owner))
        await run_sync(check_and_listen, team.tenant_id)
        async with (
            connected(endpoint, mode, message_handler=note) as client,
            anyio.create_task_group() as group,
        ):
            if mode != "legacy":
                group.start_soon(listen, client)
                await listening.wait()
            before = await names(client)
            await wait_until(is_listened)
            await run_sync(build)
            # The server said so, and was looked at: nothing of it is offered before somebody took it over.
            await wait_until(lambda: get_source(source.pk, caller=team.owner).health == "degraded")
            assert await names(client) == before
            await run_sync(partial(refresh_source, source.pk, caller=team.owner))
            await heard.wait()
            assert await names(client) == {*before, "hail"}
            group.cancel_scope.cancel()


async def wait_until(so: Callable[[], Any]) -> None:
    while not await run_sync(so):  # noqa: ASYNC110 - it is in the database
        await anyio.sleep(0.1)


async def test_questions_cross_two_marinas(mode: str, chained: Endpoint) -> None:
    async with connected(chained, mode, elicitation_callback=answer) as client:
        named = await client.call_tool("far_name_it", {})
    assert isinstance(named.content[0], TextContent)
    assert named.content[0].text == "named Argo"


async def test_a_client_that_answers_no_questions_is_told_so(client: Client) -> None:
    try:
        said = str((await client.call_tool("name_it", {})).content)
    except MCPError as error:
        said = error.error.message
    assert "this client does not offer that" in said


async def test_marina_is_an_upstream_of_marina(mode: str, chained: Endpoint) -> None:
    async with connected(chained, mode) as client:
        names = {tool.name for tool in (await client.list_tools()).tools}
        assert {"far_add", "far_launch"} <= names
        launched = await client.call_tool("far_launch", {"name": "Argo"})
        assert launched.structured_content == {"name": "Argo", "masts": 3}
        told: list[float] = []

        async def hear(progress: float, total: float | None, message: str | None) -> None:
            told.append(progress)

        await client.call_tool("far_sail", {}, progress_callback=hear)
        assert told == [1, 2, 3]


@pytest.fixture
def own(port: int, yard: Harbour) -> tuple[Team, Endpoint]:
    """A team of the test's own, whose source has a token."""
    team = make_team()
    create_source("yard", "mcp", {"url": yard.url, "token": "the-sources-own"}, caller=team.owner)
    return team, Endpoint(port, f"/mcp/{team.slug}", team.key())


async def test_calls_are_in_the_log_and_the_callers_key_is_not_at_the_upstream(
    own: tuple[Team, Endpoint], yard: Harbour, records: Records
) -> None:
    team, endpoint = own
    async with connected(endpoint, "auto") as client:
        await client.call_tool("launch", {"name": "Argo"})
    sent = [seen.headers.get("authorization") for seen in yard.of("tools/call")]
    assert sent[-1] == "Bearer the-sources-own"
    assert not any(str(endpoint.key) in str(seen.headers) + str(seen.body) for seen in yard.seen)
    found = await anyio.to_thread.run_sync(partial(records, team, kind="tools/call"))
    assert [record["outcome"] for record in found] == ["intent", "ok"]


def test_neither_keys_of_one_name_nor_strangers_of_one_address_share_a_session(
    port: int, own: tuple[Team, Endpoint], yard: Harbour
) -> None:
    team, _ = own
    create_server("open", "Open", "public", ["yard"], caller=team.owner)
    doors = [
        Endpoint(port, f"/mcp/{team.slug}", team.key(name="Laptop")),
        Endpoint(port, f"/mcp/{team.slug}", team.key(name="Laptop")),
        Endpoint(port, f"/mcp/{team.slug}/open", None),
        Endpoint(port, f"/mcp/{team.slug}/open", None),
    ]
    before = len(yard.of("tools/call"))
    for door in doors * 2:
        called = door.legacy("tools/call", {"name": "launch", "arguments": {"name": "Argo"}})
        assert called.result["structuredContent"] == {"name": "Argo", "masts": 3}
    used = [seen.headers.get("mcp-session-id") for seen in yard.of("tools/call")[before:]]
    if used[0] is not None:
        assert used[:2] == used[4:6]
    # Two of the keys, and one for each call of a stranger; a server of 2026-07-28 has none.
    assert len(set(used)) == (1 if used[0] is None else 6)
