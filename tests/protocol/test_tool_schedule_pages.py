"""The pages of schedules of tools: its form with its next times, its history, paused, run now and deleted."""

from __future__ import annotations

import re
from typing import Any
from uuid import UUID

from django.test import Client

from servers.models import ScheduledRun, ToolSchedule
from servers.services.tasks.scheduled import open_arguments
from servers.services.tool_schedules import LISTED_RUNS, create_schedule, get_schedule, list_schedules
from tenants.roles import Role
from tenants.scoping import tenant_scope
from tests.factories import Team, make_team
from tests.frontend.visitor import client_of
from tests.protocol.tasks import TaskClient, Workers
from tests.protocol.test_tool_schedules import add_runs
from tests.protocol.test_work_pages import words_of
from tests.protocol.waiting import wait_for

ENTERED = {
    "name": "Weekly report",
    "tool": "quick",
    "server": "default",
    "arguments": '{"password": "hunter2"}',
    "cron": "0 6 * * 1",
    "time_zone": "Europe/Zurich",
    "overlap": "skip",
    "missed": "once",
    "priority": "high",
    "key": "",
}


def url(team: Team, rest: str = "") -> str:
    return f"/app/{team.slug}/work/schedules/{rest}"


def only(team: Team) -> ToolSchedule:
    [found] = list_schedules(caller=team.owner)
    return found.row


def set_up(team: Team, **given: Any) -> UUID:
    wanted = {"name": "Hourly", "tool": "quick", "cron": "0 * * * *", **given}
    return create_schedule(wanted, caller=team.owner).pk


def test_one_is_set_up_by_its_form_and_shows_its_next_times_on_the_clocks_of_its_zone(lasters: Team) -> None:
    client = client_of(lasters)
    assert "No schedule yet" in words_of(client, url(lasters))
    assert 'href="' + url(lasters) in client.get(f"/app/{lasters.slug}/work/").content.decode()
    assert client.post(url(lasters, "new"), ENTERED).status_code == 302
    row = only(lasters)
    assert (row.cron, row.zone, row.priority, row.actor) == (
        "0 6 * * 1",
        "Europe/Zurich",
        1,
        lasters.owner.actor,
    )
    words = words_of(client, url(lasters, f"{row.id}/"))
    assert "At 06:00 on Monday (Europe/Zurich)" in words
    assert words.count("06:00 CE") == 5
    assert "It has not run yet." in words
    assert "hunter2" not in words
    assert "[masked]" in words
    # What is not shown stays where nothing is entered.
    changed = {**ENTERED, "arguments": "", "cron": "30 6 * * 1"}
    assert client.post(url(lasters, f"{row.id}/"), changed).status_code == 302
    assert only(lasters).cron == "30 6 * * 1"
    with tenant_scope(lasters.tenant_id):
        assert open_arguments(ToolSchedule.objects.get()) == {"password": "hunter2"}


def test_what_does_not_fit_stands_beside_its_field(lasters: Team) -> None:
    client = client_of(lasters)
    for given, words in (
        ({"cron": "61 * * * *"}, "Has a fault in its field 1, the minute"),
        ({"tool": "nothing"}, "Cannot be called so by"),
        ({"arguments": "[]"}, "It must be a JSON object"),
        ({"time_zone": "Mars"}, "Select a valid choice"),
    ):
        answer = client.post(url(lasters, "new"), {**ENTERED, **given})
        assert answer.status_code == 400
        assert words in answer.content.decode(), given
    assert list_schedules(caller=lasters.owner) == []


def test_the_next_times_follow_what_is_typed(lasters: Team) -> None:
    client = client_of(lasters)
    told = words_of(client, url(lasters, "times?cron=*/15+*+*+*+*&time_zone=UTC"))
    assert "Every 15th minute of every hour (UTC). The next five times:" in told
    assert told.count(" UTC") >= 5
    assert "must have five fields" in words_of(client, url(lasters, "times?cron=x&time_zone=UTC"))


