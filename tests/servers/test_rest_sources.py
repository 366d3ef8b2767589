"""Data sources over REST, on real databases: stored sealed, tested in words, bringing their tools along."""

from __future__ import annotations

from urllib.parse import urlsplit

import orjson
import pytest

from core.crypto import SealError
from core.sealing import sealer
from servers.models import DataSource
from servers.services.source_checks import check_sources_of
from tenants.audit.records import decode
from tenants.models import AuditRecord
from tenants.roles import Role
from tenants.scoping import tenant_scope
from tests.factories import Team, email_of, make_database, make_team
from tests.rest import Rest

TABLE = (
    "CREATE TABLE airport (iata text PRIMARY KEY, name text); INSERT INTO airport VALUES ('ZRH', 'Zurich')"
)


@pytest.fixture(scope="module")
def dsn(database: None) -> str:
    return make_database(TABLE)


def password_of(dsn: str) -> str:
    return urlsplit(dsn).password or ""


def stored(team: Team, name: str) -> DataSource:
    with tenant_scope(team.tenant_id):
        return DataSource.objects.get(name=name)


def test_a_source_is_created_with_its_tools_and_shows_no_secret(team: Team, dsn: str) -> None:
    rest = Rest.admin(team)
    body = {"name": "airports", "kind": "postgres", "settings": {"dsn": dsn}}
    created = rest.post(f"/tenants/{team.slug}/data-sources", body)
    assert created.status == 201
    assert created.body["settings"]["database"] == urlsplit(dsn).path.lstrip("/")
    assert created.body["health"]["state"] == "unknown"
    tools = rest.get(f"/tenants/{team.slug}/tools").body["results"]
    assert {tool["name"] for tool in tools} >= {"query_database", "list_tables", "describe_table"}
    assert {(tool["source"], tool["version"], tool["enabled"]) for tool in tools} == {("airports", 1, True)}
    shown = str([created.body, tools, rest.get(f"/tenants/{team.slug}/audit/records").body])
    assert password_of(dsn) not in shown
    assert "airports" in shown


def test_stored_settings_are_sealed_and_open_in_their_own_row_only(team: Team, dsn: str) -> None:
    body = {"name": "airports", "kind": "postgres", "settings": {"dsn": dsn}}
    Rest.admin(team).post(f"/tenants/{team.slug}/data-sources", body)
    row = stored(team, "airports")
    assert password_of(dsn).encode() not in bytes(row.sealed)
    assert orjson.loads(sealer().open(bytes(row.sealed), context=row.seal_context))["dsn"] == dsn
    with pytest.raises(SealError):
        sealer().open(bytes(row.sealed), context=f"data-source:{make_team().tenant_id}:{row.id}")


def test_a_second_source_prefixes_its_tools(team: Team, dsn: str) -> None:
    rest = Rest.admin(team)
    for name in ("one", "two"):
        body = {"name": name, "kind": "postgres", "settings": {"dsn": dsn}}
        assert rest.post(f"/tenants/{team.slug}/data-sources", body).status == 201
    tools = rest.get(f"/tenants/{team.slug}/tools").body["results"]
    names = {tool["name"]: tool["source"] for tool in tools}
    assert (names["list_tables"], names["two_list_tables"]) == ("one", "two")
    assert stored(team, "two").tool_prefix == "two_"
    said = {tool["name"]: tool["description"] for tool in tools}
    # A model that reads the second source's tools is not sent to the first one's.
    assert "with list_tables and describe_table" in said["query_database"]
    assert "with two_list_tables and two_describe_table" in said["two_query_database"]


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ({"kind": "oracle"}, "kind"),
        ({"name": "my source"}, "name"),
        ({"name": ""}, "name"),
        ({"settings": {}}, "settings.dsn"),
        ({"settings": {"dsn": "mysql://h/d"}}, "settings.dsn"),
        ({"settings": {"dsn": "postgresql://u:p@h/d", "colour": "red"}}, "settings.colour"),
        ({"settings": "dsn"}, "settings"),
    ],
)
def test_a_source_that_cannot_be_is_refused_with_the_place(
    team: Team, given: dict[str, object], path: str
) -> None:
    body = {"name": "s", "kind": "postgres", "settings": {"dsn": "postgresql://u:p@h/d"}, **given}
    answer = Rest.admin(team).post(f"/tenants/{team.slug}/data-sources", body)
    assert answer.status == 400
    assert path in answer.paths


