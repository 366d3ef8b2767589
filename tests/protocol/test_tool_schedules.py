"""Schedules of tools: each due time once, decided anew for each run, its history kept, and all of it in the log."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import connections
from django.utils import timezone

from core.crontimes import last_time
from core.errors import SourceError
from servers.models import ScheduledRun, Task, ToolSchedule
from servers.services import scheduling
from servers.services.scheduling import Begin, begin_scheduled, find_due, run_due, take_due
from servers.services.tasks.scheduled import MAX_REFUSALS, settle_run
from servers.services.tool_schedules import LISTED_RUNS, MAX_SCHEDULES
from tenants.models import ApiKey
from tenants.roles import Role
from tenants.scoping import tenant_scope
from tenants.services.keys import list_keys, revoke_key
from tenants.services.log import LogRecord, search_records
from tenants.services.members import change_member, get_own_membership
from tests.factories import Team, email_of, make_team
from tests.protocol.conftest import Records
from tests.protocol.lasting import LastingBackend
from tests.protocol.tasks import Workers
from tests.protocol.waiting import wait_for
from tests.rest import Rest

HOURLY = {"name": "Hourly", "tool": "quick", "cron": "0 * * * *", "arguments": {"x": 1}}


def path(team: Team, *rest: object) -> str:
    return "/".join([f"/tenants/{team.slug}/schedules", *map(str, rest)])


def create(team: Team, rest: Rest | None = None, **given: Any) -> UUID:
    answer = (rest or Rest.admin(team)).post(path(team), {**HOURLY, **given})
    assert answer.status == 201, answer.body
    return UUID(answer.body["id"])


def history(team: Team, schedule: UUID, rest: Rest | None = None) -> list[dict[str, Any]]:
    answer = (rest or Rest.admin(team)).get(path(team, schedule, "runs"))
    assert answer.status == 200, answer.body
    found: list[dict[str, Any]] = answer.body["results"]
    return found


def shown(team: Team, schedule: UUID) -> dict[str, Any]:
    found: dict[str, Any] = Rest.admin(team).get(path(team, schedule)).body
    return found


def fall_due(team: Team, schedule: UUID, since: datetime | None = None) -> None:
    """As if it had been due ``since`` then; unless told, just now. Its runs so far were a day before."""
    with tenant_scope(team.tenant_id):
        row = ToolSchedule.objects.get(id=schedule)
        due = since or last_time(row.cron, row.zone, timezone.now())
        ToolSchedule.objects.filter(id=schedule).update(next_at=due)
        runs = ScheduledRun.objects.filter(schedule=schedule)
        for run in runs.order_by("due_at"):
            runs.filter(id=run.id).update(due_at=run.due_at - timedelta(days=1))


def fire(team: Team, schedule: UUID, since: datetime | None = None) -> Begin | None:
    """Have it due, and its run begun."""
    fall_due(team, schedule, since)
    begin = take_due(team.tenant_id, schedule)
    if begin is not None:
        begin_scheduled(begin)
    return begin


def until(team: Team, schedule: UUID, *states: str) -> list[dict[str, Any]]:
    wait_for(lambda: [each["state"] for each in history(team, schedule)] == list(states))
    return history(team, schedule)


def changes(team: Team, kind: str) -> list[LogRecord]:
    return search_records(kind=kind, caller=team.owner).records


def test_a_schedule_is_shown_with_its_next_times_and_recorded(lasters: Team) -> None:
    schedule = create(
        lasters, cron=" 30  2 * * 1 ", time_zone="Europe/Zurich", arguments={"password": "hunter2"}
    )
    found = shown(lasters, schedule)
    assert (found["cron"], found["words"]) == ("30 2 * * 1", "At 02:30 on Monday (Europe/Zurich)")
    times = [datetime.fromisoformat(each) for each in found["next_at"]]
    assert len(times) == 5
    assert times == sorted(times)
    assert all(each > datetime.now(UTC) for each in times)
    assert (found["arguments"], found["server"], found["enabled"]) == (
        {"password": "[masked]"},
        "default",
        True,
    )
    assert found["runs_as"].startswith("key:")
    rest = Rest.admin(lasters)
    assert [each["id"] for each in rest.get(path(lasters)).body["results"]] == [str(schedule)]
    assert rest.patch(path(lasters, schedule), {"enabled": False}).body["next_at"] == []
    assert rest.delete(path(lasters, schedule)).status == 204
    assert rest.get(path(lasters, schedule)).status == 404
    (made,), (changed,), (deleted,) = (
        changes(lasters, f"toolschedule.{what}") for what in ("created", "changed", "deleted")
    )
    assert (made.arguments or {})["after"]["cron"] == "30 2 * * 1"
    states = changed.arguments or {}
    assert (states["before"]["enabled"], states["after"]["enabled"]) == (True, False)
    assert (deleted.arguments or {})["before"]["id"] == str(schedule)
    assert "hunter2" not in str([made.arguments, changed.arguments, deleted.arguments])


def test_a_run_is_a_task_with_records_that_name_its_schedule(
    workers: Workers, lasters: Team, records: Records, lasting_backend: LastingBackend
) -> None:
    schedule = create(lasters)
    assert fire(lasters, schedule) is not None
    (run,) = until(lasters, schedule, "ok")
    intent, outcome = records(lasters, kind="tools/call")
    assert {intent["schedule"], outcome["schedule"]} == {str(schedule)}
    assert {intent["task"], outcome["task"]} == {run["task_id"]}
    assert (run["seq"], run["passed_over"], run["by"]) == (intent["seq"], 0, "")
    assert run["duration_us"] > 0
    task = Rest.admin(lasters).get(f"/tenants/{lasters.slug}/tasks/{run['task_id']}").body
    assert (task["schedule_id"], task["arguments"]) == (str(schedule), {"x": 1})
    assert (task["client"], task["actor"]) == (scheduling.CLIENT, shown(lasters, schedule)["runs_as"])
    assert shown(lasters, schedule)["last_state"] == "ok"
    assert take_due(lasters.tenant_id, schedule) is None
    assert lasting_backend.runs[lasters.slug, "quick"] == 1
    record = Rest.admin(lasters).get(f"/tenants/{lasters.slug}/audit/records/{intent['seq']}").body
    assert record["schedule"] == str(schedule)


def test_it_is_run_once_however_many_look_at_once(
    workers: Workers, lasters: Team, lasting_backend: LastingBackend
) -> None:
    schedule = create(lasters)
    fall_due(lasters, schedule)
    assert (lasters.tenant_id, schedule) in find_due()

    def look(_: int) -> None:
        try:
            begin = take_due(lasters.tenant_id, schedule)
            if begin is not None:
                begin_scheduled(begin)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(look, range(12)))
    assert len(until(lasters, schedule, "ok")) == 1
    assert lasting_backend.runs[lasters.slug, "quick"] == 1
    assert (lasters.tenant_id, schedule) not in find_due()


def test_whoever_begins_anew_what_another_process_began_has_the_same_task(
    workers: Workers, lasters: Team, lasting_backend: LastingBackend
) -> None:
    schedule = create(lasters)
    begin = fire(lasters, schedule)
    assert begin is not None
    until(lasters, schedule, "ok")
    with tenant_scope(lasters.tenant_id):
        # As if the process had ended before it could say that the task was made.
        ScheduledRun.objects.filter(id=begin.run_id).update(
            state="waiting", task_id=None, begun_at=timezone.now() - timedelta(minutes=2)
        )
    again = take_due(lasters.tenant_id, schedule)
    assert again is not None
    begin_scheduled(again)
    assert lasting_backend.runs[lasters.slug, "quick"] == 1
    with tenant_scope(lasters.tenant_id):
        assert Task.objects.count() == 1


def test_what_somebody_set_out_to_begin_is_left_to_them_for_a_while(lasters: Team) -> None:
    schedule = create(lasters)
    fall_due(lasters, schedule)
    assert take_due(lasters.tenant_id, schedule) is not None
    assert take_due(lasters.tenant_id, schedule) is None


@pytest.mark.parametrize(("missed", "state"), [("once", "ok"), ("skip", "missed")])
def test_missed_runs_are_made_up_for_by_one_or_by_none(
    workers: Workers, lasters: Team, lasting_backend: LastingBackend, missed: str, state: str
) -> None:
    # Once a year, so that now is long after it.
    schedule = create(lasters, missed=missed, cron=f"0 0 1 {(timezone.now().month + 5) % 12 + 1} *")
    with tenant_scope(lasters.tenant_id):
        row = ToolSchedule.objects.get(id=schedule)
    first = last_time(row.cron, row.zone, last_time(row.cron, row.zone, timezone.now()) - timedelta(days=1))
    fire(lasters, schedule, since=first)
    (run,) = until(lasters, schedule, state)
    assert run["passed_over"] == 1
    assert datetime.fromisoformat(run["due_at"]) == last_time(row.cron, row.zone, timezone.now())
    assert lasting_backend.runs[lasters.slug, "quick"] == (missed == "once")
    assert take_due(lasters.tenant_id, schedule) is None


def test_a_run_that_is_due_while_the_last_one_goes_on_is_skipped(
    workers: Workers, lasters: Team, held: LastingBackend, on_loop: Any
) -> None:
    schedule = create(lasters, tool="hold", cron="* * * * *")
    fire(lasters, schedule, since=timezone.now() - timedelta(minutes=5))
    assert held.entered.acquire(timeout=60)
    assert fire(lasters, schedule) is None
    skipped, running = history(lasters, schedule)
    assert (skipped["state"], running["state"]) == ("skipped", "running")
    assert skipped["reason"] == "The run before it had not ended."
    now = Rest.admin(lasters).post(path(lasters, schedule, "runs"))
    assert (now.status, now.body["code"]) == (409, "run_not_ended")
    on_loop(held.let_go())
    until(lasters, schedule, "skipped", "ok")


def test_or_it_waits_for_the_end_of_that_one(
    workers: Workers, lasters: Team, held: LastingBackend, on_loop: Any
) -> None:
    schedule = create(lasters, tool="hold", cron="* * * * *", overlap="queue")
    fire(lasters, schedule, since=timezone.now() - timedelta(minutes=5))
    assert held.entered.acquire(timeout=60)
    assert fire(lasters, schedule) is None
    assert [each["state"] for each in history(lasters, schedule)] == ["waiting", "running"]
    assert (lasters.tenant_id, schedule) not in find_due()
    assert take_due(lasters.tenant_id, schedule) is None
    on_loop(held.let_go())
    until(lasters, schedule, "waiting", "ok")
    assert (lasters.tenant_id, schedule) in find_due()
    begin = take_due(lasters.tenant_id, schedule)
    assert begin is not None
    begin_scheduled(begin)
    assert held.entered.acquire(timeout=60)
    on_loop(held.let_go())
    until(lasters, schedule, "ok", "ok")


def test_run_now_makes_a_run_and_leaves_the_next_one_when_it_is_due(workers: Workers, lasters: Team) -> None:
    schedule = create(lasters)
    due = shown(lasters, schedule)["next_at"][0]
    editor = lasters.member(Role.EDITOR)
    assert Rest(email=email_of(editor)).post(path(lasters, schedule, "runs")).status == 202
    (run,) = until(lasters, schedule, "ok")
    assert run["by"] == editor.actor
    assert shown(lasters, schedule)["next_at"][0] == due
    (asked,) = changes(lasters, "toolschedule.run")
    assert (asked.actor, asked.tool) == (editor.actor, "quick")


def test_it_runs_with_the_rights_that_its_member_has_now_and_is_paused_when_they_have_none(
    workers: Workers, lasters: Team, records: Records, lasting_backend: LastingBackend
) -> None:
    editor = lasters.member(Role.EDITOR)
    schedule = create(lasters, Rest(email=email_of(editor)))
    assert shown(lasters, schedule)["runs_as"] == editor.actor
    fire(lasters, schedule)
    until(lasters, schedule, "ok")
    lasters.give_role(editor, Role.AUDITOR)
    for _ in range(MAX_REFUSALS):
        assert fire(lasters, schedule) is not None
    states = [each["state"] for each in history(lasters, schedule)]
    assert states == ["refused"] * MAX_REFUSALS + ["ok"]
    assert lasting_backend.runs[lasters.slug, "quick"] == 1
    found = shown(lasters, schedule)
    assert found["enabled"] is False
    assert "3 runs in a row did not begin" in found["paused_because"]
    refused = [each for each in records(lasters, kind="tools/call") if each["outcome"] == "refused"]
    assert {each["schedule"] for each in refused} == {str(schedule)}
    assert refused[0]["reason"]["rule"] == "role:tools.call"
    assert [each["seq"] for each in history(lasters, schedule)[:MAX_REFUSALS]] == [
        each["seq"] for each in refused[::-1]
    ]
    (paused,) = changes(lasters, "toolschedule.paused")
    assert (paused.actor, paused.tool) == ("marina", "quick")
    fall_due(lasters, schedule)
    assert take_due(lasters.tenant_id, schedule) is None
    resumed = Rest.admin(lasters).patch(path(lasters, schedule), {"enabled": True}).body
    assert (resumed["enabled"], resumed["paused_because"], resumed["runs_as"]) == (True, "", editor.actor)


def test_who_left_the_team_and_whose_key_was_revoked_has_nothing_run(
    workers: Workers, lasters: Team, records: Records, lasting_backend: LastingBackend
) -> None:
    editor = lasters.member(Role.EDITOR)
    by_member = create(lasters, Rest(email=email_of(editor)))
    by_key = create(lasters, Rest(lasters.key("tasks:manage", "tools:execute", name="robot")), name="Robot")
    lasters.part_with(editor)
    key = next(each for each in list_keys(caller=lasters.owner) if each.name == "robot")
    revoke_key(key.pk, caller=lasters.owner)
    for schedule, why in ((by_member, "opens nothing any more"), (by_key, "This API key was revoked")):
        fire(lasters, schedule)
        (run,) = history(lasters, schedule)
        assert run["state"] == "refused"
        assert why in run["reason"]
    refused = records(lasters, kind="tools/call")
    assert [each["reason"]["rule"] for each in refused] == ["credential:ended"] * 2
    assert lasting_backend.runs[lasters.slug, "quick"] == 0


def test_who_changes_what_it_does_is_whom_it_runs_as_from_then_on(lasters: Team) -> None:
    owner = Rest(email=lasters.owner_email)
    editor = lasters.member(Role.EDITOR)
    by_editor = Rest(email=email_of(editor))
    schedule = create(lasters, owner)
    assert (
        by_editor.patch(path(lasters, schedule), {"name": "Renamed"}).body["runs_as"] == lasters.owner.actor
    )
    assert by_editor.patch(path(lasters, schedule), {"enabled": False}).body["runs_as"] == lasters.owner.actor
    changed = by_editor.patch(path(lasters, schedule), {"arguments": {"x": 2}})
    assert changed.body["runs_as"] == editor.actor


def test_only_who_may_issue_keys_has_it_run_as_one(workers: Workers, lasters: Team) -> None:
    lasters.key("tools:execute", name="robot")
    key = next(each for each in list_keys(caller=lasters.owner) if each.name == "robot")
    editor = Rest(email=email_of(lasters.member(Role.EDITOR)))
    refused = editor.post(path(lasters), {**HOURLY, "key": str(key.pk)})
    assert (refused.status, refused.body["code"]) == (403, "role_missing")
    schedule = create(lasters, Rest(email=lasters.owner_email), key=str(key.pk))
    assert shown(lasters, schedule)["runs_as"].startswith("key:robot")
    # What an editor changes would be done with the key's rights.
    changed = editor.patch(path(lasters, schedule), {"cron": "* * * * *"}).body
    assert (changed["key"], changed["runs_as"].startswith("user:")) == (None, True)
    outsider = make_team()
    outsider.key(name="theirs")
    with tenant_scope(outsider.tenant_id):
        foreign = ApiKey.objects.get(name="theirs")
    for unknown in (foreign.pk, uuid4()):
        answer = Rest(email=lasters.owner_email).post(
            path(lasters), {**HOURLY, "name": "No", "key": str(unknown)}
        )
        assert (answer.status, answer.paths) == (400, {"key"})


@pytest.mark.parametrize(
    ("given", "at"),
    [
        ({"cron": "61 * * * *"}, "cron"),
        ({"cron": "0 0 30 2 *"}, "cron"),
        ({"time_zone": "Mars/Olympus"}, "time_zone"),
        ({"tool": "no-such-tool"}, "tool"),
        ({"server": "nowhere"}, "tool"),
        ({"overlap": "both"}, "overlap"),
        ({"missed": "all"}, "missed"),
        ({"priority": "urgent"}, "priority"),
        ({"name": " "}, "name"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_what_does_not_fit_is_told_beside_its_field(lasters: Team, given: dict[str, Any], at: str) -> None:
    answer = Rest.admin(lasters).post(path(lasters), {**HOURLY, **given})
    assert (answer.status, answer.paths) == (400, {at}), answer.body


def test_names_are_a_teams_own_and_there_is_a_bound(lasters: Team) -> None:
    create(lasters)
    taken = Rest.admin(lasters).post(path(lasters), HOURLY)
    assert (taken.status, taken.body["code"]) == (409, "name_taken")
    with tenant_scope(lasters.tenant_id):
        row = ToolSchedule.objects.get()
        for number in range(MAX_SCHEDULES - 1):
            row.pk, row.name = uuid4(), f"schedule {number}"
            row.save(force_insert=True)
    full = Rest.admin(lasters).post(path(lasters), {**HOURLY, "name": "One more"})
    assert (full.status, full.body["code"]) == (409, "too_many")


def test_roles_see_what_they_may_and_change_what_they_may(lasters: Team) -> None:
    schedule = create(lasters, arguments={"x": "of the team's data"})
    for role in (Role.VIEWER, Role.AUDITOR):
        rest = Rest(email=email_of(lasters.member(role)))
        found = rest.get(path(lasters, schedule))
        assert (found.status, found.body["arguments"]) == (200, None)
        assert rest.get(path(lasters, schedule, "runs")).status == 200
        tries = [
            rest.post(path(lasters), HOURLY),
            rest.patch(path(lasters, schedule), {"enabled": False}),
            rest.delete(path(lasters, schedule)),
            rest.post(path(lasters, schedule, "runs")),
        ]
        assert [each.status for each in tries] == [403] * 4
    narrowed = Rest(lasters.key("tasks:manage", "tools:execute", "tool:fail"))
    assert narrowed.get(path(lasters)).body["results"] == []
    assert narrowed.get(path(lasters, schedule)).status == 404


def test_why_a_run_failed_is_data(lasters: Team) -> None:
    said, schedule = "duplicate key: (email)=(ada@example.com)", create(lasters)
    with tenant_scope(lasters.tenant_id):
        scheduling.add_run(ToolSchedule.objects.get(id=schedule), timezone.now(), by="user:a")
        settle_run(ScheduledRun.objects.get(schedule=schedule).id, "error", fault=SourceError(said))

    def told(rest: Rest | None = None) -> list[str]:
        return [run["reason"] for run in history(lasters, schedule, rest)]

    auditor = lasters.member(Role.AUDITOR)
    assert told() == [said]
    assert told(Rest(email=email_of(lasters.member(Role.EDITOR)))) == [said]
    assert told(Rest(email=email_of(auditor))) == [""]
    change_member(get_own_membership(caller=auditor).pk, payloads=True, caller=lasters.owner)
    assert told(Rest(email=email_of(auditor))) == [said]


def test_older_runs_are_on_pages_of_their_own(lasters: Team) -> None:
    schedule, rest = create(lasters), Rest.admin(lasters)
    added = add_runs(lasters, schedule, 2 * LISTED_RUNS + 1)
    seen = []
    following = f"{path(lasters, schedule)}/runs"
    while following:
        found = rest.get(following.rpartition("/api/v1")[2])
        seen.append([UUID(each["id"]) for each in found.body["results"]])
        following = found.body["next"]
    assert [len(each) for each in seen] == [LISTED_RUNS, LISTED_RUNS, 1]
    assert [run for page in seen for run in page] == added
    for wrong in (uuid4(), "nonsense", add_runs(lasters, create(lasters, name="Other"), 1)[0]):
        refused = rest.get(f"{path(lasters, schedule)}/runs?before={wrong}")
        assert (refused.status, refused.paths) == (400, {"before"})


def add_runs(team: Team, schedule: UUID, count: int) -> list[UUID]:
    """Put runs into a schedule's history, that were due an hour after each other. Their ids, the newest first."""
    now = timezone.now()
    rows = [
        ScheduledRun(
            tenant_id=team.tenant_id, schedule_id=schedule, due_at=now - timedelta(hours=back), state="ok"
        )
        for back in range(count)
    ]
    with tenant_scope(team.tenant_id):
        return [row.id for row in ScheduledRun.objects.bulk_create(rows)]


