"""Unmodified MCP clients against three replicas: each lists, calls, reads and prompts, is asked, and cancels."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import mcp_types as types
import pytest
from mcp import Client
from mcp.client import ClientRequestContext
from mcp.client.sse import sse_client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.subscriptions import ResourceUpdated, ToolsListChanged

from core.threads import run_sync
from tests.clients.berth import (
    ENVIRONMENT,
    LEGACY,
    MODERN,
    PROMPT,
    QUERY,
    SEEN,
    TABLE,
    URIS,
    Berth,
    make_berth,
)
from tests.clients.environments import run_python_client
from tests.clients.node import run_client, run_inspector, running_inspector
from tests.factories import make_database
from tests.marina.host import COMMAND
from tests.protocol.waiting import wait_for
from tests.replicas.cluster import Replicas, running_replicas

pytestmark = pytest.mark.clients


@pytest.fixture(scope="module")
def replicas(database: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replicas]:
    """Three replicas that know the plugin of the matrix."""
    with running_replicas(tmp_path_factory.mktemp("replicas"), environment=ENVIRONMENT) as made:
        yield made


@pytest.fixture(scope="module")
def dsn(database: None) -> str:
    """The database behind each team's SQL tools."""
    return make_database(TABLE)


@pytest.fixture
def berth(replicas: Replicas, dsn: str, tmp_path: Path) -> Berth:
    return make_berth(replicas, dsn, tmp_path / "marker")


# -- The official Python SDK, release line 2 -------------------------------------------------------------


async def answer_form(context: ClientRequestContext, params: types.ElicitRequestParams) -> types.ElicitResult:
    return types.ElicitResult(action="accept", content={"name": "Ada"})


async def answer_sampling(
    context: ClientRequestContext, params: types.CreateMessageRequestParams
) -> types.CreateMessageResult:
    word = types.TextContent(text="Ahoy")
    return types.CreateMessageResult(role="assistant", content=word, model="test")


@asynccontextmanager
async def python_client(berth: Berth, transport: str, mode: Any, **options: Any) -> AsyncIterator[Client]:
    headers = {"Authorization": f"Bearer {berth.key}"}
    answers: dict[str, Any] = {
        "mode": mode,
        "elicitation_callback": answer_form,
        "sampling_callback": answer_sampling,
        **options,
    }
    if transport == "stdio":
        server = StdioServerParameters(command=COMMAND, args=[berth.url()], env={"MARINA_API_KEY": berth.key})
        async with Client(stdio_client(server), **answers) as client:
            yield client
    elif transport == "sse":
        async with Client(sse_client(berth.url("sse"), headers=headers), **answers) as client:
            yield client
    else:
        async with (
            httpx2.AsyncClient(headers=headers, timeout=60) as http,
            Client(streamable_http_client(berth.url(), http_client=http), **answers) as client,
        ):
            yield client


async def converse(berth: Berth, client: Client) -> dict[str, Any]:
    seen: dict[str, Any] = {"version": client.protocol_version, "progress": []}

    async def note(progress: float, total: float | None, message: str | None) -> None:
        seen["progress"].append([progress, total, message])

    async def call(name: str, **arguments: Any) -> str:
        return text_of((await client.call_tool(name, arguments)).content[0])

    seen["tools"] = [tool.name for tool in (await client.list_tools()).tools]
    rows = (await client.call_tool("query_database", QUERY)).structured_content
    seen["rows"] = rows and rows["rows"]
    seen["resources"] = [each.uri for each in (await client.list_resources()).resources]
    templates = (await client.list_resource_templates()).resource_templates
    seen["templates"] = [each.uri_template for each in templates]
    seen["read"] = [text_of((await client.read_resource(uri)).contents[0]) for uri in URIS]
    seen["prompts"] = [each.name for each in (await client.list_prompts()).prompts]
    prompt = await client.get_prompt("voyage", PROMPT)
    seen["prompt"] = [[each.role, text_of(each.content)] for each in prompt.messages]
    await client.call_tool("count_to", {"number": 3}, progress_callback=note)
    seen["asked"] = await call("ask_name")
    seen["sampled"] = await call("ask_model")
    waiting = asyncio.create_task(client.call_tool("wait", {"marker": str(berth.marker)}))
    await asyncio.to_thread(wait_for, lambda: berth.marker.exists() or waiting.done())
    waiting.cancel()
    await asyncio.wait([waiting])
    await asyncio.to_thread(wait_for, lambda: berth.marker.read_text() == "cancelled")
    seen["cancelled"] = "cancelled" if waiting.cancelled() else "ended"
    return seen


