"""A real FastAPI application as a data source, by the address of its own document: each operation is called."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from mcp import Client

from config.local.ports import LOOPBACK, find_free_port
from core.threads import run_sync
from servers.services.sources import create_source
from tests.factories import make_team
from tests.marina.harbour import serve
from tests.protocol.officialclient import connected
from tests.protocol.wireclient import Endpoint
from tests.servers.execution.http.openapi.boatyard import THE_BOAT, TOKEN, make_boatyard

pytestmark = pytest.mark.anyio

BOAT = str(THE_BOAT)
OTHER = "00000000-0000-4000-8000-000000000008"
READ, BUILD = "read_boat_boats__boat_id__get", "build_boat_boats_post"


@pytest.fixture(scope="module")
def yard() -> Iterator[str]:
    """The address of the running application."""
    at = find_free_port()
    with serve(make_boatyard(), at):
        yield f"http://{LOOPBACK}:{at}"


def take_over(port: int, yard: str, token: str) -> Endpoint:
    """A new team's endpoint. How to sign in is in the document; where the API is follows from its address."""
    team = make_team()
    settings = {"openapi": f"{yard}/openapi.json", "token": token, "allow_writes": True}
    create_source("yard", "http", settings, caller=team.owner)
    return Endpoint(port, f"/mcp/{team.slug}", team.key("tools:read", "tools:execute"))


@pytest.fixture(scope="module")
def access(port: int, yard: str) -> Endpoint:
    return take_over(port, yard, TOKEN)


async def test_every_operation_is_a_tool_in_fastapis_own_words(client: Client) -> None:
    tools = {tool.name: tool for tool in (await client.list_tools()).tools}
    assert len(tools) == len([verb for path in make_boatyard().openapi()["paths"].values() for verb in path])
    taken = tools[READ].input_schema
    assert (set(taken["properties"]), taken["required"]) == (
        {"boat_id", "deck", "rig", "x-trace", "session"},
        ["boat_id"],
    )
    assert taken["properties"]["rig"] == {"$ref": "#/$defs/Rig", "default": "sloop"}
    assert tools["scrap_boat_boats__boat_id__delete"].title == "Scrap Boat (deprecated)"
    answered = tools[READ].output_schema
    assert answered is not None
    assert {"Kept", "Engine", "Sail-Output", "Rope"} <= set(answered["$defs"])


async def test_parameters_arrive_from_the_path_the_query_a_header_and_a_cookie(client: Client) -> None:
    given = {"boat_id": BOAT, "deck": [1, 2], "rig": "ketch", "x-trace": "t 1", "session": "s;1"}
    read = await client.call_tool(READ, given)
    assert (read.is_error, read.structured_content["rig"]) == (False, "ketch")
    assert read.structured_content["name"].startswith("Argo [1, 2] t 1 s")
    left_out = await client.call_tool(READ, {"boat_id": BOAT})
    assert left_out.structured_content["name"] == "Argo None None None"
    tide = await client.call_tool("tides_tides__place__get", {"place": "kiel", "for-days": 3})
    assert tide.structured_content == {"result": 3}
    other = await client.call_tool("tides_tides__place__get", {"place": "bonn"})
    assert other.structured_content == {"result": {"reason": "No tides at bonn", "code": 1}}
    listed = await client.call_tool("list_boats_boats_get", {"limit": 1, "sort": "built"})
    assert [each["name"] for each in listed.structured_content["result"]] == ["Argo by built"]


