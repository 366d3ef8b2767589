"""An HTTP source and its tools in the dashboard: its form, its own requests, and definitions made of curl lines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client

from servers.services.sources import create_source, execution_source, list_sources
from servers.services.tools import list_tools
from tests.factories import Team, make_team
from tests.farside import FarSide, far_side, reply
from tests.frontend.visitor import client_of
from tests.rest import Rest

HTMX = {"HX-Request": "true"}
SECRET = "a-token-of-the-api"


@pytest.fixture
def api() -> Iterator[FarSide]:
    with far_side() as side:
        side.serve("/v1", reply(b"ok"))
        yield side


def fields(api: FarSide, **more: str) -> dict[str, str]:
    return {
        "kind": "http",
        "name": "sea",
        "setting-base_url": f"{api.origin}/v1",
        "setting-auth": '"bearer"',
        "setting-token": SECRET,
        "setting-endpoints": '[{"name": "tide", "path": "/tides/{station}"}]',
        **more,
    }


def test_source_is_tested_and_made_by_its_form_without_showing_the_token(
    client: Client, team: Team, api: FarSide
) -> None:
    tried = client.post(f"/app/{team.slug}/data-sources/try", fields(api), headers=HTMX).content.decode()
    assert "It answers" in tried
    for brought in ("list_endpoints", "batch_requests", "api://endpoints"):
        assert f">{brought}</code>" in tried
    made = client.post(f"/app/{team.slug}/data-sources/new", fields(api), follow=True).content.decode()
    assert "sea answers." in made
    assert SECRET not in tried + made
    [source] = list_sources(caller=team.owner)
    stored = execution_source(source).settings
    assert (stored["token"], stored["auth"], stored["allow_writes"]) == (SECRET, "bearer", False)
    assert stored["endpoints"] == [{"name": "tide", "path": "/tides/{station}"}]


def test_settings_say_for_which_choice_they_matter(client: Client, team: Team) -> None:
    page = client.get(f"/app/{team.slug}/data-sources/new?kind=http").content.decode()
    assert page.count('data-matters-for="setting-auth"') == 9
    assert 'data-matters-when="[&quot;bearer&quot;, &quot;api_key&quot;]"' in page


def test_faults_of_the_settings_stand_beside_their_fields(client: Client, team: Team, api: FarSide) -> None:
    wrong = fields(api, **{"setting-token": "", "setting-endpoints": '[{"name": "a", "path": "../b"}]'})
    answer = client.post(f"/app/{team.slug}/data-sources/new", wrong)
    assert answer.status_code == 400
    assert set(answer.context["form"].errors) == {"setting-token", "setting-endpoints"}
    assert "0.path" in str(answer.context["form"].errors["setting-endpoints"])


@pytest.fixture
def sea(team: Team, api: FarSide) -> Team:
    create_source("sea", "http", {"base_url": f"{api.origin}/v1"}, caller=team.owner)
    return team


def draft(client: Client, team: Team, line: str, **more: str) -> Any:
    given = {"kind": "http", "source": "sea", "definition": "{}", "pasted": line, **more}
    return client.post(f"/app/{team.slug}/tools/draft", given, headers=HTMX)


def test_curl_line_becomes_the_definition_and_the_tool_is_made_of_it(
    client: Client, sea: Team, api: FarSide
) -> None:
    page = client.get(f"/app/{sea.slug}/tools/new?kind=http").content.decode()
    assert "Begin from a curl line" in page
    line = f"curl '{api.origin}/v1/tides/7?unit=m' -H 'Authorization: Bearer {SECRET}'"
    answer = draft(client, sea, line)
    body = answer.content.decode()
    assert "The definition is made of it." in body
    assert "set in the data source" in body
    assert SECRET not in body
    definition = answer.context["form"].initial["definition"]
    assert json.loads(definition)["path"] == "/tides/{tide_id}"
    saved = {"kind": "http", "name": "tide", "source": "sea", "definition": definition}
    assert client.post(f"/app/{sea.slug}/tools/new", saved).status_code == 302
    assert "tide" in [tool.name for tool in list_tools(caller=sea.owner)]


def test_line_that_is_none_leaves_the_definition_with_the_reason(client: Client, sea: Team) -> None:
    for line, words in (
        ("", "must not be empty"),
        ("rm -rf /", "does not begin with curl"),
        ("curl https://elsewhere.example/v1/a", "is not below"),
    ):
        answer = draft(client, sea, line, definition='{"mine": 1}')
        assert words in answer.content.decode()
        assert answer.context["form"].initial["definition"] == '{"mine": 1}'
    assert "Choose a data source" in draft(client, sea, "curl x", source="other").content.decode()


def test_draft_by_rest_saves_nothing_and_is_not_for_others(sea: Team, api: FarSide) -> None:
    [source] = list_sources(caller=sea.owner)
    path = f"/tenants/{sea.slug}/data-sources/{source.id}/draft"
    before = len(list_tools(caller=sea.owner))
    asked = {"kind": "http", "text": f"curl -u a:{SECRET} {api.origin}/v1/a \\\n -d x=1"}
    answer = Rest.admin(sea).post(path, asked)
    assert answer.status == 200
    assert answer.body["definition"]["method"] == "POST"
    assert len(answer.body["notes"]) == 1
    assert SECRET not in str(answer.body)
    assert len(list_tools(caller=sea.owner)) == before
    assert not api.asked
    refused = Rest.admin(sea).post(path, {"kind": "http", "text": "curl"})
    assert (refused.status, refused.body["errors"][0]["path"]) == (400, "text")
    other = make_team()
    assert (
        Rest.admin(other).post(f"/tenants/{other.slug}/data-sources/{source.id}/draft", asked).status == 404
    )
    assert client_of(other).get(f"/app/{sea.slug}/tools/new?kind=http").status_code == 404


def test_kind_without_drafts_says_so(team: Team, api: FarSide) -> None:
    source = create_source("flows", "flows", {}, caller=team.owner)
    path = f"/tenants/{team.slug}/data-sources/{source.id}/draft"
    refused = Rest.admin(team).post(path, {"kind": "pipeline", "text": "curl x"})
    assert (refused.status, "Write its definition" in refused.body["detail"]) == (400, True)
