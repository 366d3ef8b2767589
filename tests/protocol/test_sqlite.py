"""A SQLite file's tools and resources through the official client, in both eras, with their errors."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx2
import pytest
from django.conf import settings
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import ResourceTemplateReference

from servers.services.sources import create_source
from tests.factories import Team
from tests.protocol.conftest import ALL_SCOPES, HearAll
from tests.protocol.wireclient import Endpoint

pytestmark = pytest.mark.anyio

TABLES = """
CREATE TABLE ship (id INTEGER PRIMARY KEY, name TEXT NOT NULL, owner TEXT);
CREATE TABLE berth (ship INTEGER REFERENCES ship (id), place TEXT);
CREATE TABLE log (entry TEXT);
INSERT INTO ship VALUES (1, 'Ærø', 'Ada'), (2, 'Vega', 'Emil');
"""

CALLS: list[tuple[str, dict[str, Any], str, Any]] = [
    (
        "query_database",
        {"query": "SELECT name FROM ship WHERE id = :i", "params": {"i": 1}},
        "rows",
        [{"name": "Ærø"}],
    ),
    (
        "execute_query",
        {"query": "SELECT owner FROM ship WHERE id = $1", "params": [1]},
        "rows",
        [{"owner": None}],
    ),
    ("list_tables", {"schema": "nowhere"}, "tables", []),
    ("describe_table", {"table_name": "ship"}, "primary_key", ["id"]),
    ("get_schema", {"table_name": "main.berth"}, "truncated", False),
    ("get_table_sample", {"table": "ship", "sample_size": 2}, "row_count", 2),
    ("analyze_table", {"table": "ship", "schema": "main"}, "row_count", 2),
    ("execute_transaction", {"queries": ["INSERT INTO log VALUES ('seen')"]}, "row_count", 1),
]
FAULTS: list[tuple[str, dict[str, Any], str]] = [
    ("query_database", {"query": "DELETE FROM ship"}, "query_refused"),
    ("execute_query", {"query": "SELECT nothing FROM ship"}, "query_invalid"),
    ("list_tables", {"schema": ""}, "arguments_invalid"),
    ("describe_table", {"table_name": "sqlite_schema"}, "invalid_input"),
    ("get_schema", {"table_name": "nowhere"}, "invalid_input"),
    ("get_table_sample", {"table": "ship", "sample_size": 101}, "arguments_invalid"),
    ("analyze_table", {"table": "nowhere"}, "invalid_input"),
    ("execute_transaction", {"queries": ["SELECT 1"]}, "query_refused"),
    ("execute_transaction", {"queries": ["INSERT INTO berth VALUES (9, 'x')"]}, "query_invalid"),
]


@pytest.fixture
def ships(port: int, team: Team, hear_all: HearAll) -> Endpoint:
    """A team's URL with a file of ships behind it that takes writes and hides who owns a ship."""
    folder: Path = settings.ENV.files_roots[0] / str(team.tenant_id)
    folder.mkdir(exist_ok=True)
    with closing(sqlite3.connect(folder / "ships.db")) as connection:
        connection.executescript(TABLES)
    chosen = {"path": "ships.db", "allow_writes": True, "masks": {"ship.owner": "hidden"}}
    create_source("ships", "sqlite", chosen, caller=team.owner)
    hear_all()
    return Endpoint(port, f"/mcp/{team.slug}", team.key(*ALL_SCOPES))


@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
async def test_every_tool_and_resource_answers_and_every_fault_has_its_code(
    ships: Endpoint, mode: str
) -> None:
    async with (
        httpx2.AsyncClient(headers={"Authorization": f"Bearer {ships.key}"}) as http,
        Client(streamable_http_client(ships.url, http_client=http), mode=mode) as client,
    ):
        tools = {tool.name for tool in (await client.list_tools()).tools}
        assert {name for name, *_ in CALLS} <= tools
        for name, arguments, key, value in CALLS:
            result = await client.call_tool(name, arguments)
            assert not result.is_error, (name, result.content)
            assert result.structured_content is not None
            assert result.structured_content[key] == value, name
        for name, arguments, code in FAULTS:
            result = await client.call_tool(name, arguments)
            assert result.is_error, name
            assert (result.meta or {})["marina/error"]["code"] == code, name
        schemas = json.loads((await client.read_resource("db://schemas")).contents[0].text)  # type: ignore[union-attr]
        assert schemas["schemas"][0]["tables"] == ["berth", "log", "ship"]
        table = json.loads((await client.read_resource("db://tables/ship")).contents[0].text)  # type: ignore[union-attr]
        assert [column.get("masked") for column in table["columns"]] == [None, None, "hidden"]
        with pytest.raises(Exception, match="no such"):
            await client.read_resource("db://tables/sqlite_schema")
        reference = ResourceTemplateReference(type="ref/resource", uri="db://tables/{table}")
        completed = await client.complete(reference, {"name": "table", "value": "sh"})
        assert completed.completion.values == ["ship"]
