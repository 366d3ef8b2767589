"""A database's tools and resources through the official client, in both eras, with their errors."""

from __future__ import annotations

import json
from typing import Any

import pytest
from mcp_types import ResourceTemplateReference

from servers.services.sources import create_source
from tests.factories import Team, make_database
from tests.protocol.conftest import ALL_SCOPES, HearAll
from tests.protocol.officialclient import connected
from tests.protocol.wireclient import Endpoint

pytestmark = pytest.mark.anyio

ERAS = pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])

TABLES = """
CREATE TABLE ship (id int PRIMARY KEY, name text NOT NULL, owner text);
CREATE TABLE berth (ship int REFERENCES ship (id), place text);
CREATE TABLE log (entry text);
INSERT INTO ship VALUES (1, 'Ærø', 'Ada'), (2, 'Vega', 'Emil');
GRANT INSERT, UPDATE, DELETE ON log TO PUBLIC
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
    ("get_schema", {"table_name": "public.berth"}, "truncated", False),
    ("get_table_sample", {"table": "ship", "sample_size": 2}, "row_count", 2),
    ("analyze_table", {"table": "ship", "schema": "public"}, "row_count", 2),
    ("execute_transaction", {"queries": ["INSERT INTO log VALUES ('seen')"]}, "row_count", 1),
]
FAULTS: list[tuple[str, dict[str, Any], str]] = [
    ("query_database", {"query": "DELETE FROM ship"}, "query_refused"),
    ("execute_query", {"query": "SELECT nothing FROM ship"}, "query_invalid"),
    ("list_tables", {"schema": ""}, "arguments_invalid"),
    ("describe_table", {"table_name": "pg_authid"}, "invalid_input"),
    ("get_schema", {"table_name": "nowhere"}, "invalid_input"),
    ("get_table_sample", {"table": "ship", "sample_size": 101}, "arguments_invalid"),
    ("analyze_table", {"table": "nowhere"}, "invalid_input"),
    ("execute_transaction", {"queries": ["SELECT 1"]}, "query_refused"),
    ("execute_transaction", {"queries": ["DELETE FROM berth"]}, "source_denied"),
]


@pytest.fixture
def ships(port: int, team: Team, hear_all: HearAll) -> Endpoint:
    """A team's URL with a database of ships behind it that takes writes and hides who owns a ship."""
    settings = {"dsn": make_database(TABLES), "allow_writes": True, "masks": {"public.ship.owner": "hidden"}}
    create_source("ships", "postgres", settings, caller=team.owner)
    hear_all()
    return Endpoint(port, f"/mcp/{team.slug}", team.key(*ALL_SCOPES))


@ERAS
async def test_every_tool_answers_and_every_fault_has_its_code(ships: Endpoint, mode: str) -> None:
    async with connected(ships, mode) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert {name for name, *_ in CALLS} <= tools.keys()
        hints = tools["execute_transaction"].annotations
        assert hints is not None
        assert (hints.read_only_hint, hints.destructive_hint) == (False, True)
        for name, arguments, key, value in CALLS:
            result = await client.call_tool(name, arguments)
            assert not result.is_error, (name, result.content)
            assert result.structured_content is not None
            assert result.structured_content[key] == value, name
        for name, arguments, code in FAULTS:
            result = await client.call_tool(name, arguments)
            assert result.is_error, name
            assert (result.meta or {})["marina/error"]["code"] == code, name


@ERAS
async def test_schemas_and_tables_are_read_and_completed(ships: Endpoint, mode: str) -> None:
    async with connected(ships, mode) as client:
        assert "db://schemas" in [each.uri for each in (await client.list_resources()).resources]
        templates = (await client.list_resource_templates()).resource_templates
        assert "db://tables/{table}" in [each.uri_template for each in templates]
        schemas = json.loads((await client.read_resource("db://schemas")).contents[0].text)  # type: ignore[union-attr]
        assert schemas["schemas"][0]["tables"] == ["berth", "log", "ship"]
        table = json.loads((await client.read_resource("db://tables/ship")).contents[0].text)  # type: ignore[union-attr]
        assert [column.get("masked") for column in table["columns"]] == [None, None, "hidden"]
        with pytest.raises(Exception, match="no such"):
            await client.read_resource("db://tables/pg_authid")
        reference = ResourceTemplateReference(type="ref/resource", uri="db://tables/{table}")
        completed = await client.complete(reference, {"name": "table", "value": "sh"})
        assert completed.completion.values == ["ship"]
