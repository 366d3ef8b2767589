"""Tools that a server does not offer: each says why, in the list's ``_meta``, in REST and on the server's page."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from servers.endpoint.lists import MAX_NOTES, MODERN, PLAIN, STRUCTURED, Listing
from servers.services.servers import create_server, list_servers
from servers.services.sources import create_source
from servers.services.tools import list_tools, set_tool_enabled
from tests.factories import Team, make_team
from tests.farside import far_side
from tests.frontend.visitor import client_of
from tests.protocol.wireclient import Endpoint
from tests.rest import Rest
from tests.servers.changing import Changing, tool

KEY = "marina/notOffered"


@pytest.fixture(scope="module")
def team(database: None) -> Team:
    """Its upstream lists three tools: one is switched off here, and one has no name that a client takes."""
    found = make_team()
    with far_side() as side:
        upstream = Changing(side)
        upstream.tools = [tool("look", "Look."), tool("leap", "Leap."), tool("no good", "")]
        create_source("far", "mcp", {"url": upstream.url, "prefix": "far_"}, caller=found.owner)
        create_source("kit", "toolkit", {}, caller=found.owner)
        leap = next(each for each in list_tools(caller=found.owner) if each.name == "far_leap")
        set_tool_enabled(leap.pk, False, caller=found.owner)
        create_server("kits", "Kits", "private", ["kit"], caller=found.owner)
        create_server("open", "Open", "public", ["far"], caller=found.owner)
    return found


def noted(answer: dict[str, Any]) -> dict[str, str]:
    return {each["name"]: each["reason"] for each in answer.get("_meta", {}).get(KEY, {}).get("tools", [])}


def test_the_list_says_what_is_not_in_it_in_both_eras(port: int, team: Team) -> None:
    door = Endpoint(port, f"/mcp/{team.slug}", team.key())
    for answer in (door.legacy("tools/list").result, door.modern("tools/list").result):
        told = noted(answer)
        assert set(told) == {"far_leap", "far_no good"}
        assert "switched off" in told["far_leap"]
        assert "other characters" in told["far_no good"]
        assert not {each["name"] for each in answer["tools"]} & set(told)
    assert "io.modelcontextprotocol/serverInfo" in door.modern("tools/list").result["_meta"]


def test_who_is_narrowed_learns_of_no_other_tool_and_a_stranger_of_none(port: int, team: Team) -> None:
    narrowed = team.key("tools:read", "tool:far_look", "tool:far_leap")
    assert set(noted(Endpoint(port, f"/mcp/{team.slug}", narrowed).legacy("tools/list").result)) == {
        "far_leap"
    }
    other = team.key("tools:read", "tool:far_look")
    assert "_meta" not in Endpoint(port, f"/mcp/{team.slug}", other).legacy("tools/list").result
    stranger = Endpoint(port, f"/mcp/{team.slug}/open", None)
    assert KEY not in stranger.modern("tools/list").result["_meta"]
    # And what strangers were given is not what the next one with a key is.
    known = Endpoint(port, f"/mcp/{team.slug}/open", team.key())
    assert set(noted(known.modern("tools/list").result)) == {"far_leap", "far_no good"}


def test_a_server_says_nothing_of_sources_that_are_not_on_it(port: int, team: Team) -> None:
    door = Endpoint(port, f"/mcp/{team.slug}/kits", team.key())
    assert KEY not in door.modern("tools/list").result["_meta"]


def test_rest_and_the_servers_page_say_the_same(team: Team) -> None:
    rest = Rest.admin(team)
    row = next(each for each in list_servers(caller=team.owner) if each.slug == "default")
    path = f"/tenants/{team.slug}/servers/{row.pk}/not-offered"
    found = rest.get(path).body["results"]
    assert [(each["name"], each["source"]) for each in found] == [("far_leap", "far"), ("far_no good", "far")]
    body = client_of(team).get(f"/app/{team.slug}/servers/{row.pk}/").content.decode()
    assert "Tools that it does not offer" in body
    assert "far_no good" in body
    other = make_team()
    assert Rest.admin(other).get(f"/tenants/{other.slug}/servers/{row.pk}/not-offered").status == 404


@pytest.mark.parametrize("shape", [PLAIN, STRUCTURED, MODERN])
def test_the_notes_are_bounded_and_on_the_first_page_alone(shape: str) -> None:
    notes = {KEY: [(f"tool-{number}", "x" * 1_000) for number in range(200)]}
    items = [(name, {"name": name}, {"name": name}) for name in ("a", "b")]
    listing = Listing("tools", items, page_size=1, identity=b'{"x":1}', notes=notes)
    first = listing.page(shape, None, None, noted=True)
    assert listing.page(shape, None, None, noted=True) is first
    assert len(first) < 20_000
    assert first.count(b'"reason"') == MAX_NOTES
    assert b'"more":150' in first
    assert b"reason" not in listing.page(shape, None, None)
    following = orjson.loads(first)["nextCursor"]
    assert b"reason" not in listing.page(shape, following, None, noted=True)


def test_what_is_offered_is_nowhere_said_not_to_be_and_what_is_cut_is_counted() -> None:
    found = make_team()
    with far_side() as side:
        upstream = Changing(side)
        bad = [tool(f"no good {number:03}", "") for number in range(130)]
        upstream.tools = [tool("look", "Look."), tool("look", "Again."), *bad]
        source = create_source("far", "mcp", {"url": upstream.url}, caller=found.owner)
    row = next(each for each in list_servers(caller=found.owner) if each.slug == "default")
    rest = Rest.admin(found)
    listed = rest.get(f"/tenants/{found.slug}/servers/{row.pk}/not-offered").body["results"]
    told = {each["name"]: each["reason"] for each in listed}
    assert "look" not in told
    assert "no good 000" in told
    assert told["…"] == "31 more, each for a reason of its own."
    page = client_of(found).get(f"/app/{found.slug}/data-sources/{source.pk}/").content.decode()
    assert "31 more" in page
