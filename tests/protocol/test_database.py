"""A database's resources through the official client, in both eras; and what its writing tool says of itself."""

from __future__ import annotations

import json

import pytest
from mcp_types import ResourceTemplateReference

from tests.factories import Team
from tests.protocol.conftest import ALL_SCOPES, HearAll
from tests.protocol.everytool import furnish_postgres, furnish_sqlite
from tests.protocol.officialclient import connected
from tests.protocol.wireclient import Endpoint

pytestmark = pytest.mark.anyio

ERAS = pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
CATALOGS = {"postgres": "pg_authid", "sqlite": "sqlite_schema"}


@pytest.fixture(params=CATALOGS)
def kind(request: pytest.FixtureRequest) -> str:
    """A kind of database."""
    found: str = request.param
    return found


@pytest.fixture
def ships(port: int, team: Team, hear_all: HearAll, kind: str) -> Endpoint:
    """A team's URL with a database of ships behind it that takes writes and hides who owns a ship."""
    {"postgres": furnish_postgres, "sqlite": furnish_sqlite}[kind](team)
    hear_all()
    return Endpoint(port, f"/mcp/{team.slug}", team.key(*ALL_SCOPES))


@ERAS
async def test_the_tool_that_writes_says_so(ships: Endpoint, mode: str) -> None:
    async with connected(ships, mode) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
    hints = tools["execute_transaction"].annotations
    assert hints is not None
    assert (hints.read_only_hint, hints.destructive_hint) == (False, True)


@ERAS
async def test_schemas_and_tables_are_read_and_completed(ships: Endpoint, kind: str, mode: str) -> None:
    async with connected(ships, mode) as client:
        assert "db://schemas" in [each.uri for each in (await client.list_resources()).resources]
        templates = (await client.list_resource_templates()).resource_templates
        assert "db://tables/{table}" in [each.uri_template for each in templates]
        schemas = json.loads((await client.read_resource("db://schemas")).contents[0].text)  # type: ignore[union-attr]
        assert schemas["schemas"][0]["tables"] == ["berth", "log", "ship"]
        table = json.loads((await client.read_resource("db://tables/ship")).contents[0].text)  # type: ignore[union-attr]
        assert [column.get("masked") for column in table["columns"]] == [None, None, "hidden"]
        with pytest.raises(Exception, match="no such"):
            await client.read_resource(f"db://tables/{CATALOGS[kind]}")
        reference = ResourceTemplateReference(type="ref/resource", uri="db://tables/{table}")
        completed = await client.complete(reference, {"name": "table", "value": "sh"})
        assert completed.completion.values == ["ship"]
