"""Servers over REST."""

from __future__ import annotations

from typing import Any

import pytest

from tests.factories import Team, make_team
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
