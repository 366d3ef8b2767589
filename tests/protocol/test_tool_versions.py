"""Versions through the official client: pinned, side by side, to some, and rolled back on every replica in seconds."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
from mcp import Client
from mcp_types import TextContent

from core.threads import run_sync
from servers.models import Server, Tool
from servers.services.playground import try_tool
from servers.services.runtime import Runtime
from servers.services.served_versions import serve_version, stop_serving
from servers.services.servers import list_servers
from servers.services.sources import create_source
from servers.services.tool_versions import publish_version, roll_back
from servers.services.tools import change_tool, create_tool
from tenants.services.keys import issue_key
from tests.factories import Team
from tests.protocol.conftest import ALL_SCOPES, HearAll, OnLoop, Records
from tests.protocol.officialclient import connected
from tests.protocol.probe import ProbeBackend
from tests.protocol.streamclient import Stream, open_modern
from tests.protocol.waiting import in_thread, wait_for
from tests.protocol.wireclient import Endpoint

pytestmark = pytest.mark.anyio

ERAS = pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
REPLICA_SECONDS = 5.0


def saying(text: str) -> dict[str, Any]:
    return {
        "steps": [{"tool": "echo", "args": {"text": text}, "output": "said"}],
        "result": "${said.echo.text}",
    }


@dataclass(frozen=True)
class Place:
    """A team with a tool ``say`` that says which version it is: 1 and 2 published, 3 a draft."""

    team: Team
    server: Server
    tool: Tool
    endpoint: Endpoint

    def serve(self, version: int, use: str, **given: Any) -> Any:
        return serve_version(self.server.pk, "say", version, use, caller=self.team.owner, **given)


@pytest.fixture
def place(port: int, team: Team, hear_all: HearAll) -> Place:
    create_source("flows", "flows", {}, caller=team.owner)
    tool = create_tool("say", "flows", "pipeline", saying("one"), "One", caller=team.owner)
    change_tool(tool.id, definition=saying("two"), title="Two", caller=team.owner)
    change_tool(tool.id, definition=saying("three"), title="Three", draft=True, caller=team.owner)
    hear_all()
    endpoint = Endpoint(port, f"/mcp/{team.slug}", team.key(*ALL_SCOPES))
    return Place(team, list_servers(caller=team.owner)[0], tool, endpoint)


async def said(client: Client, name: str = "say") -> str:
    called = await client.call_tool(name, {})
    if called.is_error or called.structured_content is None:
        content = called.content[0]
        return content.text if isinstance(content, TextContent) else ""
    return str(called.structured_content["result"])


def call(endpoint: Endpoint, name: str = "say") -> str:
    """The same without a client: what it says, or the error."""
    result = endpoint.call(name).result
    return str((result.get("structuredContent") or {}).get("result", result))


def says(endpoint: Endpoint, text: str) -> bool:
    return call(endpoint) == text


@contextmanager
def listening(endpoint: Endpoint) -> Iterator[Stream]:
    """A stream of the endpoint's changes of tools."""
    stream = open_modern(endpoint, "subscriptions/listen", {"notifications": {"toolsListChanged": True}})
    assert stream.message()["method"] == "notifications/subscriptions/acknowledged"
    with stream:
        yield stream


@ERAS
async def test_a_draft_is_not_offered_and_pinned_and_side_by_side_versions_are(
    place: Place, mode: str, hear_all: HearAll, records: Records
) -> None:
    async with connected(place.endpoint, mode) as client:
        assert await said(client) == "two"
    await run_sync(place.serve, 1, "pin")
    await run_sync(place.serve, 2, "beside")
    await run_sync(hear_all)
    async with connected(place.endpoint, mode) as client:
        titles = {tool.name: tool.title for tool in (await client.list_tools()).tools}
        assert (titles["say"], titles["say_v2"]) == ("One", "Two")
        assert "say_v1" not in titles
        assert (await said(client), await said(client, "say_v2")) == ("one", "two")
        missing = await client.call_tool("say", {"extra": 1})
    assert missing.is_error
    outer = [
        (each["tool"], each["tool_version"])
        for each in await run_sync(records, place.team)
        if each["tool"].startswith("say") and each["outcome"] == "ok"
    ]
    assert outer == [("say", 2), ("say", 1), ("say_v2", 2)]


@ERAS
async def test_a_pipeline_calls_the_versions_that_its_server_offers(
    place: Place, mode: str, hear_all: HearAll
) -> None:
    def make() -> None:
        place.serve(1, "beside")
        steps = [{"tool": "say", "output": "now"}, {"tool": "say_v1", "output": "before"}]
        definition = {"steps": steps, "result": "${now.result} after ${before.result}"}
        create_tool("both", "flows", "pipeline", definition, caller=place.team.owner)
        hear_all()

    await run_sync(make)
    async with connected(place.endpoint, mode) as client:
        assert await said(client, "both") == "two after one"
        await run_sync(place.serve, 1, "pin")
        await run_sync(hear_all)
        assert await said(client, "both") == "one after one"


