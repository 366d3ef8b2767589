"""Upstream MCP servers in the dashboard: shown before they are saved, what is hidden marked, what is left out named."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.test import Client

from servers.services.served_versions import serve_version
from servers.services.servers import list_servers
from servers.services.sources import create_source, list_sources
from servers.services.tools import list_tools
from tenants.roles import Role
from tests.factories import Team
from tests.farside import far_side
from tests.frontend.visitor import client_of, confirming
from tests.servers.changing import Changing, tool


@pytest.fixture
def changing() -> Iterator[Changing]:
    with far_side() as side:
        yield Changing(side)


def test_the_form_shows_what_a_server_would_bring_and_saves_nothing(
    client: Client, team: Team, changing: Changing
) -> None:
    changing.tools = [tool("look", "Look \u202e<b>around</b>."), tool("no good", "")]
    form = {"kind": "mcp", "name": "far", "setting-url": changing.url}
    body = client.post(f"/app/{team.slug}/data-sources/try", form).content.decode()
    assert "Look [U+202E]&lt;b&gt;around&lt;/b&gt;." in body
    assert "What it does not bring" in body
    assert "no good" in body
    assert list_sources(caller=team.owner) == []


def test_the_form_names_the_fault_of_an_address_at_its_field(
    client: Client, team: Team, changing: Changing
) -> None:
    form = {"kind": "mcp", "name": "far", "setting-url": f"{changing.side.origin}/nothing"}
    answer = client.post(f"/app/{team.slug}/data-sources/new?kind=mcp", form)
    assert "There is no MCP endpoint" in str(answer.context["form"].errors["setting-url"])


def test_a_source_shows_its_server_and_no_secret(client: Client, team: Team, changing: Changing) -> None:
    changing.tools.append(tool("no good", ""))
    form = {
        "kind": "mcp",
        "name": "far",
        "setting-url": changing.url,
        "setting-headers": '{"X-Key": "s3cret-key"}',
    }
    answer = client.post(f"/app/{team.slug}/data-sources/new?kind=mcp", form, follow=True)
    body = answer.content.decode()
    assert "changing 1, MCP 2025-11-25" in body
    assert "no good" in body
    assert "s3cret" not in body


def test_what_changed_is_shown_before_it_is_taken_over(
    client: Client, team: Team, changing: Changing
) -> None:
    source = create_source("far", "mcp", {"url": changing.url}, caller=team.owner)
    changing.tools = [tool("look", "Look elsewhere."), tool("leap", "Leap.")]
    url = f"/app/{team.slug}/data-sources/{source.id}/refresh"
    shown = client.post(url)
    assert "The description changed." in shown.content.decode()
    assert [each.name for each in list_tools(caller=team.owner)] == ["look"]
    client.post(url, confirming(shown))
    assert [each.name for each in list_tools(caller=team.owner)] == ["leap", "look"]


def test_what_was_not_shown_is_not_taken_over_but_shown(
    client: Client, team: Team, changing: Changing
) -> None:
    source = create_source("far", "mcp", {"url": changing.url}, caller=team.owner)
    serve_version(list_servers(caller=team.owner)[0].pk, "look", 1, "pin", caller=team.owner)
    changing.tools = [tool("look", "Look around."), tool("leap", "Leap.")]
    url = f"/app/{team.slug}/data-sources/{source.id}/refresh"
    harmless = client.post(url)
    changing.tools = [tool("loot", "Take all.")]
    for forged in (confirming(harmless), {"fingerprint": ""}, {"fingerprint": "yes"}):
        again = client.post(url, forged)
        body = again.content.decode()
        assert again.status_code == 409
        assert "Nothing was changed. The differences are others by now" in body
        assert "loot is new." in body
        assert "The server default has version 1 pinned: that ends." in body
        assert [each.name for each in list_tools(caller=team.owner)] == ["look"]
    client.post(url, confirming(again))
    assert [each.name for each in list_tools(caller=team.owner)] == ["loot"]


def test_what_came_back_by_the_time_it_is_confirmed_changes_nothing(
    client: Client, team: Team, changing: Changing
) -> None:
    source = create_source("far", "mcp", {"url": changing.url}, caller=team.owner)
    changing.tools = [tool("leap", "Leap.")]
    url = f"/app/{team.slug}/data-sources/{source.id}/refresh"
    shown = client.post(url)
    changing.tools = [tool("look", "Look around.")]
    answer = client.post(url, confirming(shown), follow=True)
    [words] = [str(each) for each in answer.context["messages"]]
    assert words.startswith("Nothing was changed. The differences are others by now")


def test_what_is_in_quarantine_is_shown_with_why_and_who_decides(
    client: Client, team: Team, changing: Changing
) -> None:
    source = create_source("far", "mcp", {"url": changing.url}, caller=team.owner)
    (look,) = list_tools(caller=team.owner)
    page, tool_page = (
        f"/app/{team.slug}/{rest}/" for rest in (f"data-sources/{source.id}", f"tools/{look.id}")
    )
    assert "In quarantine" not in client.get(page).content.decode()
    changing.tools = [tool("look", "Look elsewhere.")]
    client.post(f"{page}test")
    body = client.get(page).content.decode()
    for words in (
        "In quarantine",
        "otherwise than when the team took it over",
        "Look at what changed",
        "Since",
    ):
        assert words in body
    assert "Calls are refused." in client.get(tool_page).content.decode()
    editor = client_of(team, Role.EDITOR)
    body = editor.get(page).content.decode()
    assert "An owner or admin decides what becomes of it." in body
    assert "Look at what changed" not in body
    shown = editor.post(f"{page}refresh")
    assert "The description changed." in shown.content.decode()
    assert editor.post(f"{page}refresh", confirming(shown)).status_code == 403
    client.post(f"{page}refresh", confirming(client.post(f"{page}refresh")))
    assert "In quarantine" not in client.get(page).content.decode()
