"""Servers over REST."""

from __future__ import annotations

from typing import Any

import pytest

from tenants.roles import Role
from tenants.services.log import search_records
from tests.factories import Team, email_of, make_team
from tests.rest import Rest

DSN = "postgresql://reader:secret@db.example.com/airports"


@pytest.fixture
def team() -> Team:
    """A team with a data source called airports, that nothing connects to."""
    team = make_team()
    body = {"name": "airports", "kind": "postgres", "settings": {"dsn": DSN}}
    assert Rest.admin(team).post(f"/tenants/{team.slug}/data-sources", body).status == 201
    return team


def make_server(team: Team, **given: Any) -> Any:
    body = {"slug": "sales", "title": "Sales", "access": "private", "sources": ["airports"], **given}
    return Rest.admin(team).post(f"/tenants/{team.slug}/servers", body)


def test_every_team_has_a_default_server_at_its_bare_url(team: Team) -> None:
    server = Rest.admin(team).get(f"/tenants/{team.slug}/servers").body["results"][0]
    assert (server["slug"], server["offers_all"]) == ("default", True)
    assert server["mcp_url"].endswith(f"/mcp/{team.slug}")


def test_a_server_is_made_at_its_own_url(team: Team) -> None:
    made = make_server(team, instructions="Ask for codes.")
    assert made.status == 201
    assert made.body["mcp_url"].endswith(f"/mcp/{team.slug}/sales")
    assert (made.body["sources"], made.body["offers_all"]) == (["airports"], False)
    assert (made.body["access"], made.body["instructions"]) == ("private", "Ask for codes.")


def test_a_server_without_chosen_sources_offers_all(team: Team) -> None:
    body = {"slug": "all", "title": "All"}
    assert Rest.admin(team).post(f"/tenants/{team.slug}/servers", body).body["offers_all"] is True


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ({"slug": "Sales"}, "slug"),
        ({"slug": "-sales"}, "slug"),
        ({"slug": "x" * 41}, "slug"),
        ({"slug": "sse"}, "slug"),
        ({"title": ""}, "title"),
        ({"access": "secret"}, "access"),
        ({"sources": ["airports", "nowhere"]}, "sources.1"),
        ({"sources": "airports"}, "sources"),
        ({"instructions": "a\u0007b"}, "instructions"),
    ],
)
def test_a_server_that_cannot_be_is_refused_with_the_place(
    team: Team, given: dict[str, Any], path: str
) -> None:
    answer = make_server(team, **given)
    assert (answer.status, answer.paths) == (400, {path})


def test_a_taken_slug_is_a_conflict(team: Team) -> None:
    assert make_server(team, slug="default").status == 409


def test_a_server_is_changed_and_the_record_shows_both_states(team: Team) -> None:
    rest, server = Rest.admin(team), make_server(team).body
    path = f"/tenants/{team.slug}/servers/{server['id']}"
    changed = rest.patch(path, {"access": "public", "sources": [], "title": "Open"}).body
    assert (changed["access"], changed["sources"], changed["title"]) == ("public", [], "Open")
    arguments = rest.get(f"/tenants/{team.slug}/audit/records?kind=server.changed").body["results"][0][
        "arguments"
    ]
    assert (arguments["before"]["access"], arguments["after"]["access"]) == ("private", "public")
    assert rest.patch(path, {"offers_all": True}).body["offers_all"] is True
    assert rest.patch(path, {"offers_all": True, "sources": ["airports"]}).status == 400


def test_a_server_is_deleted_but_the_default_one_stays(team: Team) -> None:
    rest, server = Rest.admin(team), make_server(team).body
    assert rest.delete(f"/tenants/{team.slug}/servers/{server['id']}").status == 204
    default = rest.get(f"/tenants/{team.slug}/servers").body["results"][0]["id"]
    refused = rest.delete(f"/tenants/{team.slug}/servers/{default}")
    assert (refused.status, refused.body["code"]) == (409, "default_server")


def access_records(team: Team) -> list[tuple[str, str]]:
    found = search_records(caller=team.owner, limit=100).records
    return [
        (row.kind, row.server)
        for row in reversed(found)
        if row.kind in {"server.published", "server.unpublished"}
    ]


def test_opening_a_server_to_everybody_and_closing_it_have_records_of_their_own(team: Team) -> None:
    rest = Rest.admin(team)
    opened, closed = make_server(team, slug="open", access="public").body, make_server(team).body
    rest.patch(f"/tenants/{team.slug}/servers/{closed['id']}", {"access": "public"})
    rest.patch(f"/tenants/{team.slug}/servers/{closed['id']}", {"access": "public", "title": "Still"})
    rest.patch(f"/tenants/{team.slug}/servers/{opened['id']}", {"access": "private"})
    assert access_records(team) == [
        ("server.published", "open"),
        ("server.published", "sales"),
        ("server.unpublished", "open"),
    ]


@pytest.mark.parametrize("role", [Role.ADMIN, Role.EDITOR])
def test_only_an_owner_makes_a_server_public_yet_others_may_close_it(team: Team, role: Role) -> None:
    member = Rest(email=email_of(team.member(role)))
    made = member.post(f"/tenants/{team.slug}/servers", {"slug": "mine", "title": "Mine"}).body
    path = f"/tenants/{team.slug}/servers/{made['id']}"
    refusals = [
        member.patch(path, {"access": "public"}),
        member.post(f"/tenants/{team.slug}/servers", {"slug": "open", "title": "Open", "access": "public"}),
    ]
    for refused in refusals:
        assert (refused.status, refused.body["code"]) == (403, "role_missing")
        assert refused.body["data"]["rule"] == "role:servers.publish"
        assert "Roles that may: owner." in refused.body["detail"]
    assert access_records(team) == []
    Rest.admin(team).patch(path, {"access": "public"})
    assert member.patch(path, {"access": "public", "title": "New title"}).status == 200
    assert member.patch(path, {"access": "private"}).body["access"] == "private"
