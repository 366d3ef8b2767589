"""Where a tool's calls run: set, refused with the reason, shown in words, over REST; and what it does to calls."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from django.db import IntegrityError, transaction

from servers.models import Tool
from servers.services.sources import create_source
from servers.services.tools import list_tools
from tenants.roles import Role
from tenants.scoping import tenant_scope
from tenants.services.log import search_records
from tests.factories import Team, email_of, make_database, make_team
from tests.plainkind import add_kinds
from tests.protocol.lasting import KIND, LastingBackend
from tests.rest import Answer, Rest

SLOW = "SELECT count(*) FROM generate_series(1, 100000) AS a, generate_series(1, 100000) AS b"


@pytest.fixture
def team() -> Team:
    """A team with tools whose source says how long they take, and with a database."""
    made = make_team()
    add_kinds(LastingBackend())
    create_source("lasting-source", KIND, {}, caller=made.owner)
    create_source("db", "postgres", {"dsn": make_database("SELECT 1")}, caller=made.owner)
    return made


def path_of(team: Team, name: str) -> str:
    tool = next(each for each in list_tools(caller=team.owner) if each.name == name)
    return f"/tenants/{team.slug}/tools/{tool.pk}/running"


def change(team: Team, name: str, **given: Any) -> Answer:
    return Rest.admin(team).patch(path_of(team, name), given)


@pytest.mark.parametrize(
    ("tool", "where", "seconds", "words"),
    [
        ("quick", "worker", 600, "says that it takes long"),
        ("early", "begins_inline", 600, "some of its calls take long"),
        ("inline", "inline", 30, "does not say that it takes long"),
        ("query_database", "inline", 30, "does not say that it takes long"),
    ],
)
def test_by_itself_a_tool_runs_where_its_source_says(
    team: Team, tool: str, where: str, seconds: int, words: str
) -> None:
    found = Rest.admin(team).get(path_of(team, tool))
    assert found.status == 200
    assert (found.body["runs"], found.body["deadline"]) == ("automatic", None)
    assert (found.body["where"], found.body["seconds"]) == (where, seconds)
    assert words in found.body["why"]


def test_a_long_deadline_takes_a_tool_to_the_workers_and_a_short_one_does_not(team: Team) -> None:
    longer = change(team, "query_database", deadline=90).body
    assert (longer["where"], longer["seconds"]) == ("worker", 90)
    assert "deadline of 90 seconds is longer than the 30 seconds" in longer["why"]
    shorter = change(team, "query_database", deadline=5).body
    assert (shorter["where"], shorter["seconds"]) == ("inline", 5)
    none = change(team, "query_database", deadline=None).body
    assert (none["deadline"], none["where"], none["seconds"]) == (None, "inline", 30)


def test_what_is_set_by_hand_counts_more_than_what_the_source_says(team: Team) -> None:
    assert change(team, "quick", runs="inline").body["where"] == "inline"
    found = change(team, "query_database", runs="worker").body
    assert (found["where"], found["why"], found["repeatable"]) == ("worker", "This team set it so.", True)
    assert change(team, "early", runs="worker").body["where"] == "worker"
    assert change(team, "effect", runs="worker").body["repeatable"] is False


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ({"runs": "elsewhere"}, "runs"),
        ({"runs": None}, "runs"),
        ({"deadline": 0}, "deadline"),
        ({"deadline": -1}, "deadline"),
        ({"deadline": 86_401}, "deadline"),
        ({"deadline": "soon"}, "deadline"),
        ({"runs": "inline", "deadline": 31}, "deadline"),
        ({"seconds": 5}, "seconds"),
    ],
)
def test_what_cannot_be_set_is_refused_by_its_place(team: Team, given: dict[str, Any], path: str) -> None:
    answer = change(team, "query_database", **given)
    assert (answer.status, answer.paths) == (400, {path})
    found = Rest.admin(team).get(path_of(team, "query_database")).body
    assert (found["runs"], found["deadline"]) == ("automatic", None)


def test_the_table_itself_refuses_other_values(team: Team) -> None:
    with tenant_scope(team.tenant_id):
        for values in ({"runs": "elsewhere"}, {"deadline": 0}, {"deadline": 86_401}):
            with pytest.raises(IntegrityError), transaction.atomic():
                Tool.objects.filter(name="query_database").update(**values)


def test_changes_are_recorded_with_before_and_after_and_no_difference_is_not(team: Team) -> None:
    change(team, "query_database", runs="worker", deadline=60)
    change(team, "query_database", runs="worker")
    (found,) = [
        each for each in search_records(caller=team.owner).records if each.kind == "tool.running_changed"
    ]
    assert found.tool == "query_database"
    states = found.arguments or {}
    assert [(states[each]["runs"], states[each]["deadline"]) for each in ("before", "after")] == [
        ("automatic", None),
        ("worker", 60),
    ]


def test_a_short_deadline_ends_a_call_within_its_request(team: Team) -> None:
    change(team, "query_database", deadline=1)
    tool = path_of(team, "query_database").removesuffix("/running")
    answer = Rest.admin(team).post(f"{tool}/call", {"arguments": {"query": SLOW}})
    assert (answer.body["outcome"], answer.body["error"]["code"]) == ("error", "source_timeout")
    assert answer.body["duration_us"] < 15_000_000


@pytest.mark.parametrize(("role", "status"), [(Role.EDITOR, 200), (Role.VIEWER, 403), (Role.AUDITOR, 403)])
def test_who_may_change_tools_may_say_where_they_run(team: Team, role: Role, status: int) -> None:
    member = Rest(email=email_of(team.member(role)))
    assert member.patch(path_of(team, "query_database"), {"runs": "worker"}).status == status


def test_another_team_and_an_unknown_tool_get_the_same_404(team: Team) -> None:
    outsider = make_team()
    rest = Rest.admin(outsider)
    theirs = path_of(team, "query_database").replace(team.slug, outsider.slug)
    for path in (theirs, f"/tenants/{outsider.slug}/tools/{uuid4()}/running"):
        answers = [rest.get(path), rest.patch(path, {"runs": "worker"})]
        assert {(each.status, each.body["code"]) for each in answers} == {(404, "tool_not_found")}
