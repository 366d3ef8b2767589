"""The pages of scheduled exports."""

from __future__ import annotations

from django.test import Client

from tenants.models import AuditExport
from tenants.roles import Role
from tenants.scoping import tenant_scope
from tenants.services.export_schedules import create_schedule, get_schedule, list_schedules, run_schedule
from tests.factories import Team
from tests.frontend.visitor import client_of

ENTERED = {
    "name": "Archive",
    "format": "csv",
    "kind": "tools/call",
    "every": "daily",
    "hour": "2",
    "minute": "30",
    "weekday": "0",
    "day": "1",
    "endpoint": "https://minio.example.com:9000",
    "region": "us-east-1",
    "bucket": "audit-logs",
    "folder": "marina",
    "access_key": "AKIDEXAMPLE",
    "secret_key": "never-shown-again",
    "enabled": "on",
}


def test_one_is_set_up_and_changed_by_its_form_and_its_secret_key_is_on_no_page(
    client: Client, team: Team
) -> None:
    base = f"/app/{team.slug}/exports/schedules"
    assert "No scheduled export yet" in client.get(f"{base}/").content.decode()
    assert client.post(f"{base}/new", ENTERED).status_code == 302
    [row] = list_schedules(caller=team.owner)
    assert (row.format, row.filters, row.hour) == ("csv", {"kind": "tools/call"}, 2)
    for path in (f"{base}/", f"{base}/{row.id}/"):
        page = client.get(path).content.decode()
        assert "every day at 02:30 UTC" in page
        assert "never-shown-again" not in page
    changed = {**ENTERED, "hour": "5", "kind": "", "secret_key": ""}
    assert client.post(f"{base}/{row.id}/", changed).status_code == 302
    row = get_schedule(row.id, caller=team.owner)
    assert (row.hour, row.filters) == (5, {})
    refused = client.post(f"{base}/{row.id}/", {**changed, "bucket": "another"})
    assert refused.status_code == 400
    assert "ust be entered again" in refused.content.decode()
    refused = client.post(f"{base}/new", {**ENTERED, "name": "B", "endpoint": "ftp://x"})
    assert refused.status_code == 400
    assert "never-shown-again" not in refused.content.decode()


def test_its_runs_are_shown_with_where_they_are(client: Client, team: Team) -> None:
    given = {name: ENTERED[name] for name in ("name", "bucket", "access_key", "secret_key")}
    row = create_schedule(given, caller=team.owner)
    path = f"/app/{team.slug}/exports/schedules/{row.id}"
    client.post(f"{path}/run")
    page = client.get(f"{path}/").content.decode()
    assert "on its way to the bucket" in page
    with tenant_scope(team.tenant_id):
        [run] = AuditExport.objects.all()
        AuditExport.objects.filter(id=run.id).update(
            status="done", delivery="failed", delivery_error="There is no bucket audit-logs."
        )
    assert "There is no bucket audit-logs." in client.get(f"{path}/").content.decode()
    page = client.get(f"/app/{team.slug}/exports/{run.id}/").content.decode()
    assert "Put it into the bucket once more" in page
    client.post(f"/app/{team.slug}/exports/{run.id}/deliver")
    assert "on its way to the bucket" in client.get(f"{path}/").content.decode()


def test_one_is_deleted_when_its_name_is_typed(client: Client, team: Team) -> None:
    given = {name: ENTERED[name] for name in ("name", "bucket", "access_key", "secret_key")}
    row = create_schedule(given, caller=team.owner)
    path = f"/app/{team.slug}/exports/schedules/{row.id}/delete"
    client.post(path, {"confirm": "archive"})
    assert list_schedules(caller=team.owner)
    client.post(path, {"confirm": "Archive"})
    assert list_schedules(caller=team.owner) == []


def test_an_auditor_sees_them_and_has_no_form(team: Team) -> None:
    given = {name: ENTERED[name] for name in ("name", "bucket", "access_key", "secret_key")}
    row = create_schedule(given, caller=team.owner)
    run = run_schedule(row.id, caller=team.owner)
    auditor = client_of(team, Role.AUDITOR)
    for path in ("", f"{run.id}/"):
        shown = auditor.get(f"/app/{team.slug}/exports/{path}").content.decode()
        assert f"records {run.first_seq}" in shown
        assert f"{run.id}/cancel" not in shown
    for act in ("cancel", "run-again"):
        assert auditor.post(f"/app/{team.slug}/exports/{run.id}/{act}").status_code == 403
    page = auditor.get(f"/app/{team.slug}/exports/schedules/{row.id}/")
    assert page.status_code == 200
    assert 'name="secret_key"' not in page.content.decode()
    assert auditor.post(f"/app/{team.slug}/exports/schedules/{row.id}/run").status_code == 403
    assert auditor.get(f"/app/{team.slug}/exports/schedules/new").status_code == 403
