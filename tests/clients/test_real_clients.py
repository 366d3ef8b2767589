"""Unmodified MCP clients against a running Marina: each lists the tools, gets real rows, and can read what failed."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx2
import mcp_types as types
import pytest
from mcp import Client, ClientSession, MCPError
from mcp.client.streamable_http import streamable_http_client

from servers.services.sources import create_source
from servers.services.tools import create_tool
from tenants.services.keys import issue_key, revoke_key
from tenants.services.log import search_records
from tests.clients.node import run_client, run_inspector
from tests.factories import Team, make_database, make_team
from tests.plugins.live_marina import LiveMarina

pytestmark = pytest.mark.clients

MODERN = "2026-07-28"
HANDSHAKES = ("2025-11-25", "2025-06-18", "2025-03-26")
FIRST_STRUCTURED = "2025-06-18"
"""The first revision whose results have ``structuredContent``."""
FIRST_ARGUMENTS_AS_RESULT = "2025-11-25"
"""The first revision in which arguments that do not fit are a tool's error, not the protocol's."""

TABLE = """
CREATE TABLE harbours (id integer PRIMARY KEY, name text NOT NULL, country text NOT NULL, berths integer);
INSERT INTO harbours VALUES (1, 'Vlissingen', 'NL', 412), (2, 'Ærøskøbing', 'DK', 96), (3, 'Saint-Malo', 'FR', 1480)
"""
ROWS = [{"name": "Vlissingen", "berths": 412}, {"name": "Ærøskøbing", "berths": 96}]
QUERY = {
    "query": "SELECT name, berths FROM harbours WHERE berths < :most ORDER BY id",
    "params": {"most": 1000},
}
TOOLS = {
    "query_database",
    "execute_query",
    "list_tables",
    "describe_table",
    "get_schema",
    "get_table_sample",
    "analyze_table",
    "find_harbour",
}

CALLS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("query_database", QUERY),
    ("find_harbour", {"country": "FR"}),
    ("no_such_tool", {}),
    ("find_harbour", {"country": 7}),
    ("query_database", {"query": "SELECT nothing FROM harbours"}),
)


@dataclass(frozen=True, slots=True)
class Served:
    """A team with real rows behind its URL."""

    team: Team
    url: str
    key: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client made of one call: a result, or an error of the protocol."""

    text: str
    structured: Mapping[str, Any] | None
    is_error: bool
    is_protocol_error: bool


@pytest.fixture(scope="module")
def served(live_marina: LiveMarina) -> Served:
    """A team with a database of its own, a tool made of SQL, and a key."""
    team = make_team("Harbours")
    create_source("harbours", "postgres", {"dsn": make_database(TABLE)}, caller=team.owner)
    definition = {
        "title": "Find harbours",
        "description": "The harbours of a country.",
        "sql": "SELECT id, name FROM harbours WHERE country = :country ORDER BY id",
        "parameters": {"country": {"type": "string", "description": "Two letters", "required": True}},
    }
    create_tool("find_harbour", "harbours", "sql", definition, caller=team.owner)
    return Served(team, live_marina.mcp_url(team.slug), team.key())


def check_answers(answers: list[Answer], version: str) -> None:
    """What every client must have seen of ``CALLS``."""
    rows, found, unknown, misfit, failed = answers
    assert not rows.is_error
    assert not rows.is_protocol_error
    assert not found.is_error
    # Clients that read no structured content find the same rows in the text.
    assert json.loads(rows.text)["rows"] == ROWS
    if version >= FIRST_STRUCTURED:
        assert rows.structured is not None
        assert rows.structured["rows"] == ROWS
        assert found.structured is not None
        assert found.structured["rows"] == [{"id": 3, "name": "Saint-Malo"}]
    else:
        assert rows.structured is None
    assert unknown.is_protocol_error
    assert "no_such_tool" in unknown.text
    assert "find_harbour" in unknown.text, "what could be called instead is named"
    assert misfit.is_error if version >= FIRST_ARGUMENTS_AS_RESULT else misfit.is_protocol_error
    assert "country" in misfit.text
    assert failed.is_error
    assert "nothing" in failed.text
    assert "postgresql://" not in failed.text


# -- The official Python SDK -----------------------------------------------------------------------------


@asynccontextmanager
async def python_client(served: Served, mode: str) -> AsyncIterator[Client]:
    headers = {"Authorization": f"Bearer {served.key}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=60) as http,
        Client(streamable_http_client(served.url, http_client=http), mode=mode) as client,
    ):
        yield client


async def python_call(session: ClientSession, name: str, arguments: Mapping[str, Any]) -> Answer:
    try:
        result = await session.call_tool(name, dict(arguments))
    except MCPError as error:
        return Answer(error.error.message, None, is_error=False, is_protocol_error=True)
    assert isinstance(result, types.CallToolResult)
    block = result.content[0]
    assert isinstance(block, types.TextContent)
    return Answer(block.text, result.structured_content, result.is_error or False, is_protocol_error=False)


