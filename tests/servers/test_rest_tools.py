"""Tools over REST: made, versioned, switched off, and called through the one decision path."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import DatabaseError

from servers.models import ToolVersion
from tenants.scoping import tenant_scope
from tests.factories import Team, make_database, make_team
from tests.rest import Rest

TABLE = (
    "CREATE TABLE airport (iata text PRIMARY KEY, name text); INSERT INTO airport VALUES ('ZRH', 'Zurich')"
)
FIND = {
    "sql": "SELECT name FROM airport WHERE iata = :code",
    "parameters": {"code": {"type": "string", "description": "IATA code", "required": True}},
}


@pytest.fixture(scope="module")
def dsn(database: None) -> str:
    return make_database(TABLE)


@pytest.fixture
def team(dsn: str) -> Team:
    """A team with a data source called airports."""
    team = make_team()
    body = {"name": "airports", "kind": "postgres", "settings": {"dsn": dsn}}
    assert Rest.admin(team).post(f"/tenants/{team.slug}/data-sources", body).status == 201
    return team


def make_tool(team: Team, **given: Any) -> Any:
    body = {"name": "find_airport", "source": "airports", "kind": "sql", "definition": FIND, **given}
    return Rest.admin(team).post(f"/tenants/{team.slug}/tools", body)


def test_a_tool_is_made_with_a_schema_of_its_parameters(team: Team) -> None:
    made = make_tool(team, title="Find an airport", description="By code.\nOne row.")
    assert made.status == 201
    assert made.body["input_schema"]["required"] == ["code"]
    assert (made.body["title"], made.body["description"]) == ("Find an airport", "By code.\nOne row.")
    assert (made.body["version"], made.body["definition"]) == (1, FIND)


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ({"name": "find airport"}, "name"),
        ({"name": "x" * 65}, "name"),
        ({"source": "nowhere"}, "source"),
        ({"kind": "python"}, "kind"),
        ({"definition": {}}, "definition.sql"),
        ({"definition": {"sql": "SELECT 1; SELECT 2"}}, "definition.sql"),
        ({"definition": {"sql": "DELETE FROM airport"}}, "definition.sql"),
        ({"definition": {"sql": f"SELECT '{'x' * 140_000}'"}}, "definition"),
        ({"definition": {"sql": "SELECT :a"}}, "definition.parameters.a"),
        ({"definition": 5}, "definition"),
        ({"title": "a\u202eb"}, "title"),
        ({"description": "x" * 9_000}, "description"),
    ],
)
def test_a_tool_that_cannot_be_is_refused_with_the_place(
    team: Team, given: dict[str, Any], path: str
) -> None:
    answer = make_tool(team, **given)
    assert answer.status == 400
    assert path in answer.paths


def test_an_unknown_source_lists_this_teams_own(team: Team) -> None:
    assert "airports" in make_tool(team, source="nowhere").body["detail"]


def test_a_taken_name_is_a_conflict(team: Team) -> None:
    assert make_tool(team, name="list_tables").status == 409


def test_a_change_makes_a_version_and_no_difference_makes_none(team: Team) -> None:
    rest, tool = Rest.admin(team), make_tool(team).body
    path = f"/tenants/{team.slug}/tools/{tool['id']}"
    definition = {**FIND, "sql": "SELECT iata, name FROM airport WHERE iata = :code"}
    assert rest.patch(path, {"definition": definition, "based_on": 1}).body["version"] == 2
    assert rest.patch(path, {"definition": definition}).body["version"] == 2
    assert rest.patch(path, {"title": "Airports"}).body["version"] == 3
    stale = rest.patch(path, {"title": "Fields", "based_on": 1})
    assert (stale.status, stale.body["code"]) == (409, "version_moved")
    versions = rest.get(f"{path}/versions").body["results"]
    assert [version["number"] for version in versions] == [3, 2, 1]
    assert versions[-1]["definition"] == FIND


def test_a_version_never_changes_not_even_in_the_database(team: Team) -> None:
    tool = make_tool(team).body
    with pytest.raises(DatabaseError, match="immutable"), tenant_scope(team.tenant_id):
        ToolVersion.objects.filter(tool=tool["id"]).update(title="changed")


def test_a_tool_is_switched_off_and_on(team: Team) -> None:
    rest, tool = Rest.admin(team), make_tool(team).body
    path = f"/tenants/{team.slug}/tools/{tool['id']}"
    assert rest.post(f"{path}/disable").body["enabled"] is False
    assert rest.post(f"{path}/call", {"arguments": {"code": "ZRH"}}).status in (403, 404)
    assert rest.post(f"{path}/enable").body["enabled"] is True
    assert rest.patch(path, {"enabled": False}).body["enabled"] is False


def test_a_tool_is_deleted_and_the_log_keeps_what_it_was(team: Team) -> None:
    rest, tool = Rest.admin(team), make_tool(team).body
    assert rest.delete(f"/tenants/{team.slug}/tools/{tool['id']}").status == 204
    assert rest.get(f"/tenants/{team.slug}/tools/{tool['id']}").status == 404
    record = rest.get(f"/tenants/{team.slug}/audit/records?kind=tool.deleted").body["results"][0]
    assert record["arguments"]["before"]["definition"] == FIND


def test_a_call_gives_real_rows_and_its_record(team: Team) -> None:
    rest, tool = Rest.admin(team), make_tool(team).body
    called = rest.post(f"/tenants/{team.slug}/tools/{tool['id']}/call", {"arguments": {"code": "ZRH"}})
    assert (called.status, called.body["outcome"], called.body["rows"]) == (200, "ok", 1)
    assert "Zurich" in str(called.body["structured"])
    record = rest.get(f"/tenants/{team.slug}/audit/records/{called.body['seq']}").body
    assert (record["tool"], record["arguments"], record["rows"]) == ("find_airport", {"code": "ZRH"}, 1)
    assert record["request_id"] == called.headers["X-Request-ID"]


def test_a_call_whose_arguments_do_not_fit_is_a_400_and_recorded(team: Team) -> None:
    rest, tool = Rest.admin(team), make_tool(team).body
    called = rest.post(f"/tenants/{team.slug}/tools/{tool['id']}/call", {"arguments": {"code": 5}})
    assert called.status == 400
    assert any("code" in path for path in called.paths)
    assert (
        rest.get(f"/tenants/{team.slug}/audit/records?outcome=invalid").body["results"][0]["tool"]
        == "find_airport"
    )


def test_a_call_of_a_tool_that_fails_is_an_answer_not_an_error_of_the_api(team: Team) -> None:
    rest = Rest.admin(team)
    tools = {tool["name"]: tool["id"] for tool in rest.get(f"/tenants/{team.slug}/tools").body["results"]}
    sql = {"arguments": {"query": "SELECT nonsense FROM airport"}}
    called = rest.post(f"/tenants/{team.slug}/tools/{tools['query_database']}/call", sql)
    assert (called.status, called.body["outcome"]) == (200, "error")
    assert called.body["error"]["code"] == "query_invalid"


def test_a_call_without_the_scope_is_refused_and_recorded_once(team: Team) -> None:
    tool = make_tool(team).body
    refused = Rest(team.key("tools:read")).post(
        f"/tenants/{team.slug}/tools/{tool['id']}/call", {"arguments": {"code": "ZRH"}}
    )
    assert (refused.status, refused.body["code"]) == (403, "insufficient_scope")
    records = Rest.admin(team).get(f"/tenants/{team.slug}/audit/records?outcome=refused").body["results"]
    assert [record["tool"] for record in records] == ["find_airport"]


def test_a_narrowed_key_sees_its_tools_only(team: Team) -> None:
    tool = make_tool(team).body
    rest = Rest(team.key("tools:read", "tool:list_tables"))
    assert [row["name"] for row in rest.get(f"/tenants/{team.slug}/tools").body["results"]] == ["list_tables"]
    assert rest.get(f"/tenants/{team.slug}/tools/{tool['id']}").status == 404


def test_a_call_at_a_server_that_is_not_there_is_recorded_with_what_was_asked(team: Team) -> None:
    rest, tool = Rest.admin(team), make_tool(team).body
    asked = {"arguments": {"code": "ZRH", "password": "hunter2"}, "server": "nowhere"}
    answer = rest.post(f"/tenants/{team.slug}/tools/{tool['id']}/call", asked)
    assert (answer.status, answer.body["code"]) == (404, "server_not_found")
    record = rest.get(f"/tenants/{team.slug}/audit/records?kind=tools/call").body["results"][0]
    assert (record["outcome"], record["server"], record["tool"]) == ("invalid", "nowhere", "find_airport")
    assert record["reason"]["code"] == "server_not_found"
    assert record["request_id"] == answer.headers["X-Request-ID"]
    assert record["arguments"]["code"] == "ZRH"
    assert "hunter2" not in str(record)


def test_a_key_learns_of_no_server_but_those_it_is_narrowed_to(team: Team) -> None:
    admin, tool = Rest.admin(team), make_tool(team).body
    for slug in ("mine", "real"):
        admin.post(f"/tenants/{team.slug}/servers", {"slug": slug, "title": slug})
    rest = Rest(team.key("tools:read", "tools:execute", "server:mine"))
    path = f"/tenants/{team.slug}/tools/{tool['id']}/call"
    answers = [rest.post(path, {"arguments": {}, "server": slug}) for slug in ("real", "none")]
    assert [answer.status for answer in answers] == [403, 403]
    named = [str({**answer.body, "request_id": ""}).replace("none", "real") for answer in answers]
    assert named[0] == named[1]
    assert 'scope="server:real"' in answers[0].headers["WWW-Authenticate"]
    refused = admin.get(f"/tenants/{team.slug}/audit/records?outcome=refused").body["results"]
    assert [record["server"] for record in refused] == ["none", "real"]


def test_a_draft_is_published_compared_and_rolled_back(team: Team) -> None:
    rest, tool = Rest.admin(team), make_tool(team).body
    path = f"/tenants/{team.slug}/tools/{tool['id']}"
    definition = {**FIND, "sql": "SELECT iata, name FROM airport WHERE iata = :code"}
    assert rest.patch(path, {"definition": definition, "draft": True}).body["version"] == 1
    versions = rest.get(f"{path}/versions").body["results"]
    assert [(each["number"], each["state"]) for each in versions] == [(2, "draft"), (1, "published")]
    assert rest.get(f"{path}/versions/2").body["definition"] == definition
    compared = rest.get(f"{path}/versions/2/against/1").body
    assert (compared["words"], compared["breaking"]) == (["What it does changed."], False)
    assert {"sign": "-", "text": "  SELECT name FROM airport WHERE iata = :code"} in compared["lines"]
    assert rest.post(f"{path}/versions/2/publish").body["version"] == 2
    assert rest.post(f"{path}/rollback").body["version"] == 1
    assert rest.get(f"{path}/versions/2").body["state"] == "withdrawn"
    assert rest.post(f"{path}/versions/2/publish").body["version"] == 2
    assert rest.post(f"{path}/rollback", {"to": 1}).body["version"] == 1


def test_a_tool_that_is_a_draft_says_so_and_is_discarded_by_deleting_it(team: Team) -> None:
    rest, tool = Rest.admin(team), make_tool(team, draft=True).body
    path = f"/tenants/{team.slug}/tools/{tool['id']}"
    assert (tool["state"], tool["version"]) == ("draft", 1)
    assert rest.delete(f"{path}/versions/1").body["code"] == "version_only"
    assert rest.patch(path, {"title": "Find", "draft": True}).body["version"] == 2
    assert rest.delete(f"{path}/versions/1").body["state"] == "discarded"
    assert rest.post(f"{path}/call", {"arguments": {"code": "ZRH"}}).status == 404
    assert rest.post(f"{path}/versions/2/publish").body["state"] == "published"
    assert rest.post(f"{path}/call", {"arguments": {"code": "ZRH"}}).body["outcome"] == "ok"


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("get", "versions/9", None, 404, "version_not_found"),
        ("get", "versions/x", None, 404, "version_not_found"),
        ("get", "versions/99999999999999999999", None, 404, "version_not_found"),
        ("get", "versions/1/against/9", None, 404, "version_not_found"),
        ("post", "versions/9/publish", None, 404, "version_not_found"),
        ("post", "rollback", {}, 409, "nothing_before"),
        ("post", "rollback", {"to": 1}, 409, "version_not_before"),
        ("post", "rollback", {"to": 9_999_999_999}, 404, "version_not_found"),
        ("post", "rollback", {"to": "one"}, 400, "invalid_input"),
        ("post", "rollback", {"version": 1}, 400, "invalid_input"),
        ("delete", "versions/1", None, 409, "version_no_draft"),
    ],
)
def test_what_a_version_cannot_is_refused_with_the_reason(
    team: Team, method: str, path: str, body: Any, status: int, code: str
) -> None:
    tool = make_tool(team).body
    answer = Rest.admin(team).call(method, f"/tenants/{team.slug}/tools/{tool['id']}/{path}", body)
    assert (answer.status, answer.body["code"]) == (status, code)