def text_of(block: object) -> str:
    assert isinstance(block, types.TextContent | types.TextResourceContents)
    return block.text


@pytest.mark.parametrize(
    ("transport", "mode", "version"),
    [
        ("http", "auto", MODERN),
        ("http", "legacy", LEGACY),
        ("stdio", "auto", MODERN),
        ("stdio", "legacy", LEGACY),
        ("sse", "legacy", LEGACY),
    ],
)
def test_the_python_sdk_2_does_everything(berth: Berth, transport: str, mode: str, version: str) -> None:
    async def run() -> dict[str, Any]:
        async with python_client(berth, transport, mode) as client:
            return await converse(berth, client)

    berth.check(asyncio.run(run()), version)


# The SDK warns that the newest revision has another way.
@pytest.mark.filterwarnings("ignore:resources/subscribe is removed")
@pytest.mark.parametrize("transport", ["http", "sse", "stdio"])
def test_the_python_sdk_2_hears_of_changes_in_a_session(berth: Berth, transport: str) -> None:
    heard: asyncio.Queue[str] = asyncio.Queue()

    async def note(message: object) -> None:
        if isinstance(message, types.ResourceUpdatedNotification | types.ToolListChangedNotification):
            await heard.put(message.method)

    async def run() -> None:
        async with (
            python_client(berth, transport, "legacy", message_handler=note) as client,
            asyncio.timeout(60),
        ):
            await client.subscribe_resource(URIS[0])
            await client.call_tool("touch", {})
            # Over plain HTTP the SDK opens its stream when it likes, and what comes before is not kept for it.
            while transport == "http" and heard.empty():
                await client.call_tool("touch", {})
            assert await heard.get() == "notifications/resources/updated"
            await run_sync(berth.switch_off, "count_to")
            while (method := await heard.get()) == "notifications/resources/updated":
                assert transport == "http"
            assert method == "notifications/tools/list_changed"
            tools = (await client.list_tools()).tools
            assert "count_to" not in {tool.name for tool in tools}

    asyncio.run(run())


@pytest.mark.parametrize("transport", ["http", "stdio"])
def test_the_python_sdk_2_listens_for_changes_without_a_session(berth: Berth, transport: str) -> None:
    async def run() -> None:
        async with (
            python_client(berth, transport, "auto") as client,
            asyncio.timeout(60),
            client.listen(tools_list_changed=True, resource_subscriptions=[URIS[0]]) as listening,
        ):
            changes = aiter(listening)
            await client.call_tool("touch", {})
            assert await anext(changes) == ResourceUpdated(URIS[0])
            await run_sync(berth.switch_off, "count_to")
            assert await anext(changes) == ToolsListChanged()
            tools = (await client.list_tools()).tools
            assert "count_to" not in {tool.name for tool in tools}

    asyncio.run(run())


# -- Clients with a script of their own ------------------------------------------------------------------


@pytest.mark.parametrize("transport", ["http", "sse"])
def test_the_python_sdk_1_does_everything(berth: Berth, transport: str) -> None:
    seen = run_python_client("langchain", "sdk_1_client.py", berth.job(transport))
    berth.check(seen, LEGACY)


def test_the_python_sdk_1_does_everything_over_a_websocket(berth: Berth, replicas: Replicas) -> None:
    server = {"slug": "open", "title": "Open", "access": "public", "sources": ["harbours", "pilots"]}
    replicas.post(berth.team, "servers", server)
    seen = run_python_client("langchain", "sdk_1_client.py", berth.job("websocket", server="open"))
    berth.check(seen, LEGACY)


@pytest.mark.parametrize(
    ("transport", "mode", "version"),
    [("http", "auto", MODERN), ("http", "legacy", LEGACY), ("sse", "legacy", LEGACY)],
)
def test_fastmcp_does_everything(berth: Berth, transport: str, mode: str, version: str) -> None:
    seen = run_python_client("fastmcp", "fastmcp_client.py", berth.job(transport, mode))
    berth.check(seen, version)


@pytest.mark.parametrize("transport", ["http", "sse"])
def test_langchain_does_all_that_it_can(berth: Berth, transport: str) -> None:
    seen = run_python_client("langchain", "langchain_client.py", berth.job(transport))
    berth.check(seen, LEGACY, without=("templates", "prompts", "sampled"))


@pytest.mark.parametrize(
    ("transport", "mode", "version"),
    [("http", "modern", MODERN), ("http", "legacy", LEGACY), ("sse", "legacy", LEGACY)],
)
def test_the_typescript_sdk_2_does_everything(berth: Berth, transport: str, mode: str, version: str) -> None:
    berth.check(run_client("matrix_typescript_2.mjs", berth.job(transport, mode)), version)