def test_an_unknown_kind_lists_the_known_ones(team: Team) -> None:
    body = {"name": "s", "kind": "oracle", "settings": {}}
    assert "postgres" in Rest.admin(team).post(f"/tenants/{team.slug}/data-sources", body).body["detail"]


def test_a_taken_name_is_a_conflict(team: Team, dsn: str) -> None:
    rest, body = Rest.admin(team), {"name": "airports", "kind": "postgres", "settings": {"dsn": dsn}}
    rest.post(f"/tenants/{team.slug}/data-sources", body)
    again = rest.post(f"/tenants/{team.slug}/data-sources", body)
    assert (again.status, again.body["code"]) == (409, "name_taken")


def test_a_test_says_healthy_and_the_source_remembers(team: Team, dsn: str) -> None:
    rest = Rest.admin(team)
    body = {"name": "airports", "kind": "postgres", "settings": {"dsn": dsn}}
    path = f"/tenants/{team.slug}/data-sources/{rest.post(f'/tenants/{team.slug}/data-sources', body).body['id']}"
    assert rest.post(f"{path}/test").body["state"] == "healthy"
    assert rest.get(path).body["health"]["state"] == "healthy"
    assert rest.get(path).body["health"]["checked_at"]


@pytest.mark.parametrize(
    ("wrong", "code"),
    [("password", "source_auth"), ("database", "source_missing"), ("port", "source_unreachable")],
)
def test_a_test_says_what_is_wrong_and_saves_nothing(team: Team, dsn: str, wrong: str, code: str) -> None:
    parts = urlsplit(dsn)
    assert parts.password
    if wrong == "password":
        settings = dsn.replace(f":{parts.password}@", ":not-the-password@")
    elif wrong == "database":
        settings = dsn.removesuffix(parts.path) + "/no_such_database"
    else:
        settings = dsn.replace(f":{parts.port}/", ":1/")
    rest = Rest.admin(team)
    answer = rest.post(
        f"/tenants/{team.slug}/data-sources/test", {"kind": "postgres", "settings": {"dsn": settings}}
    )
    assert answer.status == 200
    assert (answer.body["state"], answer.body["code"]) == ("unhealthy", code)
    assert answer.body["reason"]
    assert "not-the-password" not in str(answer.body)
    assert rest.get(f"/tenants/{team.slug}/data-sources").body["results"] == []
    record = rest.get(f"/tenants/{team.slug}/audit/records?kind=source.tried").body["results"][0]
    tried = record["arguments"]["after"]
    assert (tried["health"], tried["code"], tried["settings"]["host"]) == ("unhealthy", code, "127.0.0.1")
    assert record["request_id"] == answer.headers["X-Request-ID"]
    assert "not-the-password" not in str(record)
    assert parts.password not in str(record)


def test_new_settings_replace_the_old_whole_and_are_recorded_without_secrets(team: Team, dsn: str) -> None:
    rest = Rest.admin(team)
    body = {"name": "airports", "kind": "postgres", "settings": {"dsn": dsn, "row_limit": 10}}
    path = f"/tenants/{team.slug}/data-sources/{rest.post(f'/tenants/{team.slug}/data-sources', body).body['id']}"
    changed = rest.patch(path, {"settings": {"dsn": dsn}}).body
    assert (changed["version"], changed["settings"]["row_limit"]) == (2, 1000)
    assert rest.patch(path, {"settings": {"row_limit": 5}}).paths == {"settings.dsn"}
    renamed = rest.patch(path, {"name": "fields"}).body
    assert (renamed["name"], renamed["version"]) == ("fields", 2)
    with tenant_scope(team.tenant_id):
        bodies = [decode(bytes(row.body)) for row in AuditRecord.objects.filter(kind="source.changed")]
    assert bodies[-1]["arguments"]["before"]["settings"]["row_limit"] == 10
    assert password_of(dsn) not in str(bodies)


