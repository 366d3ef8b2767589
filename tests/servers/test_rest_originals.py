"""Calls of a real team: their marks are confirmed over REST, and what is kept of results follows the team's setting."""

from __future__ import annotations

from typing import Any

import pytest

from tests.factories import Team, make_database, make_team
from tests.rest import Rest
from tests.servers.test_rest_tools import TABLE, make_tool


@pytest.fixture(scope="module")
def dsn(database: None) -> str:
    return make_database(TABLE)


@pytest.fixture
def team(dsn: str) -> Team:
    """A team with a tool that finds airports."""
    team = make_team()
    body = {"name": "airports", "kind": "postgres", "settings": {"dsn": dsn}}
    assert Rest.admin(team).post(f"/tenants/{team.slug}/data-sources", body).status == 201
    assert make_tool(team).status == 201
    return team


def called(team: Team, arguments: dict[str, Any]) -> Any:
    """Call the tool, and read the newest record of it."""
    rest = Rest.admin(team)
    tools = rest.get(f"/tenants/{team.slug}/tools").body["results"]
    tool = next(tool["id"] for tool in tools if tool["name"] == "find_airport")
    rest.post(f"/tenants/{team.slug}/tools/{tool}/call", {"arguments": arguments})
    return rest.get(f"/tenants/{team.slug}/audit/records?tool=find_airport&kind=tools/call").body["results"][
        0
    ]


def test_what_a_call_was_given_is_confirmed_and_its_result_begins_the_record(team: Team) -> None:
    record = called(team, {"code": "ZRH"})
    assert (record["outcome"], len(record["hmac"])) == ("ok", 64)
    assert "Zurich" in record["preview"]
    rest = Rest(team.key("audit:read"))
    path = f"/tenants/{team.slug}/audit/records/{record['seq']}/confirm"
    assert rest.post(path, {"arguments": {"code": "ZRH"}}).body["matches"] is True
    assert rest.post(path, {"arguments": {"code": "FRA"}}).body["matches"] is False
    assert called(team, {"code": "ZRH"})["hmac"] == record["hmac"]
    other = make_team()
    assert Rest.admin(other).post(path, {"arguments": {}}).status == 401


def test_how_much_of_results_is_kept_holds_from_the_next_call_on(team: Team) -> None:
    rest = Rest.admin(team)
    for characters, kept in ((8, 8), (0, 0), (2_000, None)):
        changed = rest.patch(f"/tenants/{team.slug}", {"preview_characters": characters})
        assert changed.body["preview_characters"] == characters
        preview = called(team, {"code": "ZRH"})["preview"]
        assert len(preview) == kept if kept is not None else "Zurich" in preview
    for wrong in (-1, 2_001, "many"):
        assert rest.patch(f"/tenants/{team.slug}", {"preview_characters": wrong}).status == 400
    record = rest.get(f"/tenants/{team.slug}/audit/records?kind=tenant.changed").body["results"][0]
    assert record["arguments"] == {
        "before": {"preview_characters": 0},
        "after": {"preview_characters": 2_000},
    }
    keys = Rest(team.key("audit:read"))
    assert keys.patch(f"/tenants/{team.slug}", {"preview_characters": 1}).status == 403
