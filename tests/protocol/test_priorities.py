"""How urgent a task is among its team's: as its call says, bounded by what who calls may, else as its tool's are."""

from __future__ import annotations

from typing import Any

import pytest

from servers.models import Turn
from servers.services.configuration.exporting import export_configuration
from servers.services.tasks.hints import use_hint
from servers.services.tasks.line import claim_next
from servers.services.tool_running import change_running
from tenants.roles import Role
from tests.factories import Team, email_of, make_team
from tests.protocol.conftest import HearAll, Records
from tests.protocol.tasks import TaskClient, Workers, declaring
from tests.protocol.test_shared_results import tool_of
from tests.protocol.wireclient import Endpoint
from tests.rest import Rest

PRIORITY = "marina/priority"
MANAGING = ("tools:read", "tools:execute", "tasks:manage")


def managing(port: int, team: Team) -> TaskClient:
    return TaskClient(Endpoint(port, f"/mcp/{team.slug}", team.key(*MANAGING)))


def tasks(team: Team) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = Rest.admin(team).get(f"/tenants/{team.slug}/tasks").body["results"]
    return found


def test_the_urgent_come_first_in_their_teams_line(port: int, workers_later: Workers, lasters: Team) -> None:
    client = managing(port, lasters)
    low, usual, high = (
        client.begin("quick", meta={} if word is None else {PRIORITY: word})["taskId"]
        for word in ("low", None, "high")
    )
    places = {each["id"]: (each["place"], each["priority"]) for each in tasks(lasters)}
    assert places == {high: (1, "high"), usual: (2, "normal"), low: (3, "low")}


def test_who_may_not_manage_tasks_has_none_of_high_priority(
    tasker: TaskClient, workers_later: Workers, lasters: Team, records: Records
) -> None:
    refused = tasker.endpoint.call("quick", meta={**declaring(), PRIORITY: "high"})
    assert refused.error["data"]["code"] == "priority_not_allowed"
    (record,) = records(lasters, kind="tools/call")
    assert (record["outcome"], record["reason"]["rule"]) == ("refused", "priority:high")
    assert tasks(lasters) == []
    tasker.begin("quick", meta={PRIORITY: "low"})
    tasker.begin("quick", meta={PRIORITY: "normal"})
    # Where all calls of a tool are, anybody's is.
    change_running(tool_of(lasters, "quick"), priority="high", caller=lasters.owner)


def test_a_call_that_says_nothing_is_as_urgent_as_its_tools_are(
    port: int, workers_later: Workers, lasters: Team, hear_all: HearAll
) -> None:
    rest = Rest.admin(lasters)
    below = f"/tenants/{lasters.slug}/tools/{tool_of(lasters, 'quick')}/running"
    assert rest.patch(below, {"priority": "high"}).body["priority"] == "high"
    assert rest.patch(below, {"priority": "urgent"}).paths == {"priority"}
    hear_all()
    client = TaskClient(Endpoint(port, f"/mcp/{lasters.slug}", lasters.key("tools:execute")))
    client.begin("quick")
    client.begin("quick", meta={PRIORITY: "high"})
    client.begin("quick", meta={PRIORITY: "low"})
    assert sorted(each["priority"] for each in tasks(lasters)) == ["high", "high", "low"]


@pytest.mark.parametrize("given", ["urgent", 1, "", ["low"]])
def test_what_is_no_priority_is_told(tasker: TaskClient, lasters: Team, given: Any) -> None:
    answer = tasker.endpoint.call("quick", meta={**declaring(), PRIORITY: given})
    assert answer.error["code"] == -32602
    assert PRIORITY in answer.error["message"]


def test_rest_takes_it_too(workers_later: Workers, lasters: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("servers.services.playground.INLINE_SECONDS", 0.2)
    below = f"/tenants/{lasters.slug}/tools/{tool_of(lasters, 'quick')}/call"
    viewer = Rest(email=email_of(lasters.member(Role.VIEWER)))
    assert viewer.post(below, {"priority": "high"}).body["code"] == "priority_not_allowed"
    assert Rest.admin(lasters).post(below, {"priority": "high"}).body["code"] == "task_goes_on"
    assert viewer.post(below, {"priority": "urgent"}).paths == {"priority"}
    assert [each["priority"] for each in tasks(lasters)] == ["high"]


def test_a_task_that_asked_keeps_it_when_it_waits_again(port: int, workers: Workers, lasters: Team) -> None:
    client = managing(port, lasters)
    task_id = client.begin("name", meta={PRIORITY: "high"})["taskId"]
    client.until(task_id, "input_required")
    use_hint(None)
    client.answer(task_id, name={"name": "Al"})
    assert Turn.objects.get(task_id=task_id).priority == 1
    workers.begin()
    client.until(task_id)


def test_no_team_comes_before_another_one_by_it(port: int, workers_later: Workers, lasters: Team) -> None:
    Turn.objects.all().delete()
    other = make_team()
    quiet = Turn.objects.create(task_id="6f1c1c9e-0000-4000-8000-00000000aaaa", of_tenant=other.tenant_id)
    client = managing(port, lasters)
    for _ in range(3):
        client.begin("quick", meta={PRIORITY: "high"})
    claims = [claim_next("w", most_of_team=8) for _ in range(2)]
    assert {None if each is None else each.tenant_id for each in claims} == {
        lasters.tenant_id,
        other.tenant_id,
    }
    Turn.objects.filter(task_id=quiet.task_id).delete()
    Turn.objects.filter(of_tenant=lasters.tenant_id).update(claim=None, lease_until=None)
    workers_later.begin()


def test_it_is_in_a_configuration_file(lasters: Team) -> None:
    change_running(tool_of(lasters, "quick"), priority="low", caller=lasters.owner)
    assert "priority: low" in export_configuration(caller=lasters.owner)
