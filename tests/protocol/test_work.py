"""A team's tasks over REST: listed, read, cancelled and run again, by who may, with all of it in the log."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from servers.services.tools import list_tools
from tenants.roles import Role
from tenants.services.log import LogRecord, search_records
from tenants.services.members import change_member, get_own_membership
from tests.factories import Team, email_of, make_team, switch_tool
from tests.protocol.conftest import Records
from tests.protocol.lasting import LastingBackend
from tests.protocol.tasks import TaskClient, Workers
from tests.protocol.waiting import wait_for
from tests.rest import Answer, Rest

SECRET = "hunter2-not-to-be-seen"


def as_member(team: Team, role: Role) -> Rest:
    return Rest(email=email_of(team.member(role)))


def get(team: Team, task_id: str, rest: Rest | None = None) -> Any:
    answer = (rest or Rest.admin(team)).get(f"/tenants/{team.slug}/tasks/{task_id}")
    assert answer.status == 200, answer.body
    return answer.body


def post(team: Team, task_id: str, what: str, rest: Rest | None = None) -> Answer:
    return (rest or Rest.admin(team)).post(f"/tenants/{team.slug}/tasks/{task_id}/{what}")


def until(team: Team, task_id: str, *statuses: str) -> Any:
    wait_for(lambda: get(team, task_id)["status"] in (statuses or ("completed", "failed", "cancelled")))
    return get(team, task_id)


def changes(team: Team) -> list[LogRecord]:
    return search_records(kind="task.cancelled", caller=team.owner).records


def test_a_task_is_shown_with_what_came_of_it_and_its_record(
    tasker: TaskClient, workers: Workers, lasters: Team, records: Records
) -> None:
    task_id = tasker.begin("quick", {"password": SECRET, "x": 1})["taskId"]
    shown = until(lasters, task_id)
    intent, _ = records(lasters, kind="tools/call")
    assert shown["intent_seq"] == intent["seq"]
    assert (shown["status"], shown["standing"], shown["tool"]) == ("completed", "completed", "quick")
    assert (shown["server"], shown["tool_version"], shown["runs"]) == ("default", 1, 1)
    assert shown["arguments"] == {"password": "[masked]", "x": 1}
    assert shown["result"]["structured"]["run"] == 1
    assert shown["result"]["text"] == "quick 1"
    assert (shown["rows"], shown["size"], shown["error"], shown["asks"]) == (1, 7, None, {})
    assert shown["actor"].startswith("key:")
    assert None not in (shown["started_at"], shown["finished_at"], shown["duration_us"])
    assert SECRET not in str(shown)
    record = Rest.admin(lasters).get(f"/tenants/{lasters.slug}/audit/records/{intent['seq']}").body
    assert record["task"] == task_id


def test_who_only_reads_sees_how_it_stands_and_none_of_its_data(
    tasker: TaskClient, workers: Workers, lasters: Team
) -> None:
    task_id = tasker.begin("quick", {"x": "of the team's data"})["taskId"]
    until(lasters, task_id)
    for role in (Role.VIEWER, Role.AUDITOR):
        rest = as_member(lasters, role)
        shown = get(lasters, task_id, rest)
        assert (shown["status"], shown["size"], shown["rows"]) == ("completed", 7, 1)
        assert (shown["arguments"], shown["result"], shown["asks"]) == (None, None, None)
        assert "of the team's data" not in str(shown)
        assert [post(lasters, task_id, what, rest).status for what in ("cancel", "run-again")] == [403, 403]
    editor = as_member(lasters, Role.EDITOR)
    assert get(lasters, task_id, editor)["result"]["text"] == "quick 1"


def test_a_failed_task_says_why_to_those_who_may_read_that_in_the_log(
    tasker: TaskClient, workers: Workers, lasters: Team
) -> None:
    shown = until(lasters, tasker.begin("fail")["taskId"])
    why = "It failed, as it was told to."
    assert shown["error"] == {"code": "source_unreachable", "message": why}
    assert (shown["message"], shown["result"]) == (why, None)
    auditor = lasters.member(Role.AUDITOR)
    for rest in (Rest(email=email_of(auditor)), as_member(lasters, Role.VIEWER)):
        viewed = get(lasters, shown["id"], rest)
        assert viewed["error"]["code"] == "source_unreachable"
        assert why not in str(viewed)
    change_member(get_own_membership(caller=auditor).pk, payloads=True, caller=lasters.owner)
    assert get(lasters, shown["id"], Rest(email=email_of(auditor)))["error"]["message"] == why


def test_what_waits_says_its_place_and_what_is_cancelled_there_never_runs(
    tasker: TaskClient,
    workers_later: Workers,
    lasters: Team,
    records: Records,
    lasting_backend: LastingBackend,
) -> None:
    first, second = (tasker.begin("effect")["taskId"] for _ in range(2))
    listed = Rest.admin(lasters).get(f"/tenants/{lasters.slug}/tasks").body["results"]
    assert [(each["id"], each["standing"], each["place"]) for each in listed] == [
        (second, "waiting", 2),
        (first, "waiting", 1),
    ]
    member = lasters.member(Role.EDITOR)
    assert post(lasters, first, "cancel", Rest(email=email_of(member))).status == 202
    shown = get(lasters, first)
    assert (shown["status"], shown["place"]) == ("cancelled", None)
    assert get(lasters, second)["place"] == 1
    assert lasting_backend.effects[lasters.slug] == 0
    outcome = next(each for each in records(lasters, kind="tools/call") if each["outcome"] == "cancelled")
    assert outcome["reason"]["message"] == f"Cancelled by {member.actor}."
    (change,) = changes(lasters)
    assert (change.actor, change.tool) == (member.actor, "effect")
    assert (change.arguments or {})["before"]["id"] == first
    again = post(lasters, first, "cancel")
    assert (again.status, again.body["code"]) == (409, "task_ended")
    assert len(changes(lasters)) == 1
    assert post(lasters, second, "cancel").status == 202


def test_what_runs_is_stopped_itself_and_the_log_says_by_whom(
    tasker: TaskClient, workers: Workers, lasters: Team, records: Records, held: LastingBackend
) -> None:
    task_id = tasker.begin("hold")["taskId"]
    assert held.entered.acquire(timeout=60)
    wait_for(lambda: get(lasters, task_id)["progress"] == 1)
    shown = get(lasters, task_id)
    assert (shown["standing"], shown["total"], shown["message"]) == ("running", 2, "half")
    again = post(lasters, task_id, "run-again")
    assert (again.status, again.body["code"]) == (409, "task_not_ended")
    assert post(lasters, task_id, "cancel").status == 202
    assert held.cancelled.wait(60)
    ended = until(lasters, task_id)
    assert (ended["status"], ended["error"]["code"]) == ("cancelled", "cancelled")
    assert ended["error"]["message"].startswith("Cancelled by key:")
    outcome = records(lasters, kind="tools/call")[-1]
    assert outcome["reason"]["message"] == ended["error"]["message"]


def test_a_task_run_again_is_a_call_of_its_own_by_who_asks(
    tasker: TaskClient, workers: Workers, lasters: Team, records: Records
) -> None:
    first = tasker.begin("quick", {"x": 1}, {"marina/idempotencyKey": "once"})["taskId"]
    until(lasters, first)
    member = lasters.member(Role.EDITOR)
    begun = post(lasters, first, "run-again", Rest(email=email_of(member)))
    assert begun.status == 201
    second = begun.body["id"]
    assert second != first
    shown = until(lasters, second)
    assert (shown["actor"], shown["client"]) == (member.actor, "Marina REST API")
    assert (shown["arguments"], shown["result"]["structured"]["run"]) == ({"x": 1}, 2)
    calls = records(lasters, kind="tools/call")
    assert [(each["outcome"], each["actor"] == member.actor) for each in calls] == [
        ("intent", False),
        ("ok", False),
        ("intent", True),
        ("ok", True),
    ]
    # It is the member's: the client that began the first does not hear of it.
    assert tasker.ask("get", second).error["code"] == -32602


def test_it_is_a_task_again_also_where_the_tool_runs_at_once_by_now(
    tasker: TaskClient, workers: Workers, lasters: Team
) -> None:
    first = tasker.begin("quick")["taskId"]
    until(lasters, first)
    tool = next(each for each in list_tools(caller=lasters.owner) if each.name == "quick")
    rest = Rest.admin(lasters)
    below = f"/tenants/{lasters.slug}/tools/{tool.pk}"
    assert rest.patch(f"{below}/running", {"runs": "inline"}).body["where"] == "inline"
    second = post(lasters, first, "run-again").body["id"]
    assert until(lasters, second)["status"] == "completed"


def test_it_is_decided_anew(tasker: TaskClient, workers: Workers, lasters: Team, records: Records) -> None:
    task_id = tasker.begin("quick")["taskId"]
    until(lasters, task_id)
    managing = Rest(lasters.key("tasks:manage"))
    assert get(lasters, task_id, managing)["result"] is not None
    refused = post(lasters, task_id, "run-again", managing)
    assert (refused.status, refused.body["code"]) == (403, "insufficient_scope")
    assert len(search_records(outcome="refused", caller=lasters.owner).records) == 1
    switch_tool(lasters, "quick", False)
    wait_for(lambda: post(lasters, task_id, "run-again").status == 404)
    assert records(lasters, kind="tools/call")[-1]["outcome"] == "invalid"


def test_what_it_asks_is_shown_without_answers(tasker: TaskClient, workers: Workers, lasters: Team) -> None:
    task_id = tasker.begin("names")["taskId"]
    shown = until(lasters, task_id, "input_required")
    assert shown["standing"] == "asks its client"
    assert shown["asked"] == ["elicitation/create"] * 2
    assert shown["asks"]["first"]["params"]["message"] == "First?"
    tasker.answer(task_id, first={"name": "Al"})
    shown = get(lasters, task_id)
    assert shown["asks"].keys() == {"second"}
    assert "Al" not in str(shown)
    reader = get(lasters, task_id, as_member(lasters, Role.VIEWER))
    assert (reader["asked"], reader["asks"]) == (["elicitation/create"], None)
    assert post(lasters, task_id, "cancel").status == 202
    assert get(lasters, task_id)["status"] == "cancelled"


def test_the_list_is_filtered_and_goes_on_page_by_page(
    tasker: TaskClient, workers_later: Workers, lasters: Team
) -> None:
    begun = [tasker.begin(tool)["taskId"] for tool in ("quick", "fail", "quick", "quick")]
    rest, path = Rest.admin(lasters), f"/tenants/{lasters.slug}/tasks"

    def ids(query: str) -> list[str]:
        answer = rest.get(f"{path}?{query}")
        assert answer.status == 200, answer.body
        return [each["id"] for each in answer.body["results"]]

    assert ids("") == begun[::-1]
    assert ids("tool=fail") == [begun[1]]
    assert ids("status=open&tool=quick&limit=2") == [begun[3], begun[2]]
    assert ids("status=completed") == []
    seen: list[str] = []
    following: str | None = f"{path}?limit=3"
    while following is not None:
        page = rest.get(following[following.index("/tenants") :]).body
        seen += [each["id"] for each in page["results"]]
        following = page["next"]
    assert seen == begun[::-1]
    for query, at in (
        ("status=lost", "status"),
        ("limit=0", "limit"),
        ("before=x", "before"),
        ("page=2", "page"),
    ):
        answer = rest.get(f"{path}?{query}")
        assert (answer.status, answer.paths) == (400, {at})
    assert rest.get(f"{path}?before={uuid4()}").paths == {"before"}


def test_a_narrowed_key_sees_the_tasks_of_its_tools_alone(
    tasker: TaskClient, workers_later: Workers, lasters: Team
) -> None:
    quick, fail = (tasker.begin(tool)["taskId"] for tool in ("quick", "fail"))
    for scope, seen in (("tool:fail", [fail]), ("server:other", []), ("server:default", [fail, quick])):
        rest = Rest(lasters.key("tasks:manage", scope))
        listed = rest.get(f"/tenants/{lasters.slug}/tasks").body["results"]
        assert [each["id"] for each in listed] == seen
        statuses = {rest.get(f"/tenants/{lasters.slug}/tasks/{each}").status for each in (quick, fail)}
        assert statuses == ({200, 404} if len(seen) == 1 else {200} if seen else {404})
    without = Rest(lasters.key("tools:read", "tools:execute"))
    assert without.get(f"/tenants/{lasters.slug}/tasks").status == 403


def test_another_teams_task_and_an_unknown_one_get_the_same_404(
    tasker: TaskClient, workers_later: Workers, lasters: Team
) -> None:
    task_id = tasker.begin("quick")["taskId"]
    outsider = make_team()
    rest = Rest.admin(outsider)
    assert rest.get(f"/tenants/{outsider.slug}/tasks").body["results"] == []
    for each in (task_id, str(uuid4()), "no-id"):
        below = f"/tenants/{outsider.slug}/tasks/{each}"
        answers = [rest.get(below), rest.post(f"{below}/cancel"), rest.post(f"{below}/run-again")]
        assert {(answer.status, answer.body["code"]) for answer in answers} == {(404, "task_not_found")}
    assert rest.get(f"/tenants/{lasters.slug}/tasks/{task_id}").status == 401
    stranger = Rest(email=outsider.owner_email)
    assert stranger.get(f"/tenants/{lasters.slug}/tasks/{task_id}").status == 404
    assert get(lasters, task_id)["status"] == "working"
