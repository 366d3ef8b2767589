"""One scenario: a weather API's document becomes tools, a template and a prompt; the document changes, and so do they.

Everything is configured over REST, as a page does, and used through the official client in both eras.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from mcp.types import TextResourceContents

from core.threads import run_sync
from tests.factories import Team, make_team
from tests.farside import Asked, FarSide, Send, far_side, reply
from tests.protocol.conftest import ALL_SCOPES, HearAll
from tests.protocol.officialclient import connected
from tests.protocol.wireclient import Endpoint
from tests.rest import Rest

pytestmark = pytest.mark.anyio

TOKEN = "the-token-of-the-weather-office"
SECONDS = 15
"""What a client of REST waits for the answer to a document, however bad."""


def document(**changed: Any) -> dict[str, Any]:
    """The weather office's document. ``changed``: other paths, beside those that it has or in their place."""

    def reading(name: str, *parameters: dict[str, Any], **answer: Any) -> dict[str, Any]:
        schema = {"type": "object", "required": list(answer), "properties": answer}
        return {
            "get": {
                "operationId": name,
                "parameters": [
                    {"name": "city", "in": "path", "required": True, "schema": {"type": "string"}},
                    *parameters,
                ],
                "responses": {
                    "200": {"description": "Given", "content": {"application/json": {"schema": schema}}}
                },
            }
        }

    return {
        "openapi": "3.1.0",
        "info": {"title": "Weather", "version": "1"},
        "servers": [{"url": "/v1"}],
        "components": {"securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}},
        "paths": {
            "/now/{city}": reading("current_weather", celsius={"type": "number"}),
            "/forecast/{city}": reading("forecast", days={"type": "array"}),
            "/stations": {
                "get": {"operationId": "list_stations", "responses": {"200": {"description": "All"}}}
            },
            "/stations/{id}": {
                "delete": {
                    "operationId": "drop_station",
                    "parameters": [
                        {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}
                    ],
                    "responses": {"204": {"description": "Gone"}},
                }
            },
            **changed,
        },
    }


@pytest.fixture
def office() -> Iterator[FarSide]:
    """The weather office: gives its document to anybody, and weather to who has its token."""
    with far_side() as side:

        def weather(asked: Asked, send: Send) -> None:
            if asked.headers.get("authorization") != f"Bearer {TOKEN}":
                send(reply(b'{"detail": "who are you"}', status=401, kind="application/json"))
            elif asked.path.startswith("/v1/now"):
                units = asked.query or "units=metric"
                send(
                    reply(
                        orjson.dumps({"celsius": 11.5, "said": units, "by": TOKEN}), kind="application/json"
                    )
                )
            else:
                send(reply(b'{"days": [11, 12]}', kind="application/json"))

        for path in ("/v1/now/Delft", "/v1/forecast/Delft", "/v1/now/%C3%85rhus"):
            side.serve(path, weather)
        publish(side, document())
        yield side


def publish(office: FarSide, published: dict[str, Any]) -> None:
    office.serve("/openapi.json", reply(orjson.dumps(published), kind="application/json"))


class Desk:
    """A team's admin at the REST API."""

    def __init__(self, team: Team) -> None:
        self._rest = Rest.admin(team)
        self._below = f"/tenants/{team.slug}"

    async def post(self, path: str, body: Any, status: int = 201) -> Any:
        async with asyncio.timeout(SECONDS):
            answer = await run_sync(self._rest.post, f"{self._below}/{path}", body)
        assert answer.status == status, answer.body
        return answer.body


@pytest.fixture
def team() -> Team:
    return make_team()


@pytest.fixture
def desk(team: Team) -> Desk:
    return Desk(team)


@pytest.mark.parametrize("mode", ["2026-07-28", "legacy"])
async def test_a_document_becomes_a_server_of_tools_template_and_prompt(
    port: int, team: Team, desk: Desk, office: FarSide, hear_all: HearAll, mode: str
) -> None:
    settings = {
        "openapi": f"{office.origin}/openapi.json",
        "operations": ["current_weather", "GET /forecast/{city}"],
        "auth": "bearer",
        "token": TOKEN,
    }
    offered = await desk.post("data-sources/preview", {"kind": "http", "settings": settings}, 200)
    assert [tool["name"] for tool in offered["tools"]] == ["current_weather", "forecast"]
    source = (await desk.post("data-sources", {"name": "office", "kind": "http", "settings": settings}))["id"]
    now = {"tool": "current_weather", "arguments": {"city": "${city}"}}
    await desk.post("resources", {"uri": "weather://{city}", "result": {**now, "pick": "/celsius"}})
    prompt = {
        "name": "what_to_wear",
        "arguments": [{"name": "city", "required": True}],
        "results": {"weather": now},
        "messages": [{"text": "What does one wear in ${city}? It is: ${weather}"}],
    }
    await desk.post("prompts", prompt)
    await run_sync(hear_all)
    endpoint = Endpoint(port, f"/mcp/{team.slug}", await run_sync(team.key, *ALL_SCOPES))

    async with connected(endpoint, mode) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert set(tools) == {"current_weather", "forecast"}
        called = await client.call_tool("current_weather", {"city": "Delft"})
        assert called.structured_content == {"celsius": 11.5, "said": "units=metric", "by": "[removed]"}
        assert TOKEN not in called.model_dump_json()
        ahead = await client.call_tool("forecast", {"city": "Delft"})
        assert ahead.structured_content == {"days": [11, 12]}
        assert not (await client.call_tool("current_weather", {"city": "Århus"})).is_error
        (contents,) = (await client.read_resource("weather://Delft")).contents
        assert isinstance(contents, TextResourceContents)
        assert contents.text == "11.5"
        (message,) = (await client.get_prompt("what_to_wear", {"city": "Delft"})).messages
        assert "wear in Delft? It is: {" in str(message.content)
        assert TOKEN not in str(message.content)

        before = len(office.asked)
        for city in ("../forecast", "..", "%2e%2e/stations", "Delft/..\\x", "\r\nX-Evil: 1"):
            refused = await client.call_tool("current_weather", {"city": city})
            assert refused.is_error, city
            with pytest.raises(Exception, match=r"out of its place|line break|Unknown resource|no such"):
                await client.read_resource("weather://" + city.replace("\r\n", "%0d%0a"))
        assert len(office.asked) == before
        nowhere = await client.call_tool("current_weather", {"city": "Atlantis"})
        assert (nowhere.is_error, "404" in str(nowhere.content[0])) == (True, True)

        units = {
            "name": "units",
            "in": "query",
            "required": True,
            "schema": {"enum": ["metric", "imperial"]},
        }
        new = document()
        new["paths"]["/now/{city}"]["get"]["parameters"].append(units)
        new["paths"].pop("/forecast/{city}")
        publish(office, new)
        path = f"data-sources/{source}/refresh"
        gone = await desk.post(path, {"preview": True}, 400)
        (fault,) = gone["errors"]
        assert fault["path"] == "settings.operations.1"
        assert "no such operation as GET /forecast/{city}" in fault["message"]
        assert (await client.call_tool("forecast", {"city": "Delft"})).is_error is False

        new["paths"]["/forecast/{city}"] = document()["paths"]["/forecast/{city}"]
        publish(office, new)
        differences = [
            {
                "kind": "changed",
                "tool": "current_weather",
                "words": ["The argument units was added, and is required."],
                "breaking": True,
                "ends": [],
            }
        ]
        assert (await desk.post(path, {"preview": True}, 200))["differences"] == differences
        assert not (await client.call_tool("current_weather", {"city": "Delft"})).is_error
        assert (await desk.post(path, {}, 200))["differences"] == differences
        await run_sync(hear_all)

        as_before = await client.call_tool("current_weather", {"city": "Delft"})
        assert as_before.is_error
        assert "units" in str(as_before.content[0])
        changed = await client.call_tool("current_weather", {"city": "Delft", "units": "imperial"})
        assert changed.structured_content is not None
        assert changed.structured_content["said"] == "units=imperial"
    assert {asked.path for asked in office.asked} <= {
        "/openapi.json",
        "/v1/now/Delft",
        "/v1/now/%C3%85rhus",
        "/v1/now/Atlantis",
        "/v1/forecast/Delft",
    }


UP = {"get": {"operationId": "up"}}


@pytest.mark.parametrize(
    ("paths", "words"),
    [
        ({"/now/../../admin": UP}, "leads up"),
        ({"/now/%2e%2e/admin": UP}, "leads up"),
        ({"//evil.example/admin": UP}, "two slashes"),
        ({"/now": {"$ref": "{far}/part.json#/now"}}, "outside the document"),
        (
            {"/now": {"get": {"operationId": "up", "parameters": [{"$ref": "{far}/part.json"}]}}},
            "outside the document",
        ),
        (
            {"/now": {"get": {"operationId": "up", "parameters": [{"$ref": "file:///etc/passwd"}]}}},
            "file:///etc",
        ),
        ({"/a": {"$ref": "#/paths/~1b"}, "/b": {"$ref": "#/paths/~1a"}}, "without end"),
        (
            {
                "/now": {
                    "get": {
                        "operationId": "up",
                        "parameters": [{"$ref": "#/paths/~1now/get/parameters/0"}],
                    }
                }
            },
            "without end",
        ),
        ({"/now": {"servers": [{"url": "{far}/v2"}], **UP}}, "a server of its own"),
    ],
)
async def test_a_document_that_leads_elsewhere_is_refused_with_credentials_set(
    team: Team, desk: Desk, office: FarSide, paths: dict[str, Any], words: str
) -> None:
    hostile = {**document(), "paths": paths}
    hostile = orjson.loads(orjson.dumps(hostile).replace(b"{far}", office.origin.encode()))
    publish(office, hostile)
    settings = {"openapi": f"{office.origin}/openapi.json", "auth": "bearer", "token": TOKEN}
    refused = await desk.post("data-sources", {"name": "office", "kind": "http", "settings": settings}, 400)
    (fault,) = refused["errors"]
    assert fault["path"] == "settings.openapi"
    assert words in fault["message"]
    assert len(fault["message"]) < 1_000
    # One request for the document, to its own address, without the credentials; nothing else was asked for.
    (asked,) = office.asked
    assert (asked.path, "authorization" in asked.headers) == ("/openapi.json", False)


CIRCULAR: dict[str, Any] = {
    "type": "object",
    "properties": {"next": {"$ref": "#/components/schemas/Node"}, "name": {"type": "string"}},
}


async def test_a_circular_schema_becomes_a_tool_that_is_checked_in_time(
    port: int, team: Team, desk: Desk, office: FarSide, hear_all: HearAll
) -> None:
    asking = {
        "operationId": "note",
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Node"}}},
        },
    }
    published = document(**{"/now/Delft": {"post": asking}})
    published["components"]["schemas"] = {
        "Node": CIRCULAR,
        "Loop": {"allOf": [{"$ref": "#/components/schemas/Loop"}]},
    }
    published["paths"]["/now/{city}"]["get"]["responses"]["200"]["content"]["application/json"]["schema"] = {
        "$ref": "#/components/schemas/Loop"
    }
    publish(office, published)
    settings = {
        "openapi": f"{office.origin}/openapi.json",
        "auth": "bearer",
        "token": TOKEN,
        "allow_writes": True,
    }
    await desk.post("data-sources", {"name": "office", "kind": "http", "settings": settings})
    await run_sync(hear_all)
    endpoint = Endpoint(port, f"/mcp/{team.slug}", await run_sync(team.key))
    deep: dict[str, Any] = {"name": 5}
    for _ in range(50):
        deep = {"next": deep}
    async with asyncio.timeout(SECONDS), connected(endpoint, "2026-07-28") as client:
        assert not (await client.call_tool("note", {"body": {"next": {"name": "x"}}})).is_error
        refused = await client.call_tool("note", {"body": deep})
        assert (refused.is_error, "next" in str(refused.content[0])) == (True, True)
        assert not (await client.call_tool("current_weather", {"city": "Delft"})).is_error
