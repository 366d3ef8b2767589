"""``marina-stdio`` in front of a running Marina, driven by the official SDK's stdio client and a bare host."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from mcp import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

from servers.services.sources import create_source
from tests.factories import Team, make_database, make_team
from tests.marina.host import COMMAND, MODERN, start_bridge
from tests.plugins.live_marina import LiveMarina

TABLE = """
CREATE TABLE harbours (id integer PRIMARY KEY, name text NOT NULL);
INSERT INTO harbours VALUES (1, 'Vlissingen'), (2, 'Ærøskøbing')
"""
QUERY = {"query": "SELECT name FROM harbours ORDER BY id"}
ROWS = [{"name": "Vlissingen"}, {"name": "Ærøskøbing"}]


@pytest.fixture(scope="module")
def team() -> Team:
    team = make_team("Bridge")
    create_source("harbours", "postgres", {"dsn": make_database(TABLE)}, caller=team.owner)
    return team


@pytest.mark.parametrize(("mode", "version"), [("auto", MODERN), ("legacy", "2025-11-25")])
def test_the_sdk_lists_tools_and_gets_rows(
    live_marina: LiveMarina, team: Team, mode: Any, version: str
) -> None:
    url, key = live_marina.mcp_url(team.slug), team.key()

    async def converse() -> None:
        server = StdioServerParameters(command=COMMAND, args=[url], env={"MARINA_API_KEY": key})
        async with Client(stdio_client(server), mode=mode) as client:
            assert client.protocol_version == version
            assert "query_database" in {tool.name for tool in (await client.list_tools()).tools}
            result = await client.call_tool("query_database", QUERY)
            assert result.structured_content is not None
            assert result.structured_content["rows"] == ROWS

    asyncio.run(converse())


def test_a_host_of_2025_03_26_may_send_a_batch(live_marina: LiveMarina, team: Team) -> None:
    url, key = live_marina.mcp_url(team.slug), team.key()

    async def converse() -> None:
        async with start_bridge(url, key=key) as host:
            assert (await host.initialize("2025-03-26"))["result"]["protocolVersion"] == "2025-03-26"
            await host.send([{"jsonrpc": "2.0", "id": name, "method": "ping"} for name in ("a", "b")])
            assert {item["id"] for item in await host.receive()} == {"a", "b"}
            assert await host.end() == (0, "")

    asyncio.run(converse())


def test_an_outsiders_key_gets_marinas_own_words(live_marina: LiveMarina, team: Team) -> None:
    key = make_team("Outsider").key()

    async def converse() -> None:
        async with start_bridge(live_marina.mcp_url(team.slug), key=key) as host:
            await host.request(1, "tools/list", version=MODERN)
            answer = await host.receive()
            assert answer["id"] == 1
            assert answer["error"]["code"] == 401
            assert "source" not in answer["error"].get("data", {})
            status, errors = await host.end()
            assert status == 0
            assert "does not know the key" in errors
            assert key not in errors

    asyncio.run(converse())