@ERAS
async def test_a_canary_is_listed_for_and_run_by_those_who_are_in_it_alone(
    place: Place, port: int, mode: str, hear_all: HearAll
) -> None:
    issued = await run_sync(
        lambda: issue_key("pilot", list(ALL_SCOPES), expires_in_days=1, caller=place.team.owner)
    )
    await run_sync(lambda: place.serve(3, "canary", credentials=[str(issued.row.pk)]))
    await run_sync(hear_all)
    pilot = place.endpoint.with_key(issued.key)
    for endpoint, expected in ((pilot, "three"), (place.endpoint, "two")):
        async with connected(endpoint, mode) as client:
            titles = {tool.name: tool.title for tool in (await client.list_tools()).tools}
            assert titles["say"] == expected.capitalize()
            assert await said(client) == expected


def test_by_share_each_key_gets_the_same_version_every_time(place: Place, hear_all: HearAll) -> None:
    keys = [place.team.key(*ALL_SCOPES, name=f"key {number}") for number in range(12)]
    place.serve(3, "canary", share=50)
    hear_all()
    heard = [{call(place.endpoint.with_key(key)) for _ in range(3)} for key in keys]
    assert all(len(each) == 1 for each in heard)


def test_a_client_is_told_when_its_own_list_changes(place: Place, hear_all: HearAll) -> None:
    issued = issue_key("pilot", list(ALL_SCOPES), expires_in_days=1, caller=place.team.owner)
    pilot = place.endpoint.with_key(issued.key)
    changed = "notifications/tools/list_changed"
    with listening(place.endpoint) as others, listening(pilot) as mine:
        place.serve(3, "canary", credentials=[str(issued.row.pk)])
        assert mine.message()["method"] == changed
        # To the others nothing was said of that: what they hear first is that all have it now.
        publish_version(place.tool.id, 3, caller=place.team.owner)
        assert others.message()["method"] == changed
        create_tool("another", "flows", "pipeline", saying("x"), caller=place.team.owner)
        assert (others.message()["method"], mine.message()["method"]) == (changed, changed)


def test_a_rollback_is_in_effect_on_both_replicas_within_five_seconds(
    place: Place, port: int, second_port: int
) -> None:
    there = Endpoint(second_port, place.endpoint.path, place.endpoint.key)
    publish_version(place.tool.id, 3, caller=place.team.owner)
    for endpoint in (place.endpoint, there):
        wait_for(partial(says, endpoint, "three"), REPLICA_SECONDS)
    roll_back(place.tool.id, caller=place.team.owner)
    until = time.monotonic() + REPLICA_SECONDS
    for endpoint in (place.endpoint, there):
        wait_for(partial(says, endpoint, "two"), until - time.monotonic())


def test_a_rollback_that_was_not_announced_is_found_by_looking(
    place: Place, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert call(place.endpoint) == "two"
    monkeypatch.setattr("servers.services.changes.announce_change", lambda tenant_id: None)
    roll_back(place.tool.id, caller=place.team.owner)
    # As if the five seconds of the snapshot were over.
    runtime.surfaces._held[place.team.tenant_id, "default"].checked -= 6
    assert call(place.endpoint) == "one"


def test_a_call_in_flight_ends_on_the_version_that_it_began_with(
    place: Place, probe: ProbeBackend, on_loop: OnLoop, hear_all: HearAll, records: Records
) -> None:
    steps = [{"tool": "wait"}, *saying("waited")["steps"]]
    change_tool(
        place.tool.id, definition={**saying("waited"), "steps": steps}, based_on=3, caller=place.team.owner
    )
    hear_all()
    probe.entered.clear()
    with in_thread(lambda: call(place.endpoint)) as answer:
        assert probe.entered.wait(60)
        roll_back(place.tool.id, to=1, caller=place.team.owner)
        hear_all()
        assert call(place.endpoint) == "one"
        on_loop(probe.let_go())
        assert answer() == "waited"
    ran = [each["tool_version"] for each in records(place.team, tool="say") if each["outcome"] == "ok"]
    assert ran == [1, 4]


def test_a_draft_is_tried_in_the_playground_and_recorded_with_its_version(
    place: Place, records: Records, on_loop: OnLoop
) -> None:
    tried = try_tool("say", {}, version=3, caller=place.team.owner)
    assert (tried.tool_version, tried.structured["result"]) == (3, "three")
    assert records(place.team)[-1]["tool_version"] == 3
    assert call(place.endpoint) == "two"


def test_what_ends_is_followed_again(place: Place, hear_all: HearAll) -> None:
    served = place.serve(1, "pin")
    hear_all()
    assert call(place.endpoint) == "one"
    stop_serving(place.server.pk, served.pk, caller=place.team.owner)
    hear_all()
    assert call(place.endpoint) == "two"
