"""``/ready`` answers in time whatever hangs, and says what does."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from time import monotonic
from uuid import uuid4

import pytest
from django.test import Client, override_settings
from django.utils import timezone

from config import health
from config.celery import app
from config.env import get_env
from config.health import Probe
from core.loop import run_async
from servers.services.runtime import get_runtime
from servers.services.tasks.line import join_line, leave_line
from tenants.changes import redis_client
from tenants.models import AuditExport, Tenant
from tenants.scoping import tenant_scope
from tenants.services.exports import start_export
from tenants.tasks import run_export
from tests.factories import make_team
from tests.rest import Rest


@pytest.fixture
def silent_redis() -> Iterator[str]:
    """The URL of something that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"redis://127.0.0.1:{server.getsockname()[1]}/0"


@pytest.fixture
def started_runtime() -> None:
    run_async(get_runtime().start())


@pytest.fixture
def no_exports(database: None) -> None:
    """What other tests left to be exported has ended."""
    for tenant_id in Tenant.objects.values_list("id", flat=True):
        with tenant_scope(tenant_id):
            AuditExport.objects.filter(status__in=("queued", "running")).update(status="cancelled")


def test_a_part_that_hangs_is_named_and_asked_once_at_a_time() -> None:
    go, asked = threading.Event(), []

    def hang() -> health.Part:
        asked.append(1)
        go.wait(60)
        return {"state": "healthy"}

    probe = Probe(hang, "It does not answer.")
    waiting = [probe.ask() for _ in range(3)]
    assert probe.answer(waiting[0], monotonic()) == {"state": "unhealthy", "reason": "It does not answer."}
    go.set()
    assert [probe.answer(each, monotonic() + 60)["state"] for each in waiting] == ["healthy"] * 3
    assert asked == [1]
    probe.answer(probe.ask(), monotonic() + 60)
    assert asked == [1, 1]


def test_a_part_that_gave_up_by_itself_is_as_one_that_hangs() -> None:
    def give_up() -> health.Part:
        raise TimeoutError

    probe = Probe(give_up, "It does not answer.")
    answer = probe.answer(probe.ask(), monotonic() + 60)
    assert answer == {"state": "unhealthy", "reason": "It does not answer."}


def test_a_database_that_hangs_is_reported_with_the_log_in_it(
    monkeypatch: pytest.MonkeyPatch, started_runtime: None
) -> None:
    go = threading.Event()

    def hang() -> health.Part:
        go.wait(60)
        return {"state": "healthy"}

    monkeypatch.setattr(health, "READY_SECONDS", 1.0)
    monkeypatch.setitem(health._PROBES, "database", Probe(hang, "PostgreSQL does not answer."))
    try:
        answer = Client().get("/ready")
    finally:
        go.set()
    parts = answer.json()["parts"]
    assert answer.status_code == 503
    assert (parts["database"]["state"], parts["log"]["state"]) == ("unhealthy", "unhealthy")


def test_a_redis_that_hangs_is_reported_for_itself_and_for_the_workers(
    silent_redis: str, started_runtime: None, no_exports: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        override_settings(ENV=replace(get_env(), redis_url=silent_redis)),
        app.connection(silent_redis) as line,
    ):
        monkeypatch.setattr(app.control, "ping", lambda **kwargs: line.default_channel)
        answer = Client().get("/ready")
    parts = answer.json()["parts"]
    assert answer.status_code == 503
    assert {name: part["state"] for name, part in parts.items()} == {
        "database": "healthy",
        "log": "healthy",
        "redis": "unhealthy",
        "workers": "unhealthy",
        "tasks": "unhealthy",
        "exports": "healthy",
        "commands": "healthy",
        "heavy": "healthy",
    }


def test_a_heavy_process_that_is_not_there_is_said(started_runtime: None, tmp_path: Path) -> None:
    path = tmp_path / "heavy.sock"

    def told() -> tuple[int, str, health.Part]:
        env = get_env()
        with override_settings(ENV=replace(env, web=replace(env.web, heavy_socket=str(path)))):
            answer = Client().get("/ready")
        part: health.Part = answer.json()["parts"]["heavy"]
        return answer.status_code, answer.json()["status"], part

    assert Client().get("/ready").json()["parts"]["heavy"] == {"state": "healthy", "used": False}
    assert told()[2]["state"] == "unhealthy"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heavy:
        heavy.bind(str(path))
        assert told()[2] == {"state": "healthy", "used": True}
    # Its file outlives it where it was killed.
    status, whole, part = told()
    assert (status, whole, part["state"]) == (200, "degraded", "unhealthy")
    assert "MARINA_HEAVY_SOCKET" in part["reason"]


def test_without_a_worker_for_tasks_marina_serves_and_says_how_many_wait(
    started_runtime: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    sign, team = f"test:{uuid4()}", make_team()
    monkeypatch.setattr(health, "SIGN", sign)
    before = Client().get("/ready").json()["parts"]["tasks"]["waiting"]
    task = uuid4()
    join_line(team.tenant_id, task)
    answer = Client().get("/ready")
    assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
    tasks = answer.json()["parts"]["tasks"]
    assert (tasks["state"], tasks["waiting"]) == ("unhealthy", before + 1)
    assert "No worker for tasks" in tasks["reason"]
    redis_client().set(sign, "worker-1", ex=60)
    assert Client().get("/ready").json()["parts"]["tasks"] == {"state": "healthy", "waiting": before + 1}
    leave_line([task])


def test_exports_that_nobody_takes_are_said_after_a_minute_and_those_behind_another_are_not(
    started_runtime: None, no_exports: None
) -> None:
    team = make_team()

    def told() -> health.Part:
        part: health.Part = Client().get("/ready").json()["parts"]["exports"]
        return part

    def change(export: AuditExport, **values: object) -> None:
        with tenant_scope(team.tenant_id):
            AuditExport.objects.filter(pk=export.pk).update(**values)

    waiting, other = (start_export(caller=team.owner) for _ in range(2))
    assert told() == {"state": "healthy", "waiting": 0}
    change(waiting, created_at=timezone.now() - timedelta(seconds=62))
    answer = Client().get("/ready")
    assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
    assert (told()["state"], told()["waiting"]) == ("unhealthy", 1)
    assert "No worker takes exports" in told()["reason"]
    change(other, status="running", lease_until=timezone.now() + timedelta(seconds=30))
    assert told() == {"state": "healthy", "waiting": 1}
    change(other, lease_until=timezone.now() - timedelta(seconds=62))
    assert (told()["state"], told()["waiting"]) == ("unhealthy", 2)
    for each in (waiting, other):
        change(each, status="cancelled", lease_until=None)
    assert told() == {"state": "healthy", "waiting": 0}


def test_an_export_is_accepted_while_the_queue_hangs(
    silent_redis: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    team = make_team()
    with app.connection(silent_redis) as line:
        hint = partial(run_export.apply_async, connection=line)
        monkeypatch.setattr(run_export, "apply_async", hint)
        answer = Rest.admin(team).post(f"/tenants/{team.slug}/audit/exports", {})
    assert (answer.status, answer.body["status"]) == (202, "queued")


def test_a_process_that_ends_is_not_ready_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "draining", lambda: True)
    answer = Client().get("/ready")
    assert answer.status_code == 503
    assert answer.json()["status"] == "draining"