@pytest.mark.parametrize(("mode", "version"), [("auto", MODERN), (MODERN, MODERN), ("legacy", HANDSHAKES[0])])
def test_the_python_sdk_lists_tools_and_gets_rows(served: Served, mode: str, version: str) -> None:
    async def converse() -> None:
        async with python_client(served, mode) as client:
            assert client.protocol_version == version
            tools = (await client.list_tools()).tools
            assert {tool.name for tool in tools} == TOOLS
            assert all(tool.input_schema["type"] == "object" and tool.description for tool in tools)
            check_answers([await python_call(client.session, *call) for call in CALLS], version)

    asyncio.run(converse())


@pytest.mark.parametrize("version", HANDSHAKES[1:])
def test_the_python_sdk_gets_rows_in_an_older_revision(served: Served, version: str) -> None:
    async def converse() -> None:
        headers = {"Authorization": f"Bearer {served.key}"}
        async with (
            httpx2.AsyncClient(headers=headers, timeout=60) as http,
            streamable_http_client(served.url, http_client=http) as (read, write),
            ClientSession(read, write) as session,
        ):
            # The SDK offers its latest; a client of that age asks for this one.
            params = types.InitializeRequestParams(
                protocol_version=version,
                capabilities=types.ClientCapabilities(),
                client_info=types.Implementation(name="older", version="1"),
            )
            result = await session.send_request(
                types.InitializeRequest(params=params), types.InitializeResult
            )
            assert result.protocol_version == version
            session.adopt(result)
            await session.send_notification(types.InitializedNotification())
            assert {tool.name for tool in (await session.list_tools()).tools} == TOOLS
            check_answers([await python_call(session, *call) for call in CALLS], version)

    asyncio.run(converse())


# -- The TypeScript SDK, both release lines --------------------------------------------------------------


def typescript_answer(call: Mapping[str, Any]) -> Answer:
    if "error" in call:
        return Answer(call["error"]["message"], None, is_error=False, is_protocol_error=True)
    result = call["result"]
    return Answer(
        result["content"][0]["text"],
        result.get("structuredContent"),
        is_error=result.get("isError", False),
        is_protocol_error=False,
    )


def typescript_job(served: Served, version: str) -> dict[str, Any]:
    calls = [{"name": name, "arguments": arguments} for name, arguments in CALLS]
    return {"url": served.url, "key": served.key, "version": version, "calls": calls}


@pytest.mark.parametrize("version", [MODERN, *HANDSHAKES])
def test_the_typescript_sdk_2_lists_tools_and_gets_rows(served: Served, version: str) -> None:
    seen = run_client("typescript_2.mjs", typescript_job(served, version))
    assert seen["error"] is None
    assert seen["version"] == version
    assert {tool["name"] for tool in seen["tools"]} == TOOLS
    check_answers([typescript_answer(call) for call in seen["calls"]], version)


def test_the_typescript_sdk_2_finds_the_newest_revision_by_itself(served: Served) -> None:
    seen = run_client("typescript_2.mjs", {**typescript_job(served, MODERN), "negotiation": "auto"})
    assert seen["error"] is None
    assert seen["version"] == MODERN
    check_answers([typescript_answer(call) for call in seen["calls"]], MODERN)


def test_the_typescript_sdk_1_lists_tools_and_gets_rows(served: Served) -> None:
    seen = run_client("typescript_1.mjs", typescript_job(served, HANDSHAKES[0]))
    assert seen["error"] is None
    assert seen["version"] == HANDSHAKES[0]
    assert {tool["name"] for tool in seen["tools"]} == TOOLS
    check_answers([typescript_answer(call) for call in seen["calls"]], HANDSHAKES[0])


# -- MCP Inspector ---------------------------------------------------------------------------------------


def inspect(served: Served, home: Path, *arguments: str, era: str) -> subprocess.CompletedProcess[str]:
    return run_inspector(
        [
            *("--transport", "http", "--protocol-era", era, "--format", "json", "--quiet"),
            *("--header", f"Authorization: Bearer {served.key}", "--stored-auth-only"),
            *(*arguments, "--server-url", served.url),
        ],
        home=home,
    )


@pytest.mark.parametrize("era", ["legacy", "modern"])
def test_inspector_lists_tools(served: Served, tmp_path: Path, era: str) -> None:
    done = inspect(served, tmp_path, "--method", "tools/list", era=era)
    assert done.returncode == 0, done.stderr
    assert {tool["name"] for tool in read_result(done)["tools"]} == TOOLS


@pytest.mark.parametrize("era", ["legacy", "modern"])
def test_inspector_calls_a_tool(served: Served, tmp_path: Path, era: str) -> None:
    arguments = (
        "--method",
        "tools/call",
        "--tool-name",
        "query_database",
        "--tool-args-json",
        json.dumps(QUERY),
    )
    done = inspect(served, tmp_path, *arguments, era=era)
    assert done.returncode == 0, done.stderr
    assert read_result(done)["structuredContent"]["rows"] == ROWS


