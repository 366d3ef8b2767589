"""Marina's own REST, as a data source of a team: its admin manages the team from an MCP client, in both eras."""

from __future__ import annotations

import pytest
from mcp import Client

from servers.services.sources import create_source
from tests.factories import Team, make_team
from tests.protocol.wireclient import Endpoint

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def managed(port: int) -> Team:
    team = make_team()
    rest = f"http://127.0.0.1:{port}/api/v1"
    settings = {
        "openapi": f"{rest}/schema",
        "auth": "bearer",
        "token": team.key("admin"),
        "allow_writes": True,
    }
    create_source("marina", "http", settings, caller=team.owner)
    return team


@pytest.fixture(scope="module")
def access(port: int, managed: Team) -> Endpoint:
    return Endpoint(port, f"/mcp/{managed.slug}", managed.key("tools:read", "tools:execute"))


@pytest.fixture(scope="module")
def other(database: None) -> Team:
    return make_team()


async def test_a_team_is_managed_by_the_tools_of_marinas_own_document(client: Client, managed: Team) -> None:
    names = {tool.name for tool in (await client.list_tools()).tools}
    assert {"list_servers", "create_server", "list_tools"} <= names
    before = (await client.call_tool("list_servers", {"tenant": managed.slug})).structured_content["results"]
    slug = f"made-{len(before)}"
    made = await client.call_tool(
        "create_server", {"tenant": managed.slug, "body": {"slug": slug, "title": "Made"}}
    )
    assert made.is_error is False, made.content
    after = (await client.call_tool("list_servers", {"tenant": managed.slug})).structured_content["results"]
    assert {each["slug"] for each in after} == {slug, *(each["slug"] for each in before)}


async def test_another_team_is_not_managed_by_it(client: Client, other: Team) -> None:
    refused = await client.call_tool("list_servers", {"tenant": other.slug})
    assert refused.is_error
    assert other.owner_email not in str(refused.content[0])
