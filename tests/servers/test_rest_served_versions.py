"""Over REST: a server pins versions, offers them side by side, and to some as canaries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest

from servers.services.sources import create_source
from servers.services.tools import change_tool, create_tool
from tests.factories import Team, make_team
from tests.rest import Rest


@dataclass(frozen=True)
class Place:
    """A team whose tool ``one`` has the published versions 1 and 2, and the draft 3; and its default server's path."""

    team: Team
    rest: Rest
    path: str

    def serve(self, version: int, use: str, **given: Any) -> Any:
        return self.rest.post(self.path, {"tool": "one", "version": version, "use": use, **given})


@pytest.fixture
def place(database: None) -> Place:
    team = make_team()
    create_source("db", "postgres", {"dsn": "postgresql://u:p@db.example.com/d"}, caller=team.owner)
    tool = create_tool("one", "db", "sql", {"sql": "SELECT 1"}, caller=team.owner)
    change_tool(tool.id, definition={"sql": "SELECT 2"}, caller=team.owner)
    change_tool(tool.id, definition={"sql": "SELECT 3"}, draft=True, caller=team.owner)
    rest = Rest.admin(team)
    server = rest.get(f"/tenants/{team.slug}/servers").body["results"][0]["id"]
    return Place(team, rest, f"/tenants/{team.slug}/servers/{server}/versions")


def test_a_version_is_pinned_listed_and_let_go(place: Place) -> None:
    pinned = place.serve(1, "pin")
    assert pinned.status == 201
    assert {key: pinned.body[key] for key in ("server", "tool", "version", "use", "name", "share")} == {
        "server": "default",
        "tool": "one",
        "version": 1,
        "use": "pin",
        "name": "one",
        "share": None,
    }
    assert place.serve(2, "pin").body["id"] == pinned.body["id"]
    assert place.serve(1, "beside").body["name"] == "one_v1"
    listed = place.rest.get(place.path).body["results"]
    assert [(each["use"], each["version"]) for each in listed] == [("beside", 1), ("pin", 2)]
    assert place.rest.delete(f"{place.path}/{pinned.body['id']}").status == 204
    assert place.rest.delete(f"{place.path}/{pinned.body['id']}").status == 404


def test_a_canary_names_its_share_and_its_credentials(place: Place) -> None:
    place.team.key("tools:read")
    key = place.rest.get(f"/tenants/{place.team.slug}/api-keys").body["results"][0]["id"]
    made = place.serve(3, "canary", share=5, credentials=[key])
    assert (made.status, made.body["share"], made.body["credentials"]) == (201, 5, [key])


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ({"version": 3, "use": "pin"}, "version"),
        ({"version": 9, "use": "pin"}, "version"),
        ({"version": "x", "use": "pin"}, "version"),
        ({"version": 3, "use": "canary", "share": 0}, "share"),
        ({"version": 3, "use": "canary", "share": 101}, "share"),
        ({"version": 3, "use": "canary", "share": "half"}, "share"),
        ({"version": 3, "use": "canary", "credentials": [str(uuid4())]}, "credentials.0"),
        ({"version": 1, "use": "pin", "tool": "query"}, "tool"),
        ({"version": 1, "use": "pin", "more": 1}, "more"),
        ({"version": 1}, "use"),
    ],
)
def test_what_cannot_be_offered_is_a_400_with_the_place(
    place: Place, given: dict[str, Any], path: str
) -> None:
    answer = place.rest.post(place.path, {"tool": "one", **given})
    assert (answer.status, path in answer.paths) == (400, True), answer.body


def test_a_tool_that_a_server_is_bound_to_is_not_deleted(place: Place) -> None:
    place.serve(1, "beside")
    tools = place.rest.get(f"/tenants/{place.team.slug}/tools").body["results"]
    tool = next(each for each in tools if each["name"] == "one")
    answer = place.rest.delete(f"/tenants/{place.team.slug}/tools/{tool['id']}")
    assert (answer.status, answer.body["code"]) == (409, "tool_served")
    body = {"name": "one_v1", "source": "db", "kind": "sql", "definition": {"sql": "SELECT 1"}}
    taken = place.rest.post(f"/tenants/{place.team.slug}/tools", body)
    assert (taken.status, taken.body["code"]) == (409, "name_taken")


def test_a_draft_is_tried_by_who_may_change_tools_and_nobody_else(place: Place) -> None:
    tools = place.rest.get(f"/tenants/{place.team.slug}/tools").body["results"]
    tool = next(each for each in tools if each["name"] == "one")
    path = f"/tenants/{place.team.slug}/tools/{tool['id']}/call"
    # Its database is not there: the version is what it came to.
    assert place.rest.post(path, {"version": 3}).body["tool_version"] == 3
    assert place.rest.post(path, {}).body["tool_version"] == 2
    assert place.rest.post(path, {"version": 9}).body["code"] == "version_not_found"
    runner = Rest(place.team.key("tools:read", "tools:execute"))
    assert runner.post(path, {"version": 3}).status == 403


def test_a_viewers_key_reads_and_does_not_change(place: Place) -> None:
    reader = Rest(place.team.key("tools:read"))
    assert reader.get(place.path).status in (200, 403)
    assert reader.post(place.path, {"tool": "one", "version": 1, "use": "pin"}).status == 403
