"""How a tool's calls share results: set, refused with the reason, shown, and cleared, over REST."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from django.db import IntegrityError, transaction

from core.loop import run_async
from servers.models import Tool
from servers.services.caching import get_caching
from servers.services.configuration.importing import apply_configuration
from servers.services.results.counts import Counter, Counts
from servers.services.runtime import get_runtime
from servers.services.tools import list_tools
from tenants.roles import Role
from tenants.scoping import tenant_scope
from tenants.services.log import search_records
from tests.factories import Team, email_of, make_database, make_team
from tests.rest import Answer, Rest
from tests.servers.configuring import edited

OFF = {"seconds": 0, "collapses": True}
PIPE = {"parameters": {}, "steps": [{"tool": "list_tables", "output": "all"}], "result": "$all"}


@pytest.fixture
def team() -> Team:
    """A team with tools that read, one that writes, one that only computes and one that calls others."""
    made = make_team()
    rest = Rest.admin(made)
    settings = {"dsn": make_database("CREATE TABLE t (a int)"), "allow_writes": True}
    for body in (
        {"name": "db", "kind": "postgres", "settings": settings},
        {"name": "kit", "kind": "toolkit", "settings": {}},
        {"name": "flows", "kind": "flows", "settings": {}},
    ):
        assert rest.post(f"/tenants/{made.slug}/data-sources", body).status == 201
    body = {"name": "pipe", "source": "flows", "kind": "pipeline", "definition": PIPE}
    assert rest.post(f"/tenants/{made.slug}/tools", body).status == 201
    return made


def path_of(team: Team, name: str) -> str:
    tool = next(each for each in list_tools(caller=team.owner) if each.name == name)
    return f"/tenants/{team.slug}/tools/{tool.pk}/cache"


def change(team: Team, name: str, **given: Any) -> Answer:
    return Rest.admin(team).patch(path_of(team, name), given)


def test_a_tool_that_reads_shares_runs_and_keeps_nothing_until_it_is_told_to(team: Team) -> None:
    found = Rest.admin(team).get(path_of(team, "query_database"))
    assert found.status == 200
    counts = {"hits": 0, "joined": 0, "runs": 0, "hit_rate": None}
    reasons = {"why_not_kept": "", "why_not_collapsed": "", "by_caller": False}
    assert found.body == {**OFF, **reasons, "days": 7, "counts": counts}
    assert change(team, "query_database", seconds=60).body["seconds"] == 60
    assert change(team, "query_database", collapses=False).body["collapses"] is False
    assert Rest.admin(team).get(path_of(team, "query_database")).body["seconds"] == 60


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ({"seconds": -1}, "seconds"),
        ({"seconds": 86_401}, "seconds"),
        ({"seconds": 10 * 365 * 86_400}, "seconds"),
        ({"seconds": 2**62}, "seconds"),
        ({"seconds": 1.5}, "seconds"),
        ({"seconds": "soon"}, "seconds"),
        ({"seconds": True}, "seconds"),
        ({"seconds": None}, "seconds"),
        ({"collapses": "maybe"}, "collapses"),
        ({"ttl": 5}, "ttl"),
    ],
)
def test_what_cannot_be_set_is_refused_by_its_place(team: Team, given: dict[str, Any], path: str) -> None:
    answer = change(team, "query_database", **given)
    assert (answer.status, answer.paths) == (400, {path})
    assert Rest.admin(team).get(path_of(team, "query_database")).body["seconds"] == 0


@pytest.mark.parametrize(
    ("tool", "reason"), [("execute_transaction", "may change something"), ("pipe", "calls other tools")]
)
def test_a_tool_that_may_write_or_calls_others_keeps_nothing_and_says_why(
    team: Team, tool: str, reason: str
) -> None:
    answer = change(team, tool, seconds=60)
    assert (answer.status, answer.paths) == (400, {"seconds"})
    assert reason in answer.body["detail"]
    found = Rest.admin(team).get(path_of(team, tool)).body
    assert reason in found["why_not_kept"]
    assert reason in found["why_not_collapsed"]
    # To say that it keeps nothing is never wrong.
    assert change(team, tool, seconds=0).status == 200


def test_what_only_computes_runs_each_time_and_can_be_kept(team: Team) -> None:
    found = change(team, "calculate", seconds=60).body
    assert (found["why_not_kept"], found["seconds"]) == ("", 60)
    assert "waits for nothing" in found["why_not_collapsed"]


def test_the_table_itself_refuses_other_times(team: Team) -> None:
    with tenant_scope(team.tenant_id):
        for seconds in (-1, 86_401):
            with pytest.raises(IntegrityError), transaction.atomic():
                Tool.objects.filter(name="query_database").update(cache_seconds=seconds)


def test_changes_and_clearing_are_recorded_and_no_difference_is_not(team: Team) -> None:
    change(team, "query_database", seconds=60)
    change(team, "query_database", seconds=60, collapses=True)
    assert Rest.admin(team).post(path_of(team, "query_database") + "/clear").status == 204
    found = [
        (record.kind, record.tool, record.arguments)
        for record in search_records(caller=team.owner).records
        if record.kind.startswith("tool.cache")
    ]
    assert [kind for kind, _, _ in found] == ["tool.cache_cleared", "tool.cache_changed"]
    assert {tool for _, tool, _ in found} == {"query_database"}
    changed = found[1][2] or {}
    assert (changed["before"]["cache_seconds"], changed["after"]["cache_seconds"]) == (0, 60)


def generation(team: Team) -> int:
    with tenant_scope(team.tenant_id):
        return Tool.objects.get(name="query_database").cache_generation


def test_a_shorter_time_forgets_what_was_kept_for_longer(team: Team) -> None:
    change(team, "query_database", seconds=3_600)
    before = generation(team)
    change(team, "query_database", seconds=7_200)
    assert generation(team) == before
    change(team, "query_database", seconds=60)
    assert generation(team) == before + 1


@pytest.mark.parametrize(("role", "status"), [(Role.EDITOR, 200), (Role.VIEWER, 403), (Role.AUDITOR, 403)])
def test_who_may_change_tools_may_set_their_cache(team: Team, role: Role, status: int) -> None:
    member = Rest(email=email_of(team.member(role)))
    path = path_of(team, "query_database")
    assert member.patch(path, {"seconds": 60}).status == status
    assert member.post(path + "/clear").status == (204 if status == 200 else 403)


def test_another_team_and_an_unknown_tool_get_the_same_404(team: Team) -> None:
    outsider = make_team()
    rest = Rest.admin(outsider)
    theirs = path_of(team, "query_database").replace(team.slug, outsider.slug)
    unknown = f"/tenants/{outsider.slug}/tools/{uuid4()}/cache"
    for path in (theirs, unknown):
        answers = [rest.get(path), rest.patch(path, {"seconds": 5}), rest.post(path + "/clear")]
        assert {(each.status, each.body["code"]) for each in answers} == {(404, "tool_not_found")}


def test_counts_are_added_up_and_survive_a_redis_that_is_away(team: Team) -> None:
    tool = uuid4()
    counter = get_runtime().counter

    async def count() -> None:
        counter.hit(team.tenant_id, tool)
        counter.join(team.tenant_id, tool)
        counter.run(team.tenant_id, tool)
        await counter.flush()

    run_async(count())
    run_async(count())
    assert run_async(counter.read(team.tenant_id, tool)) == Counts(2, 2, 2)
    assert run_async(counter.read(team.tenant_id + 1, tool)) == Counts()

    async def away() -> dict[Any, Any]:
        bus = type(get_runtime().bus)("redis://127.0.0.1:9/0")
        lost = Counter(bus)
        lost.hit(1, tool)
        await lost.flush()
        await bus.close()
        return lost._counted

    assert run_async(away()) == {(1, tool): [1, 0, 0]}


def test_while_the_counts_cannot_be_read_the_rest_is_shown(
    team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = next(each for each in list_tools(caller=team.owner) if each.name == "query_database")
    bus = type(get_runtime().bus)("redis://127.0.0.1:9/0")
    monkeypatch.setattr(get_runtime(), "counter", Counter(bus))
    assert get_caching(tool.pk, caller=team.owner).counts is None
    run_async(bus.close())


def test_a_file_sets_how_tools_share_without_asking_redis_in_its_transaction(
    team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    async def read(*of: object) -> Counts:
        asked.append(of)
        return Counts()

    monkeypatch.setattr(get_runtime().counter, "read", read)

    def share(value: Any) -> None:
        brought = {name: {"collapses": False} for name in ("list_tables", "describe_table")}
        value["sources"]["db"]["brought"] = {"tools": brought}

    apply_configuration(edited(team, share), caller=team.owner)
    with tenant_scope(team.tenant_id):
        alone = Tool.objects.filter(collapses=False).order_by("name").values_list("name", flat=True)
        assert list(alone) == ["describe_table", "list_tables"]
    assert asked == []