@pytest.mark.parametrize("transport", ["http", "sse"])
def test_the_typescript_sdk_1_does_everything(berth: Berth, transport: str) -> None:
    berth.check(run_client("matrix_typescript_1.mjs", berth.job(transport)), LEGACY)


@pytest.mark.parametrize(
    ("transport", "mode", "version"),
    [("http", "modern", MODERN), ("http", "legacy", LEGACY), ("sse", "legacy", LEGACY)],
)
def test_the_vercel_ai_sdk_does_all_that_it_can(
    berth: Berth, transport: str, mode: str, version: str
) -> None:
    seen = run_client("matrix_ai_sdk.mjs", berth.job(transport, mode))
    berth.check(seen, version, without=("progress", "sampled"))


# -- MCP Inspector ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("transport", "era"), [("http", "modern"), ("http", "legacy"), ("sse", "legacy")])
def test_inspector_does_all_that_it_can(berth: Berth, tmp_path: Path, transport: str, era: str) -> None:
    common = (
        *("--transport", transport, "--protocol-era", era, "--format", "json", "--quiet"),
        *("--header", f"Authorization: Bearer {berth.key}", "--stored-auth-only"),
        *("--server-url", berth.url(transport)),
    )

    def inspect(*arguments: str) -> dict[str, Any]:
        done = run_inspector([*common, *arguments], home=tmp_path)
        assert done.returncode == 0, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        result: dict[str, Any] = answer.get("result", answer)
        return result

    def call(name: str, arguments: Mapping[str, Any]) -> tuple[str, ...]:
        said = json.dumps(arguments)
        return ("--method", "tools/call", "--tool-name", name, "--tool-args-json", said)

    asked = {
        "tools": ("--method", "tools/list"),
        "rows": call("query_database", QUERY),
        "resources": ("--method", "resources/list"),
        "templates": ("--method", "resources/templates/list"),
        "all": ("--method", "resources/read", "--uri", URIS[0]),
        "one": ("--method", "resources/read", "--uri", URIS[1]),
        "prompts": ("--method", "prompts/list"),
        "prompt": (
            *("--method", "prompts/get", "--prompt-name", "voyage"),
            *(word for name, value in PROMPT.items() for word in ("--prompt-args", f"{name}={value}")),
        ),
    }
    with ThreadPoolExecutor(2) as together:
        said = dict(zip(asked, together.map(lambda words: inspect(*words), asked.values()), strict=True))
    with running_inspector(
        ["--cli", *common, *call("wait", {"marker": str(berth.marker)})], home=tmp_path
    ) as waiting:
        wait_for(berth.marker.exists)
        waiting.send_signal(signal.SIGINT)
        wait_for(lambda: berth.marker.read_text() == "cancelled")
    refused = run_inspector([*common, *call("ask_name", {})], home=tmp_path)
    assert "this client does not offer that" in refused.stdout + refused.stderr
    seen = {
        "version": MODERN if era == "modern" else LEGACY,
        "tools": [each["name"] for each in said["tools"]["tools"]],
        "rows": said["rows"]["structuredContent"]["rows"],
        "resources": [each["uri"] for each in said["resources"]["resources"]],
        "templates": [each["uriTemplate"] for each in said["templates"]["resourceTemplates"]],
        "read": [said[each]["contents"][0]["text"] for each in ("all", "one")],
        "prompts": [each["name"] for each in said["prompts"]["prompts"]],
        "prompt": [[each["role"], each["content"]["text"]] for each in said["prompt"]["messages"]],
        "cancelled": "cancelled",
    }
    berth.check(seen, seen["version"], without=("progress", "asked", "sampled"))


# -- curl ------------------------------------------------------------------------------------------------