def test_a_source_in_use_stays_and_says_by_what(team: Team, dsn: str) -> None:
    rest = Rest.admin(team)
    body = {"name": "airports", "kind": "postgres", "settings": {"dsn": dsn}}
    path = f"/tenants/{team.slug}/data-sources/{rest.post(f'/tenants/{team.slug}/data-sources', body).body['id']}"
    server = rest.post(
        f"/tenants/{team.slug}/servers", {"slug": "s", "title": "S", "sources": ["airports"]}
    ).body
    refused = rest.delete(path)
    assert (refused.status, refused.body["data"]) == (409, {"servers": ["s"]})
    rest.delete(f"/tenants/{team.slug}/servers/{server['id']}")
    tool = rest.post(
        f"/tenants/{team.slug}/tools",
        {
            "name": "count",
            "source": "airports",
            "kind": "sql",
            "definition": {"sql": "SELECT count(*) FROM airport"},
        },
    ).body
    refused = rest.delete(path)
    assert (refused.status, refused.body["data"]) == (409, {"tools": ["count"]})
    rest.delete(f"/tenants/{team.slug}/tools/{tool['id']}")
    assert rest.delete(path).status == 204
    assert rest.get(path).status == 404
    assert rest.get(f"/tenants/{team.slug}/tools").body["results"] == []


def test_the_scheduled_check_stores_each_sources_health(team: Team, dsn: str) -> None:
    rest = Rest.admin(team)
    for name, settings in (
        ("good", dsn),
        ("bad", dsn.removesuffix(urlsplit(dsn).path) + "/no_such_database"),
    ):
        body = {"name": name, "kind": "postgres", "settings": {"dsn": settings}}
        assert rest.post(f"/tenants/{team.slug}/data-sources", body).status == 201
    assert check_sources_of(team.tenant_id) == 2
    assert (stored(team, "good").health, stored(team, "bad").health) == ("healthy", "unhealthy")
    assert stored(team, "bad").health_reason


def test_settings_that_no_longer_open_are_named_as_that(team: Team, dsn: str) -> None:
    rest = Rest.admin(team)
    body = {"name": "airports", "kind": "postgres", "settings": {"dsn": dsn}}
    created = rest.post(f"/tenants/{team.slug}/data-sources", body).body
    with tenant_scope(team.tenant_id):
        DataSource.objects.filter(pk=created["id"]).update(sealed=b"\x01damaged")
    answer = rest.post(f"/tenants/{team.slug}/data-sources/{created['id']}/test")
    assert (answer.status, answer.body["code"]) == (200, "source_sealed")
    assert rest.delete(f"/tenants/{team.slug}/data-sources/{created['id']}").status == 204


def test_a_viewer_reads_sources_and_changes_none(team: Team, dsn: str) -> None:
    viewer = Rest(email=email_of(team.member(Role.VIEWER)))
    assert viewer.get(f"/tenants/{team.slug}/data-sources").status == 200
    body = {"name": "airports", "kind": "postgres", "settings": {"dsn": dsn}}
    assert viewer.post(f"/tenants/{team.slug}/data-sources", body).status == 403
    tried = viewer.post(
        f"/tenants/{team.slug}/data-sources/test", {"kind": "postgres", "settings": {"dsn": dsn}}
    )
    assert tried.status == 403


def test_names_of_other_teams_do_not_collide(team: Team, dsn: str) -> None:
    body = {"name": "airports", "kind": "postgres", "settings": {"dsn": dsn}}
    for each in (team, make_team()):
        assert Rest.admin(each).post(f"/tenants/{each.slug}/data-sources", body).status == 201
