"""The tools of an HTTP source through the official client, in both eras: results, failures and refusals."""

from __future__ import annotations

from collections.abc import Iterator

import orjson
import pytest
from mcp import Client

from servers.services.sources import create_source
from servers.services.tools import create_tool
from tests.factories import make_team
from tests.farside import FarSide, far_side, reply
from tests.protocol.wireclient import Endpoint

pytestmark = pytest.mark.anyio

SECRET = "a-token-of-the-api"
DEFINITION = {
    "method": "GET",
    "path": "/tides/{station}",
    "parameters": {"station": {"type": "string"}},
    "answer": {
        "schema": {"type": "object", "required": ["metres"], "properties": {"metres": {"type": "number"}}}
    },
}


@pytest.fixture(scope="module")
def api() -> Iterator[FarSide]:
    with far_side() as side:
        tide = reply(orjson.dumps({"metres": 1.5, "key": SECRET}), kind="application/json")
        side.serve("/v1/tides/dover", tide)
        side.serve("/v1/notes", reply(b'{"id": 9}', status=201, kind="application/json"))
        side.serve("/v1/broken", reply(b'{"detail": "out of order"}', status=503, kind="application/json"))
        yield side


@pytest.fixture(scope="module")
def access(port: int, api: FarSide) -> Endpoint:
    team = make_team()
    settings = {"base_url": f"{api.origin}/v1", "auth": "bearer", "token": SECRET, "allow_writes": True}
    create_source("sea", "http", settings, caller=team.owner)
    endpoints = [{"name": "tide", "path": "/tides/{station}", "method": "GET"}]
    create_source("read", "http", {"base_url": f"{api.origin}/v1", "endpoints": endpoints}, caller=team.owner)
    create_tool("tide", "sea", "http", DEFINITION, "Tide", "The tide at a station", caller=team.owner)
    key = team.key("tools:read", "tools:execute", "resources:read")
    return Endpoint(port, f"/mcp/{team.slug}", key)


async def test_tools_and_resources_of_two_sources_stand_side_by_side(client: Client) -> None:
    names = {tool.name for tool in (await client.list_tools()).tools}
    ready = {"list_endpoints", "api_get", "api_post", "call_api", "batch_requests", "get_api_stats"}
    assert names == ready | {f"read_{name}" for name in ready} | {"tide"}
    uris = {str(each.uri) for each in (await client.list_resources()).resources}
    assert uris == {"api://endpoints", "api://read/endpoints"}
    read = await client.read_resource("api://read/endpoints")
    assert "/tides/{station}" in str(read.contents[0])


async def test_every_tool_is_called_and_its_result_fits_its_schema(client: Client) -> None:
    listed = await client.call_tool("list_endpoints", {})
    assert listed.structured_content["writes_allowed"] is True
    got = await client.call_tool("api_get", {"endpoint": "tides", "path": "dover"})
    assert got.structured_content["body"] == {"metres": 1.5, "key": "[removed]"}
    got = await client.call_tool("read_api_get", {"endpoint": "tide", "params": {"station": "dover"}})
    assert got.structured_content["body"]["metres"] == 1.5
    posted = await client.call_tool("api_post", {"endpoint": "notes", "body": {"text": "low"}})
    assert (posted.is_error, posted.structured_content["status"]) == (False, 201)
    called = await client.call_tool(
        "call_api", {"api": "sea", "endpoint": "notes", "method": "PUT", "data": [1]}
    )
    assert called.structured_content["body"] == {"id": 9}
    batch = await client.call_tool(
        "batch_requests",
        {"requests": [{"endpoint": "tides/dover"}, {"endpoint": "broken"}, {"endpoint": "../x"}]},
    )
    assert [each["success"] for each in batch.structured_content["results"]] == [True, False, False]
    own = await client.call_tool("tide", {"station": "dover"})
    assert own.structured_content["metres"] == 1.5
    stats = await client.call_tool("get_api_stats", {})
    assert stats.structured_content["requests"] >= 5


async def test_failures_and_refusals_are_tool_errors_with_the_reason(client: Client, api: FarSide) -> None:
    failed = await client.call_tool("api_get", {"endpoint": "broken"})
    assert failed.is_error
    assert "out of order" in str(failed.content[0])
    before = len(api.asked)
    for tool, arguments, words in (
        ("read_api_post", {"endpoint": "tide", "params": {"station": "dover"}, "body": 1}, "for GET only"),
        ("read_call_api", {"endpoint": "notes"}, "endpoint"),
        ("api_get", {"endpoint": "../admin"}, "lead out of its place"),
        ("api_get", {"endpoint": "a", "use_cache": "no"}, "use_cache"),
        ("batch_requests", {"requests": []}, "requests"),
        ("tide", {"station": "../notes"}, "lead out of its place"),
    ):
        refused = await client.call_tool(tool, arguments)
        assert refused.is_error, tool
        assert words in str(refused.content[0]), (tool, refused.content)
    assert len(api.asked) == before