async def test_bodies_arrive_as_json_with_models_unions_and_what_leads_back_to_itself(client: Client) -> None:
    boat = {
        "name": "Argo",
        "rig": "ketch",
        "built": "1999-12-31",
        "engine": {"kilowatts": 20.5},
        "tags": ["old"],
        "stock": [{"kind": "rope", "metres": 12}, {"kind": "sail", "square_metres": 8.25}],
        "berths": {"fore": 2},
    }
    built = await client.call_tool(BUILD, {"body": boat})
    assert built.is_error is False, built.content
    assert built.structured_content == {
        **boat,
        "id": BOAT,
        "engine": {"kilowatts": 20.5, "power": "diesel"},
        "stock": [{"kind": "rope", "metres": 12}, {"kind": "sail", "square_metres": "8.25"}],
    }
    part = {"name": "mast", "parts": [{"name": "boom", "parts": [{"name": "block", "parts": []}]}]}
    fitted = await client.call_tool("fit_parts_boats__boat_id__parts_put", {"boat_id": BOAT, "body": part})
    assert fitted.structured_content == {"name": "all of mast", "parts": [part]}
    mended = await client.call_tool(
        "mend_boat_boats__boat_id__patch", {"boat_id": BOAT, "body": {"metres": 3}, "by": "crew"}
    )
    assert mended.structured_content == {"with": "rope", "by": "crew"}


async def test_forms_and_files_arrive(client: Client) -> None:
    logged_in = await client.call_tool("log_in_log_in_post", {"body": {"name": "a&b=c", "word": "é %+"}})
    assert logged_in.structured_content == {"name": "a&b=c", "word": "é %+"}
    sent = await client.call_tool(
        "send_plans_plans_post",
        {
            "body": {
                "plan": {"text": "the hull", "filename": "hull.txt", "media_type": "text/plain"},
                "more": [{"base64": "YQ=="}, {"text": "b", "filename": "b.svg"}],
                "note": "two\nlines",
            }
        },
    )
    assert sent.is_error is False, sent.content
    held = sent.structured_content["held"]
    assert held[0] == ["hull.txt", "the hull", "text/plain"]
    assert [(name, text) for name, text, _ in held[1:]] == [("file", "a"), ("b.svg", "b")]
    assert sent.structured_content["note"].split() == ["two", "lines"]


async def test_answers_of_other_kinds_arrive(client: Client) -> None:
    weather = await client.call_tool("weather_weather_get", {})
    assert "Fair, and a light breeze" in str(weather.content)
    scrapped = await client.call_tool("scrap_boat_boats__boat_id__delete", {"boat_id": BOAT})
    assert scrapped.is_error is False
    # It takes another key than the one by which the source signs in: it is called without.
    assert (await client.call_tool("by_key_keys_get", {})).structured_content == {"result": None}


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        (READ, {"boat_id": OTHER}, "There is no such boat."),
        (READ, {"boat_id": "../keys"}, "boat_id"),
        (READ, {"boat_id": BOAT, "rig": "raft"}, "rig"),
        (READ, {"boat_id": BOAT, "deck": [1, 2, 3, 4]}, "deck"),
        (BUILD, {"body": {"name": "argo"}}, "name"),
        (BUILD, {"body": {"name": "Argo", "stock": [{"kind": "rope"}]}}, "stock"),
        (BUILD, {"body": {"name": "Argo", "engine": {"kilowatts": 0}}}, "engine"),
        # What only the application knows: four digits before the point at most.
        (BUILD, {"body": {"name": "Argo", "stock": [{"square_metres": 123_456, "kind": "sail"}]}}, "422"),
        ("log_in_log_in_post", {"body": {"name": "a", "word": "b"}}, "word"),
        ("list_boats_boats_get", {"limit": 101}, "limit"),
    ],
)
async def test_what_is_wrong_is_told_before_the_application_is_asked_or_by_it(
    client: Client, name: str, arguments: dict[str, Any], words: str
) -> None:
    refused = await client.call_tool(name, arguments)
    assert refused.is_error
    assert words in str(refused.content), refused.content


async def test_a_token_that_the_application_does_not_know_is_said(port: int, yard: str) -> None:
    async with connected(await run_sync(take_over, port, yard, "another"), "auto") as client:
        refused = await client.call_tool(BUILD, {"body": {"name": "Argo"}})
    assert refused.is_error
    assert "401" in str(refused.content)
