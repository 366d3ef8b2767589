"""``kill -9`` of the worker that runs tasks, again and again: each ends, none is done twice, and the log has it all.

``MARINA_FAULT_ROUNDS`` is how often it is killed.
"""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import psycopg
import pytest
from django.conf import settings

from config.celery import app
from servers.models import Task, Tool
from servers.services.changes import publish_change
from servers.services.sources import create_source
from servers.tasks import sweep_tasks
from tenants.audit.records import decode
from tenants.audit.verification import verify_log
from tenants.models import AuditRecord
from tenants.scoping import tenant_scope
from tests.factories import Team, make_database, make_team
from tests.faults.web import KillableWeb
from tests.faults.worker import KillableWorker
from tests.protocol.tasks import ENDED, TaskClient
from tests.protocol.wireclient import Endpoint

ROUNDS: Final = int(os.environ.get("MARINA_FAULT_ROUNDS") or 2)
TASKS: Final = 12
"""Begun in each round, on half as many places."""
SECONDS: Final = 90.0

_SLOWLY: Final = (
    "INSERT INTO done SELECT %d FROM "
    "(SELECT count(*) FROM generate_series(1, 4000000) AS g (i) WHERE i %% 7 = 0) AS slow"
)


@pytest.fixture
def dsn(database: None) -> str:
    return make_database("CREATE TABLE done (number bigint); GRANT INSERT ON done TO PUBLIC")


@pytest.fixture
def team(dsn: str) -> Team:
    """A team whose writing tool, which says of nothing that it may be done twice, runs at a worker."""
    made = make_team()
    create_source("done", "postgres", {"dsn": dsn, "allow_writes": True}, caller=made.owner)
    with tenant_scope(made.tenant_id):
        Tool.objects.filter(name="execute_transaction").update(runs=Tool.Runs.WORKER)
        publish_change(made.tenant_id)
    return made


@pytest.fixture
def worker(database: None, tmp_path: Path) -> Iterator[KillableWorker]:
    made = KillableWorker(tmp_path / "worker.log", slots=TASKS // 2)
    try:
        made.start()
        yield made
    finally:
        made.close()


@pytest.mark.timeout(120 + 60 * ROUNDS)
def test_each_task_ends_and_none_is_done_twice(
    web: KillableWeb, worker: KillableWorker, team: Team, dsn: str
) -> None:
    client = TaskClient(Endpoint(web.port, f"/mcp/{team.slug}", team.key("tools:execute")))
    numbers: dict[str, int] = {}
    for number in range(ROUNDS):
        for one in range(TASKS):
            call = number * TASKS + one
            numbers[client.begin("execute_transaction", {"queries": [_SLOWLY % call]})["taskId"]] = call
        # Other moments each time.
        time.sleep(0.3 + 0.4 * number)
        worker.kill()
        worker.start()
    deadline = time.monotonic() + SECONDS
    while open_tasks(team):
        assert time.monotonic() < deadline, (open_tasks(team), worker.log.read_text()[-3_000:])
        sweep_tasks()
        time.sleep(0.5)
    ended = {task_id: client.get(task_id) for task_id in numbers}
    assert {each["status"] for each in ended.values()} <= set(ENDED)
    done = Counter(effects(dsn))
    assert max(done.values()) == 1, done
    well = {numbers[task_id] for task_id, each in ended.items() if each["status"] == "completed"}
    assert well <= done.keys()
    unknown = [each["error"]["data"]["code"] for each in ended.values() if each["status"] == "failed"]
    assert set(unknown) <= {"outcome_unknown"}
    # What was killed in the middle is said to be, and nothing else.
    assert len(unknown) <= ROUNDS * TASKS // 2
    print(f"{len(well)} done, {len(unknown)} unknown, {len(done)} effects, {ROUNDS} kills")
    assert_recorded(team, {task_id: each["status"] for task_id, each in ended.items()})


@pytest.mark.parametrize("way", ["signal", "broker"])
def test_a_worker_that_is_told_to_end_ends_its_tasks_first(
    web: KillableWeb, worker: KillableWorker, team: Team, dsn: str, way: str
) -> None:
    client = TaskClient(Endpoint(web.port, f"/mcp/{team.slug}", team.key("tools:execute")))
    for number in range(2):
        client.begin("execute_transaction", {"queries": [_SLOWLY % number]})
    deadline = time.monotonic() + SECONDS
    while count_begun(team) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    if way == "signal":
        os.kill(worker.pid, signal.SIGTERM)
    else:
        app.control.shutdown(destination=[worker.name])
    assert worker.process is not None
    assert worker.process.wait(SECONDS) == 0
    # Nobody swept.
    assert open_tasks(team) == 0, worker.log.read_text()[-3_000:]
    assert sorted(effects(dsn)) == [0, 1]


def count_begun(team: Team) -> int:
    with tenant_scope(team.tenant_id):
        return Task.objects.filter(begun=True).count()


def open_tasks(team: Team) -> int:
    with tenant_scope(team.tenant_id):
        return Task.objects.exclude(status__in=ENDED).count()


def effects(dsn: str) -> list[int]:
    owned = f"{settings.ENV.database_url.rpartition('/')[0]}/{dsn.rpartition('/')[2]}"
    with psycopg.connect(owned) as connection:
        return [row[0] for row in connection.execute("SELECT number FROM done")]


def assert_recorded(team: Team, statuses: Mapping[str, str]) -> None:
    """Each task has one intent and one outcome in the log, which is whole."""
    assert verify_log(team.tenant_id).seq
    with tenant_scope(team.tenant_id):
        rows = AuditRecord.objects.filter(kind="tools/call").order_by("seq")
        found: list[dict[str, Any]] = [{**decode(bytes(row.body)), "seq": row.seq} for row in rows]
    for task_id, status in statuses.items():
        records = [each for each in found if each.get("task") == task_id]
        outcome = "ok" if status == "completed" else "error"
        assert [each["outcome"] for each in records] == ["intent", outcome], (task_id, records)
        assert records[1]["intent"] == records[0]["seq"]