class Curl:
    """curl, speaking one era by hand. In the older one it has begun a session."""

    def __init__(self, berth: Berth, era: str) -> None:
        program = shutil.which("curl")
        assert program is not None, "curl is not on the PATH: install it (Debian: apt-get install curl)"
        self.era, self._session, self._count = era, "", 0
        self._command = [
            *(program, "--silent", "--show-error", "--no-buffer", "--noproxy", "*", "--include"),
            *("--header", f"Authorization: Bearer {berth.key}", "--header", "Content-Type: application/json"),
            *("--header", "Accept: application/json, text/event-stream", berth.url()),
        ]
        if era == "legacy":
            client = {"name": "curl", "version": "8"}
            hello = self.ask(
                "initialize",
                {"protocolVersion": LEGACY, "capabilities": {"elicitation": {}}, "clientInfo": client},
            )
            assert hello[-1]["result"]["protocolVersion"] == LEGACY
            self.ask("notifications/initialized", {})

    def command(self, method: str, params: Mapping[str, Any], meta: Mapping[str, Any]) -> list[str]:
        """The command line of one request."""
        headers, given = [], {**params}
        known = dict(meta)
        if self.era == "modern":
            known |= {
                "io.modelcontextprotocol/protocolVersion": MODERN,
                "io.modelcontextprotocol/clientInfo": {"name": "curl", "version": "8"},
                "io.modelcontextprotocol/clientCapabilities": {"elicitation": {"form": {}}},
            }
            headers += [f"MCP-Protocol-Version: {MODERN}", f"Mcp-Method: {method}"]
            if name := params.get("name") or params.get("uri"):
                headers.append(f"Mcp-Name: {name}")
        elif self._session:
            headers += [f"MCP-Protocol-Version: {LEGACY}", f"Mcp-Session-Id: {self._session}"]
        if known:
            given["_meta"] = known
        self._count += 1
        message: dict[str, Any] = {"jsonrpc": "2.0", "method": method, "params": given}
        if not method.startswith("notifications/"):
            message["id"] = self._count
        words = [word for header in headers for word in ("--header", header)]
        return [*self._command, *words, "--data", json.dumps(message)]

    def ask(self, method: str, params: Mapping[str, Any], **meta: Any) -> list[dict[str, Any]]:
        """Send one message. What came back: the answer last, and before it what came along on its stream."""
        done = subprocess.run(
            self.command(method, params, meta), capture_output=True, text=True, check=True, timeout=60
        )
        head, _, body = done.stdout.replace("\r\n", "\n").partition("\n\n")
        for line in head.splitlines():
            name, _, value = line.partition(": ")
            if name.lower() == "mcp-session-id":
                self._session = value
        if body.startswith("{"):
            return [json.loads(body)]
        data = (line.removeprefix("data:").strip() for line in body.splitlines() if line.startswith("data:"))
        return [json.loads(each) for each in data if each]

    def result(self, method: str, **params: Any) -> dict[str, Any]:
        """The result of one request."""
        result: dict[str, Any] = self.ask(method, params)[-1]["result"]
        return result


@pytest.mark.parametrize(("era", "version"), [("modern", MODERN), ("legacy", LEGACY)])
def test_curl_does_all_that_can_be_written_by_hand(berth: Berth, era: str, version: str) -> None:
    curl = Curl(berth, era)
    prompt = curl.result("prompts/get", name="voyage", arguments=PROMPT)
    *steps, _ = curl.ask("tools/call", {"name": "count_to", "arguments": {"number": 3}}, progressToken="mine")
    seen = {
        "version": version,
        "tools": [each["name"] for each in curl.result("tools/list")["tools"]],
        "rows": curl.result("tools/call", name="query_database", arguments=QUERY)["structuredContent"][
            "rows"
        ],
        "resources": [each["uri"] for each in curl.result("resources/list")["resources"]],
        "templates": [
            each["uriTemplate"] for each in curl.result("resources/templates/list")["resourceTemplates"]
        ],
        "read": [curl.result("resources/read", uri=uri)["contents"][0]["text"] for uri in URIS],
        "prompts": [each["name"] for each in curl.result("prompts/list")["prompts"]],
        "prompt": [[each["role"], each["content"]["text"]] for each in prompt["messages"]],
        "progress": [[step["params"][name] for name in ("progress", "total", "message")] for step in steps],
        "cancelled": "cancelled",
    }
    params = {"name": "wait", "arguments": {"marker": str(berth.marker)}}
    with subprocess.Popen(curl.command("tools/call", params, {}), stdout=subprocess.DEVNULL) as waiting:
        wait_for(berth.marker.exists)
        # Not SIGINT, which a run in the background leaves ignored.
        waiting.terminate()
    wait_for(lambda: berth.marker.read_text() == "cancelled")
    berth.check(seen, version, without=("asked", "sampled"))


def test_curl_is_asked_and_answers_in_a_second_request(berth: Berth) -> None:
    curl = Curl(berth, "modern")
    asked = curl.result("tools/call", name="ask_name", arguments={})
    assert asked["resultType"] == "input_required"
    (name,) = asked["inputRequests"]
    again = curl.result(
        "tools/call",
        name="ask_name",
        arguments={},
        requestState=asked["requestState"],
        inputResponses={name: {"action": "accept", "content": {"name": "Ada"}}},
    )
    assert again["content"][0]["text"] == SEEN["asked"]
