"""Data sources that need no settings: added by one click, by those who may change data sources."""

from __future__ import annotations

from django.test import Client

from servers.services.sources import create_source, list_sources
from servers.services.tools import list_tools
from tenants.roles import Role
from tests.factories import Team
from tests.frontend.visitor import client_of

BUTTON = "Add Data toolkit"


def page(client: Client, team: Team) -> str:
    return client.get(f"/app/{team.slug}/data-sources/").content.decode()


def test_a_new_team_gets_the_toolkit_by_one_click(team: Team) -> None:
    client = client_of(team)
    assert BUTTON in page(client, team)
    answer = client.post(f"/app/{team.slug}/data-sources/add", {"kind": "toolkit"}, follow=True)
    assert "toolkit answers." in answer.content.decode()
    (source,) = list_sources(caller=team.owner)
    assert (source.name, source.kind, source.health) == ("toolkit", "toolkit", "healthy")
    assert {tool.name for tool in list_tools(caller=team.owner)} >= {"calculate", "parse_csv"}
    assert BUTTON not in page(client, team)


def test_the_form_for_it_asks_for_a_name_alone(team: Team) -> None:
    client = client_of(team)
    shown = client.get(f"/app/{team.slug}/data-sources/new?kind=toolkit").content.decode()
    assert 'name="name"' in shown
    assert "setting-" not in shown
    data = {"kind": "toolkit", "name": "sums"}
    assert client.post(f"/app/{team.slug}/data-sources/new", data).status_code == 302
    (source,) = list_sources(caller=team.owner)
    assert client.get(f"/app/{team.slug}/data-sources/{source.id}/").status_code == 200


def test_a_taken_name_is_told(team: Team) -> None:
    create_source("toolkit", "postgres", {"dsn": "postgresql://u:p@db.example.com/d"}, caller=team.owner)
    answer = client_of(team).post(f"/app/{team.slug}/data-sources/add", {"kind": "toolkit"}, follow=True)
    assert "Nothing was added. A data source called toolkit exists already" in answer.content.decode()


def test_a_kind_with_settings_leads_to_its_form(team: Team) -> None:
    answer = client_of(team).post(f"/app/{team.slug}/data-sources/add", {"kind": "postgres"})
    assert answer["Location"].endswith("/data-sources/new?kind=postgres")
    assert list_sources(caller=team.owner) == []


def test_a_viewer_is_offered_nothing_and_adds_nothing(team: Team) -> None:
    client = client_of(team, Role.VIEWER)
    assert BUTTON not in page(client, team)
    assert client.post(f"/app/{team.slug}/data-sources/add", {"kind": "toolkit"}).status_code == 403
    assert list_sources(caller=team.owner) == []
