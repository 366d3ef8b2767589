"""Scheduled exports over REST: set up, changed, run, deleted by those who may; the secret key is told to nobody."""

from __future__ import annotations

import json

import pytest

from tenants.models import AuditExport
from tenants.scoping import tenant_scope
from tests.factories import Team, make_team
from tests.rest import Rest

GIVEN = {
    "name": "Archive",
    "every": "weekly",
    "weekday": 4,
    "bucket": "audit-logs",
    "region": "eu-central-1",
    "access_key": "AKIDEXAMPLE",
    "secret_key": "never-told-to-anybody",
}


@pytest.fixture
def team() -> Team:
    return make_team()


def test_a_schedule_is_set_up_changed_run_and_deleted(team: Team) -> None:
    rest, path = Rest.admin(team), f"/tenants/{team.slug}/audit/export-schedules"
    made = rest.post(path, GIVEN)
    assert made.status == 201
    assert (made.body["endpoint"], made.body["words"], made.body["covered_seq"]) == (
        "https://s3.eu-central-1.amazonaws.com",
        "every Friday at 00:00 UTC",
        0,
    )
    own = f"{path}/{made.body['id']}"
    changed = rest.patch(own, {"hour": 6, "enabled": False})
    assert (changed.status, changed.body["hour"], changed.body["enabled"]) == (200, 6, False)
    run = rest.post(f"{own}/runs")
    assert (run.status, run.body["schedule"], run.body["delivery"]) == (202, made.body["id"], "waiting")
    assert [each["id"] for each in rest.get(f"{own}/runs").body["results"]] == [run.body["id"]]
    assert rest.get(own).body["covered_seq"] > 1
    listed = rest.get(path).body["results"]
    assert [each["name"] for each in listed] == ["Archive"]
    for answer in (made, changed, rest.get(own), run):
        assert "never-told" not in json.dumps(answer.body)
    assert rest.delete(own).status == 204
    assert (rest.get(own).status, rest.get(own).body["code"]) == (404, "schedule_not_found")


def test_a_run_that_is_run_again_is_of_the_same_records(team: Team) -> None:
    rest, path = Rest.admin(team), f"/tenants/{team.slug}/audit/export-schedules"
    own = f"{path}/{rest.post(path, GIVEN).body['id']}"
    run = rest.post(f"{own}/runs").body
    cancelled = rest.post(f"/tenants/{team.slug}/audit/exports/{run['id']}/cancel").body
    assert (cancelled["status"], cancelled["delivery"]) == ("cancelled", "failed")
    again = rest.post(f"/tenants/{team.slug}/audit/exports/{run['id']}/run-again").body
    assert (again["schedule"], again["delivery"]) == (run["schedule"], "waiting")
    with tenant_scope(team.tenant_id):
        one, two = (AuditExport.objects.get(id=each["id"]) for each in (run, again))
    assert (one.first_seq, one.last_seq) == (two.first_seq, two.last_seq)


def test_what_is_delivered_or_under_way_is_not_delivered_again(team: Team) -> None:
    rest, path = Rest.admin(team), f"/tenants/{team.slug}/audit/export-schedules"
    run = rest.post(f"{path}/{rest.post(path, GIVEN).body['id']}/runs").body
    answer = rest.post(f"/tenants/{team.slug}/audit/exports/{run['id']}/deliver")
    assert (answer.status, answer.body["code"]) == (409, "nothing_to_deliver")


@pytest.mark.parametrize(
    ("change", "path"),
    [({"every": "yearly"}, "every"), ({"hour": "x"}, "hour"), ({"colour": "red"}, "colour")],
)
def test_what_cannot_be_is_refused_at_its_place(team: Team, change: dict[str, object], path: str) -> None:
    answer = Rest.admin(team).post(f"/tenants/{team.slug}/audit/export-schedules", {**GIVEN, **change})
    assert (answer.status, answer.paths) == (400, {path})


def test_a_key_that_only_reads_the_log_sees_schedules_and_sets_none_up(team: Team) -> None:
    rest = Rest(team.key("audit:read"))
    path = f"/tenants/{team.slug}/audit/export-schedules"
    assert rest.get(path).status == 200
    refused = rest.post(path, GIVEN)
    assert (refused.status, refused.body["code"]) == (403, "insufficient_scope")
