"""The reference server ``server-everything``, unmodified, behind Marina: everything that it has crosses."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from mcp import Client
from mcp.client import ClientRequestContext
from mcp.client.streamable_http import streamable_http_client
from mcp_types import (
    CreateMessageRequestParams,
    CreateMessageResult,
    ElicitRequestParams,
    ElicitResult,
    PromptReference,
    TextContent,
    TextResourceContents,
)

from config.local.ports import find_free_port
from servers.services.sources import create_source
from tests.clients.node import running_server
from tests.factories import make_team
from tests.faults.worker import running_worker
from tests.marina.harbour import wait_for_port
from tests.plugins.live_marina import LiveMarina

pytestmark = [pytest.mark.clients, pytest.mark.anyio]

RIGHTS = ("tools:read", "tools:execute", "resources:read", "prompts:read")


@pytest.fixture(scope="module")
def worker(live_marina: LiveMarina, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Runs what takes long."""
    with running_worker(tmp_path_factory.mktemp("worker")):
        yield


@pytest.fixture(scope="module", params=["streamableHttp", "sse", "stdio"])
def access(
    live_marina: LiveMarina, worker: None, request: pytest.FixtureRequest
) -> Iterator[tuple[str, str]]:
    """A team that offers what the reference server does, by each transport: where it has no address, Marina runs it."""
    team = make_team()
    with contextlib.ExitStack() as stack:
        settings = {"command": "everything"}
        if request.param != "stdio":
            port = find_free_port()
            stack.enter_context(running_server(request.param, environment={"PORT": str(port)}))
            wait_for_port(port)
            settings = {"url": f"http://127.0.0.1:{port}/{'sse' if request.param == 'sse' else 'mcp'}"}
        create_source("all", "mcp", settings, caller=team.owner)
        yield live_marina.mcp_url(team.slug), team.key(*RIGHTS)


async def enter(context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
    """What somebody enters."""
    if "interpret" in params.message:
        return ElicitResult(action="accept", content={"interpretation": "technical"})
    return ElicitResult(action="accept", content={"name": "Ann", "check": True})


async def sample(context: ClientRequestContext, params: CreateMessageRequestParams) -> CreateMessageResult:
    """What a model says."""
    return CreateMessageResult(role="assistant", model="m", content=TextContent(text="a song"))


@asynccontextmanager
async def connected(access: tuple[str, str], mode: str) -> AsyncIterator[Client]:
    async with (
        httpx2.AsyncClient(headers={"Authorization": f"Bearer {access[1]}"}, timeout=60) as http,
        Client(
            streamable_http_client(access[0], http_client=http),
            mode=mode,
            elicitation_callback=enter,
            sampling_callback=sample,
        ) as client,
    ):
        yield client


@pytest.fixture(params=["2026-07-28", "legacy"])
async def client(request: pytest.FixtureRequest, access: tuple[str, str]) -> AsyncIterator[Client]:
    async with connected(access, str(request.param)) as client:
        yield client


async def text_of(client: Client, tool: str, arguments: dict[str, Any]) -> str:
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result
    return "".join(block.text for block in result.content if isinstance(block, TextContent))


async def test_tools_answer(client: Client) -> None:
    assert await text_of(client, "echo", {"message": "hi"}) == "Echo: hi"
    assert "is 3" in await text_of(client, "get-sum", {"a": 1, "b": 2})
    weather = await client.call_tool("get-structured-content", {"location": "Chicago"})
    assert weather.structured_content is not None
    assert "temperature" in weather.structured_content
    picture = await client.call_tool("get-tiny-image", {})
    assert [block.type for block in picture.content] == ["text", "image", "text"]
    links = await client.call_tool("get-resource-links", {"count": 2})
    assert [block.type for block in links.content] == ["text", "resource_link", "resource_link"]


async def test_progress_crosses(client: Client) -> None:
    told: list[float] = []

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        told.append(progress)

    arguments = {"duration": 1, "steps": 3}
    await client.call_tool("trigger-long-running-operation", arguments, progress_callback=hear)
    assert told == [1, 2, 3]


async def test_questions_cross(client: Client) -> None:
    assert "Ann" in await text_of(client, "trigger-elicitation-request", {})
    song = await text_of(client, "trigger-sampling-request", {"prompt": "Sing.", "maxTokens": 20})
    assert "a song" in song


async def test_a_tool_that_is_a_task_only_gives_its_result(client: Client) -> None:
    told: list[str | None] = []

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        told.append(message)

    tool = "simulate-research-query"
    result = await client.call_tool(tool, {"topic": "boats"}, progress_callback=hear)
    assert not result.is_error, result
    assert isinstance(result.content[0], TextContent)
    assert "Research Report: boats" in result.content[0].text
    assert "Analyzing content..." in told
    report = await text_of(client, tool, {"topic": "python", "ambiguous": True})
    assert "Research Report: python (technical)" in report


async def test_resources_prompts_and_completions_cross(client: Client) -> None:
    resources = (await client.list_resources()).resources
    assert len(resources) > 3
    held = (await client.read_resource("demo://resource/dynamic/text/3")).contents[0]
    assert isinstance(held, TextResourceContents)
    assert "Resource 3" in held.text
    prompts = {prompt.name for prompt in (await client.list_prompts()).prompts}
    assert {"simple-prompt", "args-prompt", "completable-prompt"} <= prompts
    found = await client.complete(
        PromptReference(name="completable-prompt"), {"name": "department", "value": "S"}
    )
    assert list(found.completion.values) == ["Sales", "Support"]