def test_it_is_run_now_paused_resumed_and_deleted(workers: Workers, lasters: Team) -> None:
    client = client_of(lasters)
    schedule = set_up(lasters)
    base = url(lasters, f"{schedule}/")
    assert client.post(f"{base}run").status_code == 302
    wait_for(
        lambda: (
            "out of turn, by" in words_of(client, f"{base}part") and " ok " in words_of(client, f"{base}part")
        )
    )
    part = client.get(f"{base}part").content.decode()
    with tenant_scope(lasters.tenant_id):
        run = ScheduledRun.objects.get()
    assert f"/work/{run.task_id}/" in part
    assert f"record {run.seq}" in part
    assert "a run of this schedule" in words_of(client, f"/app/{lasters.slug}/work/{run.task_id}/")
    record = words_of(client, f"/app/{lasters.slug}/log/{run.seq}")
    assert str(schedule) in record
    client.post(f"{base}switch", {"enabled": "false"})
    assert "Resume" in words_of(client, base)
    assert get_schedule(schedule, caller=lasters.owner).row.enabled is False
    client.post(f"{base}switch", {"enabled": "true"})
    assert get_schedule(schedule, caller=lasters.owner).row.enabled is True
    client.post(f"{base}delete", {"confirm": "hourly"})
    assert len(list_schedules(caller=lasters.owner)) == 1
    client.post(f"{base}delete", {"confirm": "Hourly"})
    assert list_schedules(caller=lasters.owner) == []


def test_one_that_marina_paused_says_why(lasters: Team) -> None:
    schedule = set_up(lasters)
    with tenant_scope(lasters.tenant_id):
        ToolSchedule.objects.update(enabled=False, paused_because="3 runs in a row did not begin: no scope.")
    words = words_of(client_of(lasters), url(lasters, f"{schedule}/"))
    assert "Marina paused it. 3 runs in a row did not begin: no scope." in words


def test_who_only_reads_has_no_form_and_an_outsider_no_page(lasters: Team) -> None:
    schedule = set_up(lasters)
    viewer = client_of(lasters, Role.VIEWER)
    page = viewer.get(url(lasters, f"{schedule}/")).content.decode()
    assert "Run now" not in page
    assert "Delete schedule" not in page
    assert viewer.post(url(lasters, f"{schedule}/run")).status_code == 403
    assert viewer.get(url(lasters, "new")).status_code == 403
    stranger: Client = client_of(make_team())
    assert stranger.get(url(lasters, f"{schedule}/")).status_code == 404
    assert stranger.post(url(lasters, f"{schedule}/run")).status_code == 404


def test_what_a_tool_says_is_on_its_tasks_page(tasker: TaskClient, workers: Workers, lasters: Team) -> None:
    task_id = tasker.begin("chatty")["taskId"]
    tasker.until(task_id)
    words = words_of(client_of(lasters), f"/app/{lasters.slug}/work/{task_id}/")
    assert "What it says" in words
    assert "warning lasting the disk is nearly full" in words
    assert "hunter2" not in words
    seen = words_of(client_of(lasters, Role.VIEWER), f"/app/{lasters.slug}/work/{task_id}/")
    assert "nearly full" not in seen


def test_older_runs_are_a_page_of_their_own_which_stands_still(lasters: Team) -> None:
    schedule, client = set_up(lasters), client_of(lasters)
    oldest = add_runs(lasters, schedule, LISTED_RUNS + 1)[-1]
    newest = client.get(url(lasters, f"{schedule}/")).content.decode()
    [older] = re.findall(r'rel="next" href="([^"]+)"', newest)
    assert "hx-trigger" in newest.partition('id="schedule-runs"')[2]
    assert str(oldest) not in older
    shown = client.get(older).content.decode().partition('id="schedule-runs"')[2]
    assert "hx-trigger" not in shown.partition("</section>")[0]
    assert shown.count('data-state="ok"') == 1
    assert ">Newest</a>" in shown
    assert client.get(url(lasters, f"{schedule}/?before=nonsense")).status_code == 400
