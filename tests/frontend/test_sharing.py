"""How a tool's calls share results, on its page: shown to who reads, set and cleared by who may change tools."""

from __future__ import annotations

import re

import pytest
from django.test import Client

from core.loop import run_async
from servers.models import Tool
from servers.services.runtime import get_runtime
from servers.services.sources import create_source
from servers.services.tools import list_tools
from tenants.roles import Role
from tenants.scoping import tenant_scope
from tenants.services.log import search_records
from tests.factories import Team, make_database, make_team
from tests.frontend.visitor import client_of

HTMX = {"HX-Request": "true"}


@pytest.fixture
def based(team: Team) -> Team:
    settings = {"dsn": make_database("SELECT 1"), "allow_writes": True}
    create_source("db", "postgres", settings, caller=team.owner)
    return team


def url_of(team: Team, name: str, rest: str = "") -> str:
    tool = next(each for each in list_tools(caller=team.owner) if each.name == name)
    return f"/app/{team.slug}/tools/{tool.pk}/{rest}"


def words_of(client: Client, url: str) -> str:
    page = client.get(url).content.decode()
    panel = page.partition('aria-labelledby="sharing-title"')[2].partition("</section>")[0]
    return " ".join(re.sub(r"<[^>]+>", " ", panel).split())


def seconds_of(team: Team, name: str) -> tuple[int, bool]:
    with tenant_scope(team.tenant_id):
        tool = Tool.objects.get(name=name)
        return tool.cache_seconds, tool.collapses


def test_the_page_shows_what_is_kept_and_how_often_it_was_given(client: Client, based: Team) -> None:
    url = url_of(based, "query_database")
    assert "Not kept. Made at once The same call runs once" in words_of(client, url)
    assert "No call in 7 days." in words_of(client, url)
    saved = client.post(url_of(based, "query_database", "cache"), {"seconds": "600", "collapses": "on"})
    assert saved.status_code == 302
    for _ in range(4):
        tried = client.post(
            url_of(based, "query_database", "try"), {"arguments": '{"query": "SELECT 1"}'}, headers=HTMX
        )
    assert "from the cache" in tried.content.decode()
    run_async(get_runtime().counter.flush())
    words = words_of(client, url)
    assert "Kept for 600 seconds, and given to the same call." in words
    assert "75 % of 4 calls in 7 days: 3 from the cache, 0 given another call's run, 1 run" in words
    last = search_records(caller=based.owner, kind="tools/call").records[0]
    record = client.get(f"/app/{based.slug}/log/{last.seq}").content.decode()
    assert "the cache: this call did not run" in record


def test_clearing_makes_the_next_call_run(client: Client, based: Team) -> None:
    client.post(url_of(based, "query_database", "cache"), {"seconds": "600", "collapses": "on"})
    attempt = {"arguments": '{"query": "SELECT random() AS n"}'}

    def tried() -> float:
        shown = client.post(url_of(based, "query_database", "try"), attempt, headers=HTMX)
        return float(shown.context["result"].structured["rows"][0]["n"])

    first = tried()
    assert tried() == first
    page = client.post(url_of(based, "query_database", "cache/clear"), follow=True).content.decode()
    assert "The cache is cleared." in page
    assert tried() != first


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"seconds": "-1"}, "greater than or equal to 0"),
        ({"seconds": "315360000"}, "less than or equal to 86400"),
        ({"seconds": "soon"}, "Enter a whole number"),
        ({}, "required"),
    ],
)
def test_what_cannot_be_set_is_said_beside_the_field(
    client: Client, based: Team, given: dict[str, str], words: str
) -> None:
    answer = client.post(url_of(based, "query_database", "cache"), given)
    assert answer.status_code == 400
    assert words in answer.content.decode()
    assert seconds_of(based, "query_database") == (0, True)


def test_a_tool_that_may_write_has_no_form_and_says_why(client: Client, based: Team) -> None:
    url = url_of(based, "execute_transaction")
    words = words_of(client, url)
    assert "Not kept. The tool may change something" in words
    assert "Save" not in words
    answer = client.post(url_of(based, "execute_transaction", "cache"), {"seconds": "60"})
    assert answer.status_code == 400
    assert seconds_of(based, "execute_transaction") == (0, True)


def test_a_box_that_is_not_there_changes_nothing(client: Client, based: Team) -> None:
    create_source("kit", "toolkit", {}, caller=based.owner)
    assert "waits for nothing" in words_of(client, url_of(based, "calculate"))
    assert client.post(url_of(based, "calculate", "cache"), {"seconds": "60"}).status_code == 302
    assert seconds_of(based, "calculate") == (60, True)
    # Where it is there, it is off when it is not ticked.
    client.post(url_of(based, "query_database", "cache"), {"seconds": "0"})
    assert seconds_of(based, "query_database") == (0, False)
    assert "that is what this team set" in words_of(client, url_of(based, "query_database"))


def test_who_only_reads_sees_it_and_cannot_set_it(based: Team) -> None:
    viewer = client_of(based, Role.VIEWER)
    words = words_of(viewer, url_of(based, "query_database"))
    assert "Not kept." in words
    assert "Save" not in words
    for place in ("cache", "cache/clear"):
        assert viewer.post(url_of(based, "query_database", place), {"seconds": "5"}).status_code == 403


def test_another_teams_tool_is_not_there(based: Team) -> None:
    outsider = make_team()
    url = url_of(based, "query_database", "cache").replace(based.slug, outsider.slug)
    assert client_of(outsider).post(url, {"seconds": "5"}).status_code == 404
    assert client_of(outsider).post(f"{url}/clear").status_code == 404


def test_the_forms_own_address_shows_the_tool(client: Client, based: Team) -> None:
    answer = client.get(url_of(based, "query_database", "cache"))
    assert answer.status_code == 200
    assert "Shared results" in answer.content.decode()
