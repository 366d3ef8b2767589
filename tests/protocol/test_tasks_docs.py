"""The examples and the bounds of docs/tasks.md, as they stand there."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

from config.envparts import LongWork
from servers.models import MAX_DEADLINE
from servers.services.long_work import STATUSES
from servers.services.scheduling import KEPT_RUNS, MAX_WAITING
from servers.services.tasks import rows, running, runs
from servers.services.tasks.line import LEASE
from servers.services.tasks.plans import INLINE_SECONDS, WORKER_SECONDS
from servers.services.tasks.saying import MAX_BYTES, MAX_LINES
from servers.services.tasks.scheduled import MAX_REFUSALS
from servers.services.tool_schedules import LISTED_RUNS, MAX_SCHEDULES
from servers.services.tools import list_tools
from servers.tasks import TASKS_QUEUE
from tests.factories import Team
from tests.protocol.lasting import LastingBackend
from tests.protocol.tasks import TaskClient, Workers
from tests.protocol.waiting import wait_for
from tests.rest import Answer, Rest

PAGE = (Path(__file__).parents[2] / "docs" / "tasks.md").read_text(encoding="utf-8")
PLAIN = " ".join(PAGE.split())


def run_lines(team: Team, *, but: str = "\n", **names: str) -> dict[str, Answer]:
    """What each `api` line with these names of the page answers, ``but`` for one, by method and last word."""
    rest = Rest.admin(team)
    answers = {}
    for line in re.findall(r"^api (.+)$", PAGE, re.MULTILINE):
        if but in line or not any(f"${name}" in line for name in names):
            continue
        for name, value in names.items():
            line = line.replace(f"${name}", value)  # noqa: PLW2901 - the line as it is run
        words = shlex.split(line.replace("$MARINA/api/v1/tenants/demo", f"/tenants/{team.slug}"))
        method, body = "get", None
        while words[0].startswith("-") or len(words) > 1:
            if words[0] == "-X":
                method, words = words[1].lower(), words[2:]
            elif words[1] == "-d":
                body, words = json.loads(words[2]), words[:1]
        answers[f"{method} {words[0].rpartition('/')[2]}"] = rest.call(method, words[0], body)
    return answers


def test_where_a_tool_runs_is_read_and_set_as_it_stands_there(lasters: Team) -> None:
    tool = next(each for each in list_tools(caller=lasters.owner) if each.name == "inline")
    answers = run_lines(lasters, TOOL=str(tool.pk))
    assert answers["get running"].body["where"] == "inline"
    set_to = answers["patch running"].body
    assert (set_to["where"], set_to["runs"], set_to["deadline"]) == ("worker", "worker", 300)


def test_a_task_is_read_cancelled_and_run_again_as_it_stands_there(
    tasker: TaskClient, workers: Workers, lasters: Team, held: LastingBackend
) -> None:
    rest = Rest.admin(lasters)
    task_id = tasker.begin("hold")["taskId"]
    assert held.entered.acquire(timeout=60)
    answers = run_lines(lasters, but="run-again", TASK=task_id)
    assert answers[f"get {task_id}"].body["standing"] == "running"
    assert answers["post cancel"].status == 202
    below = f"/tenants/{lasters.slug}/tasks"
    wait_for(lambda: rest.get(f"{below}/{task_id}").body["status"] == "cancelled")
    again = run_lines(lasters, TASK=task_id)
    assert (again["post cancel"].status, again["post run-again"].status) == (409, 201)
    assert held.entered.acquire(timeout=60)
    (query,) = re.findall(r"demo/tasks(\?status=\w+)", PAGE)
    (waiting,) = rest.get(f"{below}{query}").body["results"]
    assert waiting["id"] == again["post run-again"].body["id"]
    rest.post(f"{below}/{waiting['id']}/cancel")
    wait_for(lambda: rest.get(f"{below}/{waiting['id']}").body["status"] == "cancelled")


def test_the_same_call_twice_is_one_task(
    tasker: TaskClient, workers: Workers, lasters: Team, lasting_backend: LastingBackend
) -> None:
    example = re.findall(r"```json\n(.*?)\n```", PAGE, re.DOTALL)[0]
    given: dict[str, Any] = json.loads(example)
    first, second = (tasker.begin("quick", given["arguments"], given["_meta"]) for _ in range(2))
    assert first["taskId"] == second["taskId"]
    tasker.until(first["taskId"])
    assert lasting_backend.runs[lasters.slug, "quick"] == 1
    assert f"Keys are text of {rows.KEY_CHARACTERS} characters at most" in PLAIN


def test_a_schedule_is_set_up_read_paused_and_run_as_it_stands_there(
    workers: Workers, lasters: Team, lasting_backend: LastingBackend
) -> None:
    rest = Rest.admin(lasters)
    (body,) = re.findall(r"/schedules -d '(.+)'$", PAGE, re.MULTILINE)
    made = rest.post(f"/tenants/{lasters.slug}/schedules", {**json.loads(body), "tool": "quick"})
    assert made.status == 201, made.body
    answers = run_lines(lasters, SCHEDULE=made.body["id"])
    assert answers[f"get {made.body['id']}"].body["words"] == "At 06:00 on Monday (Europe/Zurich)"
    assert answers[f"patch {made.body['id']}"].body["enabled"] is False
    assert answers["post runs"].status == 202
    assert len(answers["get runs"].body["results"]) == 1
    below = f"/tenants/{lasters.slug}/schedules/{made.body['id']}/runs"
    wait_for(lambda: rest.get(below).body["results"][0]["state"] == "ok")
    assert lasting_backend.runs[lasters.slug, "quick"] == 1


def test_a_call_says_its_priority_as_it_stands_there(
    tasker: TaskClient, workers_later: Workers, lasters: Team
) -> None:
    given: dict[str, Any] = json.loads(re.findall(r"```json\n(.*?)\n```", PAGE, re.DOTALL)[1])
    task_id = tasker.begin("quick", given["arguments"], given["_meta"])["taskId"]
    assert Rest.admin(lasters).get(f"/tenants/{lasters.slug}/tasks/{task_id}").body["priority"] == "low"


def test_the_bounds_are_those_of_the_page() -> None:
    limits = LongWork()
    for name, value in (
        ("MARINA_TASK_SLOTS", limits.slots),
        ("MARINA_TASKS_PER_TEAM", limits.per_team),
        ("MARINA_OPEN_TASKS_PER_TEAM", limits.open_per_team),
        ("MARINA_TASK_TTL_SECONDS", limits.ttl_seconds),
    ):
        assert f"| `{name}` | `{value}` |" in PAGE
    assert f"{MAX_DEADLINE:,} (a day) at most" in PLAIN
    assert f"{INLINE_SECONDS:g} seconds within its request, and {WORKER_SECONDS:g} at a worker" in PLAIN
    assert f"a sign in the last {running.SIGN_SECONDS} seconds" in PLAIN
    assert runs.MAX_RUNS == 3
    assert "three times in all at most" in PLAIN
    assert (LEASE.total_seconds(), "sign of life holds for ten seconds" in PLAIN) == (10, True)
    assert f"the newest {MAX_LINES} lines, {MAX_BYTES // 1024} KiB" in PLAIN
    assert (MAX_REFUSALS, "After three in a row" in PLAIN) == (3, True)
    assert (MAX_WAITING, "ten at most" in PLAIN) == (10, True)
    assert f"the newest {KEPT_RUNS} runs, {LISTED_RUNS} on a page," in PLAIN
    assert f"A team has {MAX_SCHEDULES} schedules at most" in PLAIN
    assert f"--queues {TASKS_QUEUE} " in PAGE
    assert [each for each in STATUSES if f"`{each}`" not in PAGE] == []
