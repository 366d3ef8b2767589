"""The pages of a tool's versions: drafts, what differs, publishing, rolling back, and what servers offer otherwise."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from servers.models import Server, Tool
from servers.services.served_versions import list_served, serve_version
from servers.services.servers import list_servers
from servers.services.sources import create_source
from servers.services.tool_versions import list_versions
from servers.services.tools import change_tool, create_tool, get_tool, list_tools
from tenants.roles import Role
from tenants.services.keys import list_keys
from tests.factories import Team, make_database
from tests.frontend.visitor import client_of


@pytest.fixture
def tool(team: Team) -> Tool:
    """``one``, with the published versions 1 and 2, and the draft 3, on a real database."""
    create_source("db", "postgres", {"dsn": make_database("SELECT 1")}, caller=team.owner)
    made = create_tool("one", "db", "sql", {"sql": "SELECT 1 AS first"}, caller=team.owner)
    change_tool(made.id, definition={"sql": "SELECT 2 AS second"}, caller=team.owner)
    change_tool(made.id, definition={"sql": "SELECT 3 AS third"}, draft=True, caller=team.owner)
    return made


@pytest.fixture
def server(team: Team) -> Server:
    return list_servers(caller=team.owner)[0]


def base(team: Team, tool: Tool) -> str:
    return f"/app/{team.slug}/tools/{tool.id}"


def text(response: Any) -> str:
    return " ".join(response.content.decode().split())


def current(team: Team, tool: Tool) -> int:
    version = get_tool(tool.id, caller=team.owner).current
    assert version is not None
    return version.number


def test_versions_stand_on_the_tools_page_with_their_states(client: Client, team: Team, tool: Tool) -> None:
    page = text(client.get(f"{base(team, tool)}/"))
    assert "Roll back to version 1" in page
    for number in (1, 2, 3):
        assert f"{base(team, tool)}/versions/{number}/" in page
    assert 'badge-warn">draft' in page
    assert 'badge-accent">current' in page


def test_a_version_shows_what_differs_and_from_which(client: Client, team: Team, tool: Tool) -> None:
    page = text(client.get(f"{base(team, tool)}/versions/3/"))
    assert "What it does changed." in page
    assert 'line-old">- SELECT 2 AS second' in page.replace("-   SELECT", "- SELECT")
    assert 'line-new">+ SELECT 3 AS third' in page.replace("+   SELECT", "+ SELECT")
    assert "SELECT 1 AS first" in text(client.get(f"{base(team, tool)}/versions/3/?against=1"))
    for odd in ("9", "x", "3", "9" * 40):
        assert client.get(f"{base(team, tool)}/versions/3/?against={odd}").status_code == 200
    assert client.get(f"{base(team, tool)}/versions/9/").status_code == 404


def test_the_only_version_is_compared_with_none(client: Client, team: Team) -> None:
    create_source("db", "postgres", {"dsn": make_database("SELECT 1")}, caller=team.owner)
    only = create_tool("only", "db", "sql", {"sql": "SELECT 1"}, caller=team.owner)
    page = client.get(f"{base(team, only)}/versions/1/")
    assert (page.status_code, "What differs" in text(page)) == (200, False)


def test_a_draft_is_tried_then_published_then_rolled_back(client: Client, team: Team, tool: Tool) -> None:
    tried = client.post(f"{base(team, tool)}/try", {"arguments": "{}", "version": "3", "server": "default"})
    assert "third" in text(tried)
    assert "second" in text(client.post(f"{base(team, tool)}/try", {"arguments": "{}"}))
    done = client.post(f"{base(team, tool)}/versions/3/publish", follow=True)
    assert "one is at version 3" in text(done)
    done = client.post(f"{base(team, tool)}/rollback", {"to": "1"}, follow=True)
    assert "back at version 1" in text(done)
    assert current(team, tool) == 1
    assert "nothing to roll back to" in text(client.post(f"{base(team, tool)}/rollback", follow=True))


def test_a_draft_is_discarded_and_says_so_when_it_is_published(
    client: Client, team: Team, tool: Tool
) -> None:
    assert "is discarded" in text(client.post(f"{base(team, tool)}/versions/3/discard", follow=True))
    assert "was discarded" in text(client.post(f"{base(team, tool)}/versions/3/publish", follow=True))
    assert "Publish" not in text(client.get(f"{base(team, tool)}/versions/3/"))


def test_the_editor_saves_drafts_and_goes_on_from_them(client: Client, team: Team, tool: Tool) -> None:
    page = client.get(f"{base(team, tool)}/edit?version=3")
    assert "SELECT 3 AS third" in text(page)
    assert "Save and publish version 4" in text(page)
    fields = {"title": "", "description": "", "sql": "SELECT 4 AS fourth", "based_on": "3", "draft": "1"}
    saved = client.post(f"{base(team, tool)}/edit", fields)
    assert saved.headers["Location"] == f"{base(team, tool)}/versions/4/"
    assert current(team, tool) == 2
    client.post(f"{base(team, tool)}/edit", {**fields, "based_on": "4", "sql": "SELECT 5", "draft": ""})
    assert current(team, tool) == 5
    stale = client.post(f"{base(team, tool)}/edit", {**fields, "sql": "SELECT 6"})
    assert (stale.status_code, "version 5 now" in text(stale)) == (400, True)


def test_a_new_tool_can_begin_as_a_draft(client: Client, team: Team, tool: Tool) -> None:
    fields = {"name": "fresh", "source": "db", "sql": "SELECT 7 AS seventh", "draft": "1"}
    made = client.post(f"/app/{team.slug}/tools/new", fields, follow=True)
    assert "kept as a draft" in text(made)
    fresh = next(each for each in list_tools(caller=team.owner) if each.name == "fresh")
    assert [str(each.state) for each in list_versions(fresh.id, caller=team.owner)] == ["draft"]
    page = text(client.get(f"{base(team, fresh)}/"))
    assert "draft: not offered" in page
    assert "Try version 1" in page
    assert "draft" in text(client.get(f"/app/{team.slug}/tools/"))


def test_a_server_is_told_which_version_it_offers(
    client: Client, team: Team, tool: Tool, server: Server
) -> None:
    form = f"{base(team, tool)}/serve"
    assert "Pinned" in text(client.get(form))
    done = client.post(
        form, {"server": str(server.pk), "version": "1", "use": "pin", "share": "5"}, follow=True
    )
    assert "Version 1 is offered on default" in text(done)
    assert "pinned to version 1" in text(done)
    beside = client.post(form, {"server": str(server.pk), "version": "1", "use": "beside"}, follow=True)
    assert "one_v1" in text(beside)
    page = text(client.get(f"/app/{team.slug}/servers/{server.pk}/"))
    assert "pinned to version 1" in page
    assert "one_v1" in page
    served = list_served(server.pk, caller=team.owner)
    for each in served:
        client.post(f"{base(team, tool)}/served/{each.pk}/end")
    assert list_served(server.pk, caller=team.owner) == []
    assert client.post(f"{base(team, tool)}/served/{served[0].pk}/end").status_code == 404


def test_a_canary_names_keys_where_its_maker_may_see_them(
    client: Client, team: Team, tool: Tool, server: Server
) -> None:
    team.key("tools:read", name="pilot")
    key = str(list_keys(caller=team.owner)[0].pk)
    form = f"{base(team, tool)}/serve"
    assert "key: pilot" in text(client.get(form))
    fields = {"server": str(server.pk), "version": "3", "use": "canary", "credentials": [key], "share": "10"}
    assert "10 % and 1 credential" in text(client.post(form, fields, follow=True))
    editor = client_of(team, Role.EDITOR)
    assert "key: pilot" not in text(editor.get(form))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"version": "3", "use": "pin"}, "is a draft"),
        ({"version": "3", "use": "canary"}, "is needed, or credentials are"),
        ({"version": "3", "use": "canary", "share": "0"}, "greater than or equal to 1"),
        ({"version": "3", "use": "canary", "share": "101"}, "less than or equal to 100"),
        ({"version": "9", "use": "pin"}, "Select a valid choice"),
        ({"version": "1", "use": "prefer"}, "Select a valid choice"),
        ({"version": "1", "use": "pin", "server": "00000000-0000-4000-8000-000000000000"}, "valid choice"),
    ],
)
def test_what_cannot_be_offered_is_said_beside_its_field(
    client: Client, team: Team, tool: Tool, server: Server, given: dict[str, str], words: str
) -> None:
    answer = client.post(f"{base(team, tool)}/serve", {"server": str(server.pk), **given})
    assert (
        answer.status_code,
        words in text(answer).replace("Is a draft", "is a draft").replace("Is needed", "is needed"),
    ) == (400, True), text(answer)


def test_a_tool_that_a_server_is_bound_to_is_not_deleted(
    client: Client, team: Team, tool: Tool, server: Server
) -> None:
    serve_version(server.pk, "one", 1, "pin", caller=team.owner)
    answer = client.post(f"{base(team, tool)}/delete", {"confirm": "one"}, follow=True)
    assert "End that first" in text(answer)
    assert get_tool(tool.id, caller=team.owner).name == "one"


def test_viewers_see_versions_and_change_none(team: Team, tool: Tool) -> None:
    viewer = client_of(team, Role.VIEWER)
    page = text(viewer.get(f"{base(team, tool)}/versions/3/"))
    assert "Publish" not in page
    assert "Roll back" not in text(viewer.get(f"{base(team, tool)}/"))
    for path in ("versions/3/publish", "versions/3/discard", "rollback", "serve"):
        assert viewer.post(f"{base(team, tool)}/{path}").status_code == 403
    assert current(team, tool) == 2
