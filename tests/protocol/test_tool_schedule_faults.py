"""Schedules of tools when things go wrong: what waits, what is paused, what began twice, and what is said of faults."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import IntegrityError, connections, transaction
from django.utils import timezone

from core.errors import Forbidden, InvalidInput, MarinaError, SourceError
from servers.models import ScheduledRun, Task, ToolSchedule
from servers.services import scheduling
from servers.services.quarantine import refusal_of
from servers.services.scheduling import MAX_WAITING, begin_scheduled, find_due, take_due
from servers.services.tasks import runs
from servers.services.tasks.scheduled import MAX_REFUSALS, settle_run
from tenants.roles import Role
from tenants.scoping import tenant_scope
from tests.factories import Team, email_of, make_team
from tests.protocol.lasting import LastingBackend
from tests.protocol.tasks import Workers
from tests.protocol.test_tool_schedules import changes, create, fall_due, fire, history, path, shown, until
from tests.protocol.waiting import wait_for
from tests.rest import Rest

SAID = "Sign-in failed for postgres://bob:hunter2@db/x with password=hunter2: duplicate key (email)=(a@example.com)"


def add(team: Team, schedule: UUID, *, hours: float = 0, **given: object) -> UUID:
    """A run of the schedule that was due so many hours ago, and waits unless told otherwise."""
    with tenant_scope(team.tenant_id):
        row = ToolSchedule.objects.get(id=schedule)
        due = timezone.now() - timedelta(hours=hours)
        run = ScheduledRun(tenant_id=team.tenant_id, schedule=row, due_at=due)
        for name, value in given.items():
            setattr(run, name, value)
        run.save(force_insert=True)
    return run.id


def settle(team: Team, schedule: UUID, state: str, fault: MarinaError, *, hours: float) -> None:
    run = add(team, schedule, hours=hours)
    with tenant_scope(team.tenant_id):
        settle_run(run, state, fault=fault)


def refuse_often(team: Team, schedule: UUID, fault: MarinaError, state: str = "refused") -> None:
    for number in range(MAX_REFUSALS):
        settle(team, schedule, state, fault, hours=MAX_REFUSALS - number)


def states(team: Team, schedule: UUID) -> list[str]:
    return [each["state"] for each in history(team, schedule)]


def test_what_is_kept_of_a_fault_is_masked_and_what_paused_it_is_said_by_its_rule(lasters: Team) -> None:
    schedule = create(lasters)
    settle(lasters, schedule, "error", SourceError(SAID, code="source_failed"), hours=9)
    refuse_often(lasters, schedule, Forbidden(SAID, rule="scope:secrets", code="scope_missing"))
    with tenant_scope(lasters.tenant_id):
        reasons = list(ScheduledRun.objects.values_list("reason", flat=True))
    assert len(reasons) == MAX_REFUSALS + 1
    assert all("Sign-in failed" in each and "hunter2" not in each for each in reasons)
    viewer = Rest(email=email_of(lasters.member(Role.VIEWER)))
    because = viewer.get(path(lasters, schedule)).body["paused_because"]
    assert because == "3 runs in a row did not begin; the last one for scope_missing (rule scope:secrets)."
    (paused,) = changes(lasters, "toolschedule.paused")
    assert (paused.arguments or {})["after"]["because"] == because
    assert "Sign-in" not in str(paused.arguments)


def test_what_is_in_quarantine_pauses_no_schedule(lasters: Team) -> None:
    schedule = create(lasters)
    refuse_often(lasters, schedule, refusal_of("tool", "quick", "Its text changed."))
    assert states(lasters, schedule) == ["refused"] * MAX_REFUSALS
    assert shown(lasters, schedule)["enabled"] is True
    refuse_often(lasters, schedule, InvalidInput("No.", code="invalid_input"), "invalid")
    found = shown(lasters, schedule)
    assert (found["enabled"], found["paused_because"]) == (
        False,
        "3 runs in a row did not begin; the last one for invalid_input.",
    )


def test_the_end_of_a_run_whose_schedule_is_deleted_meanwhile_is_nobodys(lasters: Team) -> None:
    schedule = create(lasters)
    run = add(lasters, schedule)

    def end() -> None:
        try:
            with tenant_scope(lasters.tenant_id):
                settle_run(run, "refused", fault=Forbidden("No.", rule="x"))
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as pool:
        with tenant_scope(lasters.tenant_id):
            row = ToolSchedule.objects.select_for_update().get(id=schedule)
            ended = pool.submit(end)
            with pytest.raises(TimeoutError):
                ended.result(timeout=1)
            row.delete()
        ended.result(timeout=60)
    with tenant_scope(lasters.tenant_id):
        assert not ScheduledRun.objects.exists()


def test_a_teams_waiting_runs_keep_nobody_elses_from_beginning(
    lasters: Team,
) -> None:
    many = [create(lasters, name=f"n{number}", overlap="queue") for number in range(3)]
    for schedule in many:
        for hours in range(8):
            add(lasters, schedule, hours=9_000 + hours)
    other = make_team()
    with tenant_scope(other.tenant_id):
        row = ToolSchedule(
            tenant_id=other.tenant_id,
            name="x",
            tool="quick",
            cron="0 * * * *",
            zone="UTC",
            user_id=other.owner.user_id,
            next_at=timezone.now() + timedelta(hours=1),
        )
        row.save(force_insert=True)
    add(other, row.id, hours=8_000)
    mine = [(lasters.tenant_id, schedule) for schedule in many]
    assert {*mine, (other.tenant_id, row.id)} <= {*find_due(len(many) + 1)}
    # Those that were tried already come behind the one that was not.
    for schedule in many:
        assert take_due(lasters.tenant_id, schedule) is not None
    assert (other.tenant_id, row.id) in find_due(1)
    with tenant_scope(other.tenant_id):
        row.delete()


def test_a_schedule_that_has_one_running_is_not_looked_at_for_those_that_wait(
    workers: Workers, lasters: Team, held: LastingBackend, on_loop: Any
) -> None:
    schedule = create(lasters, tool="hold", overlap="queue")
    fire(lasters, schedule)
    assert held.entered.acquire(timeout=60)
    add(lasters, schedule)
    assert (lasters.tenant_id, schedule) not in find_due()
    on_loop(held.let_go())
    wait_for(lambda: states(lasters, schedule) == ["waiting", "ok"])
    assert (lasters.tenant_id, schedule) in find_due()
    with tenant_scope(lasters.tenant_id):
        # One whose task is gone keeps nothing waiting, either.
        ScheduledRun.objects.filter(state="ok").update(state="running", task_id=UUID(int=1))
    assert (lasters.tenant_id, schedule) in find_due()


def test_no_more_than_so_many_are_made_out_of_turn(workers: Workers, lasters: Team) -> None:
    schedule = create(lasters, overlap="queue")
    add(lasters, schedule, hours=1, begun_at=timezone.now())
    rest = Rest.admin(lasters)
    answers = [rest.post(path(lasters, schedule, "runs")) for _ in range(MAX_WAITING + 2)]
    assert [each.status for each in answers] == [202] * MAX_WAITING + [409] * 2
    assert answers[-1].body["code"] == "too_many_waiting"


def test_a_run_whose_process_ended_has_one_task_although_its_schedule_was_changed(
    workers: Workers, lasters: Team, lasting_backend: LastingBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    schedule = create(lasters)
    fall_due(lasters, schedule)
    begin = take_due(lasters.tenant_id, schedule)
    assert begin is not None
    with monkeypatch.context() as dying:
        dying.setattr(scheduling, "_note_begun", lambda *_: None)
        dying.setattr(runs, "note_scheduled_end", lambda *_, **__: None)
        begin_scheduled(begin)
        with tenant_scope(lasters.tenant_id):
            wait_for(lambda: Task.objects.filter(scheduled_run=begin.run_id, status="completed").exists())
    admin = Rest(email=email_of(lasters.member(Role.ADMIN)))
    changed = admin.patch(path(lasters, schedule), {"arguments": {"x": 2}, "priority": "low"})
    assert changed.status == 200
    with tenant_scope(lasters.tenant_id):
        ScheduledRun.objects.update(begun_at=timezone.now() - timedelta(minutes=2))
    again = take_due(lasters.tenant_id, schedule)
    assert again is not None
    begin_scheduled(again)
    with tenant_scope(lasters.tenant_id):
        (task,) = Task.objects.filter(scheduled_run=begin.run_id)
        assert ScheduledRun.objects.get().task_id == task.id
        task.id, task.idempotency_key = UUID(int=7), None
        with pytest.raises(IntegrityError), transaction.atomic():
            task.save(force_insert=True)
    assert lasting_backend.runs[lasters.slug, "quick"] == 1


@pytest.mark.parametrize("by", ["a person", "marina"])
def test_pausing_stops_what_waits(lasters: Team, by: str) -> None:
    schedule = create(lasters, overlap="queue")
    add(lasters, schedule, hours=20)
    add(lasters, schedule, hours=19, by="user:x")
    if by == "a person":
        Rest.admin(lasters).patch(path(lasters, schedule), {"enabled": False})
        rest = []
    else:
        refuse_often(lasters, schedule, Forbidden("No.", rule="x"))
        rest = ["refused"] * MAX_REFUSALS
    assert states(lasters, schedule) == [*rest, "skipped", "skipped"]
    assert {each["reason"] for each in history(lasters, schedule)[-2:]} == {"The schedule was paused."}
    assert (lasters.tenant_id, schedule) not in find_due()
    assert take_due(lasters.tenant_id, schedule) is None


def test_what_was_about_to_begin_when_it_was_paused_does_not_begin_later(lasters: Team) -> None:
    schedule = create(lasters)
    fall_due(lasters, schedule)
    assert take_due(lasters.tenant_id, schedule) is not None
    Rest.admin(lasters).patch(path(lasters, schedule), {"enabled": False})
    assert states(lasters, schedule) == ["waiting"]
    with tenant_scope(lasters.tenant_id):
        ScheduledRun.objects.update(begun_at=timezone.now() - timedelta(minutes=2))
    assert take_due(lasters.tenant_id, schedule) is None
    assert states(lasters, schedule) == ["skipped"]


def test_a_paused_schedule_is_run_now_all_the_same(workers: Workers, lasters: Team) -> None:
    schedule = create(lasters, enabled=False)
    assert Rest.admin(lasters).post(path(lasters, schedule, "runs")).status == 202
    until(lasters, schedule, "ok")


@pytest.mark.parametrize("minutes", [-10, 10])
def test_what_time_it_is_says_the_database(
    lasters: Team, monkeypatch: pytest.MonkeyPatch, minutes: int
) -> None:
    due, early = (create(lasters, name=name, missed="skip", cron="* * * * *") for name in ("due", "early"))
    now = timezone.now()
    with tenant_scope(lasters.tenant_id):
        ToolSchedule.objects.filter(id=due).update(next_at=now.replace(second=0, microsecond=0))
        ToolSchedule.objects.filter(id=early).update(next_at=now + timedelta(minutes=5))
    moved = timedelta(minutes=minutes)
    monkeypatch.setattr(timezone, "now", lambda: datetime.now(now.tzinfo) + moved)
    assert take_due(lasters.tenant_id, due) is not None
    assert take_due(lasters.tenant_id, early) is None
    with tenant_scope(lasters.tenant_id):
        (run,) = ScheduledRun.objects.all()
        assert (run.schedule_id, run.state) == (due, "waiting")
        assert run.begun_at is not None
        assert abs(run.begun_at - now) < timedelta(minutes=1)


def test_a_record_of_a_change_shows_what_the_tool_is_called_with_masked(lasters: Team) -> None:
    schedule = create(lasters, arguments={"x": 1, "password": "hunter2"})
    Rest.admin(lasters).patch(path(lasters, schedule), {"arguments": {"x": 2, "password": "hunter2"}})
    (changed,) = changes(lasters, "toolschedule.changed")
    found = changed.arguments or {}
    assert [found[at]["arguments"] for at in ("before", "after")] == [
        {"x": 1, "password": "[masked]"},
        {"x": 2, "password": "[masked]"},
    ]


def test_arguments_that_do_not_open_end_the_run_and_are_given_anew(workers: Workers, lasters: Team) -> None:
    schedule = create(lasters)
    with tenant_scope(lasters.tenant_id):
        ToolSchedule.objects.update(sealed=b"damaged")
    assert fire(lasters, schedule) is None
    (run,) = history(lasters, schedule)
    assert (run["state"], "cannot be opened any more" in run["reason"]) == ("invalid", True)
    assert (lasters.tenant_id, schedule) not in find_due()
    assert shown(lasters, schedule)["arguments"] is None
    assert Rest.admin(lasters).patch(path(lasters, schedule), {"arguments": {"x": 1}}).status == 200
    fire(lasters, schedule)
    until(lasters, schedule, "ok", "invalid")