def test_inspector_shows_why_a_key_is_refused(served: Served, tmp_path: Path) -> None:
    refused = Served(served.team, served.url, "mcp_live_00000000_unknown")
    done = inspect(refused, tmp_path, "--method", "tools/list", era="legacy")
    assert done.returncode != 0
    assert "This API key is not known here" in done.stderr
    # In the newer era its own sentence replaces ours; it says which kind of fault it is.
    done = inspect(refused, tmp_path, "--method", "tools/list", era="modern")
    assert done.returncode != 0
    assert "requires authorization (HTTP 401)" in done.stderr


def read_result(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    seen: dict[str, Any] = json.loads(done.stdout)
    result: dict[str, Any] = seen.get("result", seen)
    return result


# -- curl ------------------------------------------------------------------------------------------------


def curl(
    served: Served, message: Mapping[str, Any], *headers: str, key: str | None = None
) -> tuple[int, Any]:
    """One POST as the connect page shows it. The status, and the body as JSON."""
    program = shutil.which("curl")
    assert program is not None, "curl is not on the PATH: install it (Debian: apt-get install curl)"
    command = [
        *(program, "--silent", "--show-error", "--noproxy", "*", "--write-out", "\n%{http_code}"),
        *("--header", f"Authorization: Bearer {key or served.key}"),
        *("--header", "Content-Type: application/json"),
        *("--header", "Accept: application/json, text/event-stream"),
        *(word for header in headers for word in ("--header", header)),
        *("--data", json.dumps(message), served.url),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    body, _, status = done.stdout.rpartition("\n")
    return int(status), json.loads(body) if body else None


def modern(method: str, **params: object) -> dict[str, Any]:
    meta = {
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientInfo": {"name": "curl", "version": "8"},
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    return {"jsonrpc": "2.0", "id": 7, "method": method, "params": {**params, "_meta": meta}}


def test_curl_lists_tools_and_gets_rows(served: Served) -> None:
    version = f"MCP-Protocol-Version: {MODERN}"
    status, listed = curl(served, modern("tools/list"), version, "Mcp-Method: tools/list")
    assert status == 200
    assert {tool["name"] for tool in listed["result"]["tools"]} == TOOLS
    call = modern("tools/call", name="query_database", arguments=QUERY)
    status, called = curl(served, call, version, "Mcp-Method: tools/call", "Mcp-Name: query_database")
    assert status == 200
    assert called["id"] == 7
    assert called["result"]["structuredContent"]["rows"] == ROWS


@pytest.mark.parametrize("version", HANDSHAKES)
def test_curl_gets_rows_in_an_older_revision(served: Served, version: str) -> None:
    client = {"protocolVersion": version, "capabilities": {}, "clientInfo": {"name": "curl", "version": "8"}}
    status, hello = curl(served, {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": client})
    assert status == 200
    assert hello["result"]["protocolVersion"] == version
    said = f"MCP-Protocol-Version: {version}"
    status, nothing = curl(served, {"jsonrpc": "2.0", "method": "notifications/initialized"}, said)
    assert (status, nothing) == (202, None)
    params = {"name": "query_database", "arguments": QUERY}
    status, called = curl(served, {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": params}, said)
    assert status == 200
    assert json.loads(called["result"]["content"][0]["text"])["rows"] == ROWS


# -- Keys that end ---------------------------------------------------------------------------------------


def test_a_revoked_key_is_refused_at_once_with_a_reason_every_client_shows(served: Served) -> None:
    issued = issue_key("short-lived", ["tools:read", "tools:execute"], caller=served.team.owner)
    mine = Served(served.team, served.url, issued.key)
    assert run_client("typescript_2.mjs", typescript_job(mine, MODERN))["error"] is None

    revoke_key(UUID(str(issued.row.id)), caller=served.team.owner)

    headers = (f"MCP-Protocol-Version: {MODERN}", "Mcp-Method: tools/list")
    status, body = curl(mine, modern("tools/list"), *headers)
    assert status == 401
    reason = body["error"]["message"]
    assert "revoked" in reason
    newer = run_client("typescript_2.mjs", typescript_job(mine, MODERN))
    assert newer["error"]["data"]["status"] == 401
    assert reason in newer["error"]["data"]["text"]
    assert newer["tools"] == []
    older = run_client("typescript_1.mjs", typescript_job(mine, HANDSHAKES[0]))
    assert reason in older["error"]["message"]
    assert older["tools"] == []

    async def converse() -> None:
        async with python_client(mine, MODERN) as client:
            await client.list_tools()

    with pytest.raises(ExceptionGroup) as refused:
        asyncio.run(converse())
    errors, _ = refused.value.split(MCPError)
    assert errors is not None
    assert [error.error.message for error in leaves(errors)] == [reason]


def leaves(group: ExceptionGroup[MCPError]) -> list[MCPError]:
    """The errors inside nested groups."""
    return [
        leaf
        for error in group.exceptions
        for leaf in (leaves(error) if isinstance(error, ExceptionGroup) else [error])
    ]


def test_each_clients_calls_are_in_the_log_with_its_name(served: Served) -> None:
    run_client("typescript_2.mjs", typescript_job(served, MODERN))
    page = search_records(tool="query_database", limit=100, caller=served.team.owner)
    assert any("marina-test-typescript-2" in record.client for record in page.records)
