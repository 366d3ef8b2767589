"""What a queue hands to a worker: each task names its tenant, and what it names beside is looked for there alone."""

from __future__ import annotations

import inspect
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.conf import settings

from config.celery import app
from tenants.exports.claiming import find_unclaimed
from tenants.models import AuditExport
from tenants.scoping import TenantScopeMissing, tenant_scope
from tenants.services.exports import start_export
from tenants.tasks import run_export
from tests.factories import Team, make_team


@pytest.fixture
def team() -> Team:
    return make_team()


def export_of(team: Team) -> AuditExport:
    return start_export("jsonl", None, datetime.now(UTC), {}, caller=team.owner)


def status_of(team: Team, export: AuditExport) -> str:
    with tenant_scope(team.tenant_id):
        return AuditExport.objects.get(pk=export.pk).status


def own_tasks() -> dict[str, Any]:
    app.loader.import_default_modules()
    return {name: task for name, task in app.tasks.items() if not name.startswith("celery.")}


def test_a_task_carries_its_tenant_or_is_the_schedules_own() -> None:
    scheduled = {entry["task"] for entry in settings.CELERY_BEAT_SCHEDULE.values()}
    tasks = own_tasks()
    assert {"tenants.tasks.run_export", *scheduled} <= set(tasks)
    for name, task in tasks.items():
        parameters = list(inspect.signature(task.run).parameters)
        if name in scheduled:
            assert parameters == [], f"{name} finds by itself whose work it does, and is told nothing"
        else:
            assert parameters[0] == "tenant_id", f"{name} does not say first whose it is"


def test_an_envelope_holds_json_alone() -> None:
    assert (app.conf.task_serializer, list(app.conf.accept_content)) == ("json", ["json"])


def test_an_envelope_with_another_tenants_object_does_nothing(team: Team) -> None:
    other = make_team()
    theirs = export_of(other)
    run_export(team.tenant_id, str(theirs.pk))
    assert status_of(other, theirs) == "queued"
    run_export(other.tenant_id, str(theirs.pk))
    assert status_of(other, theirs) == "done"


@pytest.mark.parametrize("tenant_id", [0, -1, 2**62])
def test_an_envelope_of_no_tenant_finds_nothing(team: Team, tenant_id: int) -> None:
    export = export_of(team)
    run_export(tenant_id, str(export.pk))
    run_export(tenant_id, str(uuid4()))
    assert status_of(team, export) == "queued"


@pytest.mark.parametrize("tenant_id", [None, "1", "1 OR true", True, 1.0, [1]])
def test_an_envelope_whose_tenant_is_no_number_is_refused(team: Team, tenant_id: Any) -> None:
    export = export_of(team)
    with pytest.raises(TenantScopeMissing):
        run_export(tenant_id, str(export.pk))
    assert status_of(team, export) == "queued"


@pytest.mark.parametrize("number", ["", "nonsense", "'; DROP TABLE tenants_user; --"])
def test_an_envelope_whose_object_is_none_is_refused(team: Team, number: str) -> None:
    with pytest.raises(ValueError, match="UUID"):
        run_export(team.tenant_id, number)
    assert find_unclaimed(team.tenant_id) == []
    assert isinstance(export_of(team).pk, UUID)