def test_another_teams_schedule_and_an_unknown_one_get_the_same_404(lasters: Team) -> None:
    schedule = create(lasters)
    outsider = make_team()
    rest = Rest.admin(outsider)
    assert rest.get(path(outsider)).body["results"] == []
    for each in (schedule, uuid4(), "no-id"):
        below = path(outsider, each)
        answers = [
            rest.get(below),
            rest.patch(below, {"enabled": False}),
            rest.delete(below),
            rest.get(f"{below}/runs"),
            rest.post(f"{below}/runs"),
        ]
        assert {(answer.status, answer.body["code"]) for answer in answers} == {(404, "schedule_not_found")}
    assert rest.get(path(lasters, schedule)).status == 401
    assert Rest(email=outsider.owner_email).get(path(lasters, schedule)).status == 404
    assert take_due(outsider.tenant_id, schedule) is None


def test_a_look_at_all_teams_runs_what_is_due_of_each(
    workers: Workers, lasters: Team, lasting_backend: LastingBackend
) -> None:
    schedule = create(lasters)
    fall_due(lasters, schedule)
    assert run_due() >= 1
    until(lasters, schedule, "ok")


def test_times_are_described(lasters: Team) -> None:
    rest = Rest.admin(lasters)
    told = rest.get(f"{path(lasters, 'times')}?cron=*/15+*+*+*+*&time_zone=Asia/Kolkata").body
    assert told["words"] == "Every 15th minute of every hour (Asia/Kolkata)"
    assert len(told["next_at"]) == 5
    assert rest.get(f"{path(lasters, 'times')}?cron=x").paths == {"cron"}
