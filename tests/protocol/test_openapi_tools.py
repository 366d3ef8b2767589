"""The tools of an OpenAPI document through the official client, in both eras: lists, results, failures, refusals."""

from __future__ import annotations

from collections.abc import Iterator

import orjson
import pytest
from mcp import Client

from servers.services.sources import create_source
from tests.factories import make_team
from tests.farside import FarSide, far_side, reply
from tests.protocol.wireclient import Endpoint
from tests.servers.execution.http.openapi.shop import FASTAPI_LIKE

pytestmark = pytest.mark.anyio

READ = "read_item_items__item_id__get"
UPDATE = "update_item_items__item_id__put"


@pytest.fixture(scope="module")
def api() -> Iterator[FarSide]:
    with far_side() as side:
        item = {"id": 3, "name": "Rope", "price": None, "colour": "red"}
        side.serve("/api/items/3", reply(orjson.dumps(item), kind="application/json"))
        side.serve("/api/items/4", reply(b'{"detail": "no such item"}', status=404, kind="application/json"))
        side.serve("/api/token", reply(orjson.dumps([item, item]), kind="application/json"))
        side.serve("/api/files", reply(b"", status=204))
        yield side


@pytest.fixture(scope="module")
def access(port: int, api: FarSide) -> Endpoint:
    team = make_team()
    settings = {"openapi": FASTAPI_LIKE, "base_url": f"{api.origin}/api", "allow_writes": True}
    create_source("orders", "http", settings, caller=team.owner)
    return Endpoint(port, f"/mcp/{team.slug}", team.key("tools:read", "tools:execute"))


async def test_operations_are_listed_as_tools(client: Client) -> None:
    tools = {tool.name: tool for tool in (await client.list_tools()).tools}
    assert set(tools) == {READ, UPDATE, "upload_files_post", "login_token_post"}
    assert set(tools[READ].input_schema["properties"]) == {"item_id", "q", "x-token"}
    hints = tools[READ].annotations
    assert hints is not None
    assert hints.read_only_hint is True
    assert tools[UPDATE].output_schema is None


async def test_results_are_structured_and_fit_their_schemas(client: Client, api: FarSide) -> None:
    got = await client.call_tool(READ, {"item_id": 3, "x-token": "t"})
    assert (got.is_error, got.structured_content["colour"]) == (False, "red")
    listed = await client.call_tool("login_token_post", {"body": {"username": "a b", "password": "p&q"}})
    assert [each["name"] for each in listed.structured_content["result"]] == ["Rope", "Rope"]
    assert api.asked[-1].body == b"username=a%20b&password=p%26q"
    updated = await client.call_tool(UPDATE, {"item_id": 3, "body": {"name": "Rope", "price": 2}})
    assert updated.is_error is False
    assert (api.asked[-1].method, orjson.loads(api.asked[-1].body)) == ("PUT", {"name": "Rope", "price": 2})
    sent = await client.call_tool("upload_files_post", {"body": {"file": {"text": "hello"}}})
    assert (sent.is_error, sent.structured_content) == (False, {"result": None})
    assert b'name="file"; filename="file"' in api.asked[-1].body


async def test_failures_and_refusals_are_tool_errors_with_the_reason(client: Client, api: FarSide) -> None:
    failed = await client.call_tool(READ, {"item_id": 4, "x-token": "t"})
    assert failed.is_error
    assert "no such item" in str(failed.content[0])
    before = len(api.asked)
    for tool, arguments, words in (
        (READ, {"item_id": 3}, "x-token"),
        (READ, {"item_id": "../token", "x-token": "t"}, "item_id"),
        (READ, {"item_id": 3, "x-token": "a\r\nX-Evil: 1"}, "line breaks"),
        (UPDATE, {"item_id": 3, "body": {"name": ""}}, "price"),
        ("upload_files_post", {"body": {"file": {"base64": "!"}}}, "base64"),
    ):
        refused = await client.call_tool(tool, arguments)
        assert refused.is_error, tool
        assert words in str(refused.content[0]), (tool, refused.content)
    assert len(api.asked) == before
