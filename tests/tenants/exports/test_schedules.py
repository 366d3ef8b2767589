"""Exports by a schedule: due when they say, each from where the last one ended, nothing twice and nothing missing."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from django.conf import settings
from django.utils import timezone

from core.errors import Conflict, Forbidden, InvalidInput, NotFound
from core.outbound import parse_networks
from core.sealing import sealer
from tenants.access import Caller
from tenants.audit.append import append_entry
from tenants.audit.records import Entry
from tenants.exports.making import make_export
from tenants.models import AuditExport, ExportSchedule
from tenants.roles import AUDITOR_WITH_PAYLOADS, Role
from tenants.scoping import tenant_scope
from tenants.services.export_schedules import (
    MAX_SCHEDULES,
    begin_due_runs,
    change_schedule,
    create_schedule,
    delete_schedule,
    get_schedule,
    list_runs,
    list_schedules,
    run_schedule,
)
from tenants.services.export_times import describe_times, next_due
from tenants.services.exports import cancel_export, download_export, get_export, open_manifest, repeat_export
from tenants.services.log import search_records
from tests.tenants.audit.places import make_place

GIVEN = {
    "name": "Archive",
    "every": "daily",
    "hour": 2,
    "minute": 30,
    "endpoint": "https://Minio.example.com:9000/",
    "bucket": "audit-logs",
    "prefix": "/marina/demo/",
    "access_key": "AKIDEXAMPLE",
    "secret_key": "wJalrXUtnFEMI",
}


@dataclass
class Times:
    every: str
    hour: int = 2
    minute: int = 30
    weekday: int = 0
    day: int = 1


@pytest.fixture
def caller() -> Caller:
    place = make_place()
    return Caller(place.tenant_id, place.slug, actor="user:admin@example.com", role=Role.ADMIN)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def make_due(caller: Caller, row: ExportSchedule) -> None:
    with tenant_scope(caller.tenant_id):
        ExportSchedule.objects.filter(id=row.id).update(next_at=timezone.now() - timedelta(days=3))


@pytest.mark.parametrize(
    ("times", "after", "due"),
    [
        (Times("hourly"), "2026-11-20T09:10", "2026-11-20T09:30"),
        (Times("hourly"), "2026-11-20T09:30", "2026-11-20T10:30"),
        (Times("hourly"), "2026-12-31T23:45", "2027-01-01T00:30"),
        (Times("daily"), "2026-11-20T02:29", "2026-11-20T02:30"),
        (Times("daily"), "2026-11-30T02:30", "2026-12-01T02:30"),
        (Times("weekly", weekday=0), "2026-11-22T12:00", "2026-11-23T02:30"),
        (Times("weekly", weekday=6), "2026-11-22T02:30", "2026-11-29T02:30"),
        (Times("weekly", weekday=6), "2026-11-22T02:00", "2026-11-22T02:30"),
        (Times("monthly", day=28), "2026-02-28T02:29", "2026-02-28T02:30"),
        (Times("monthly", day=28), "2026-02-28T03:00", "2026-03-28T02:30"),
        (Times("monthly", day=1), "2026-12-15T00:00", "2027-01-01T02:30"),
        (Times("monthly", day=20), "2026-11-30T00:00", "2026-12-20T02:30"),
    ],
)
def test_it_is_due_at_the_next_of_its_times(times: Times, after: str, due: str) -> None:
    assert next_due(times, at(after)) == at(due)


def test_times_are_told_in_words() -> None:
    told = [describe_times(Times(every, weekday=4)) for every in ("hourly", "daily", "weekly", "monthly")]
    assert told == [
        "every hour, 30 minutes past",
        "every day at 02:30 UTC",
        "every Friday at 02:30 UTC",
        "on day 1 of every month at 02:30 UTC",
    ]


def test_what_is_set_up_is_kept_with_its_secret_sealed_and_told_nowhere(caller: Caller) -> None:
    row = create_schedule(GIVEN, caller=caller)
    assert (row.endpoint, row.prefix, row.region) == (
        "https://minio.example.com:9000",
        "marina/demo",
        "us-east-1",
    )
    assert sealer().open(bytes(row.sealed), context=row.seal_context) == b"wJalrXUtnFEMI"
    assert row.next_at > timezone.now()
    [record] = search_records(caller=caller, kind="schedule.created").records
    assert record.arguments is not None
    assert record.arguments["after"]["bucket"] == "audit-logs"
    assert "wJalrXUtnFEMI" not in json.dumps(record.arguments)


def test_each_run_goes_on_where_the_last_one_ended(caller: Caller) -> None:
    row = create_schedule(GIVEN, caller=caller)
    told, numbers = [], []
    for _ in range(3):
        with tenant_scope(caller.tenant_id):
            append_entry(Entry("tools/call", "ok", "key:a"), tenant_id=caller.tenant_id)
        make_due(caller, row)
        [run] = begin_due_runs(caller.tenant_id)
        # What comes between the beginning of a run and its making is the next one's.
        with tenant_scope(caller.tenant_id):
            append_entry(Entry("tools/call", "ok", "key:late"), tenant_id=caller.tenant_id)
        assert make_export(caller.tenant_id, run.id)
        told.append(json.loads(open_manifest(run.id, caller=caller).read_bytes()))
        lines = download_export(run.id, caller=caller).path.read_bytes().splitlines()
        numbers += [json.loads(line)["seq"] for line in lines]
    assert numbers == list(range(1, numbers[-1] + 1))
    for earlier, later in pairwise(told):
        assert later["range"]["first_seq"] == earlier["range"]["last_seq"] + 1
        assert later["records"]["first_prev"] == earlier["records"]["last_hash"]
        assert later["gaps"] == []
    assert len(list_runs(row.id, caller=caller)) == 3


def test_times_that_were_missed_are_one_run_and_the_next_is_later(caller: Caller) -> None:
    row = create_schedule(GIVEN, caller=caller)
    assert begin_due_runs(caller.tenant_id) == []
    make_due(caller, row)
    [run] = begin_due_runs(caller.tenant_id)
    assert begin_due_runs(caller.tenant_id) == []
    assert get_schedule(row.id, caller=caller).next_at > timezone.now()
    [record] = search_records(caller=caller, kind="export.created").records
    assert record.actor == "marina"
    assert record.arguments is not None
    assert (record.arguments["after"]["id"], record.arguments["after"]["schedule"]) == (
        str(run.id),
        "Archive",
    )


def test_one_that_is_switched_off_is_not_begun_and_may_be_run_by_hand(caller: Caller) -> None:
    row = create_schedule({**GIVEN, "enabled": False}, caller=caller)
    make_due(caller, row)
    assert begin_due_runs(caller.tenant_id) == []
    assert run_schedule(row.id, caller=caller).status == "queued"


def test_a_filtered_one_looks_at_all_and_says_what_it_left_out(caller: Caller) -> None:
    row = create_schedule({**GIVEN, "filters": {"kind": "tools/call"}}, caller=caller)
    with tenant_scope(caller.tenant_id):
        append_entry(Entry("tools/call", "ok", "key:a"), tenant_id=caller.tenant_id)
    run = run_schedule(row.id, caller=caller)
    assert make_export(caller.tenant_id, run.id)
    told = json.loads(open_manifest(run.id, caller=caller).read_bytes())
    assert (told["range"], told["records"]["count"]) == ({"first_seq": 1, "last_seq": 2}, 1)


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"name": ""}, "name"),
        ({"format": "xlsx"}, "format"),
        ({"filters": {"colour": "red"}}, "colour"),
        ({"every": "yearly"}, "every"),
        ({"hour": 24}, "hour"),
        ({"day": 29}, "day"),
        ({"endpoint": "ftp://example.com"}, "endpoint"),
        ({"endpoint": "https://user:pw@example.com"}, "endpoint"),
        ({"endpoint": "https://example.com/path"}, "endpoint"),
        ({"bucket": "No"}, "bucket"),
        ({"prefix": "a/../b"}, "prefix"),
        ({"prefix": "a?b"}, "prefix"),
        ({"access_key": ""}, "access_key"),
        ({"secret_key": ""}, "secret_key"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_what_cannot_be_is_refused_at_its_place(caller: Caller, change: dict[str, Any], path: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        create_schedule({**GIVEN, **change}, caller=caller)
    assert [error["path"] for error in refusal.value.errors] == [path]


def test_a_secret_key_does_not_go_to_another_place_by_itself(caller: Caller) -> None:
    row = create_schedule(GIVEN, caller=caller)
    for change in ({"endpoint": "https://other.example.com"}, {"bucket": "other-bucket"}):
        with pytest.raises(InvalidInput) as refusal:
            change_schedule(row.id, change, caller=caller)
        assert [error["path"] for error in refusal.value.errors] == ["secret_key"]
    changed = change_schedule(row.id, {"hour": 5, "secret_key": ""}, caller=caller)
    assert changed.hour == 5
    assert sealer().open(bytes(changed.sealed), context=changed.seal_context) == b"wJalrXUtnFEMI"
    moved = change_schedule(row.id, {"bucket": "other-bucket", "secret_key": "another"}, caller=caller)
    assert sealer().open(bytes(moved.sealed), context=moved.seal_context) == b"another"


def test_http_in_the_clear_goes_only_into_networks_that_the_operator_named(
    caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = replace(settings.ENV, outbound_allow=parse_networks(["127.0.0.1"]))
    monkeypatch.setattr(settings, "ENV", env)
    row = create_schedule({**GIVEN, "endpoint": "http://127.0.0.1:9000"}, caller=caller)
    with pytest.raises(InvalidInput, match="in the clear") as refusal:
        create_schedule({**GIVEN, "name": "B", "endpoint": "http://8.8.8.8"}, caller=caller)
    assert [error["path"] for error in refusal.value.errors] == ["endpoint"]
    with pytest.raises(InvalidInput, match="in the clear"):
        change_schedule(row.id, {"endpoint": "HTTP://8.8.8.8", "secret_key": "x"}, caller=caller)
    change_schedule(row.id, {"endpoint": "https://8.8.8.8", "secret_key": "x"}, caller=caller)


def test_names_are_taken_once_and_there_are_not_too_many(
    caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_schedule(GIVEN, caller=caller)
    with pytest.raises(Conflict, match="has this name"):
        create_schedule(GIVEN, caller=caller)
    assert MAX_SCHEDULES > 2
    monkeypatch.setattr("tenants.services.export_schedules.MAX_SCHEDULES", 1)
    with pytest.raises(Conflict, match="at most"):
        create_schedule({**GIVEN, "name": "Another"}, caller=caller)


def test_a_deleted_one_leaves_its_exports(caller: Caller) -> None:
    row = create_schedule(GIVEN, caller=caller)
    run = run_schedule(row.id, caller=caller)
    assert make_export(caller.tenant_id, run.id)
    delete_schedule(row.id, caller=caller)
    assert list_schedules(caller=caller) == []
    assert download_export(run.id, caller=caller).path.is_file()
    with tenant_scope(caller.tenant_id):
        assert AuditExport.objects.get(id=run.id).schedule_id is None


def test_a_run_again_is_of_the_same_records_also_when_its_schedule_is_gone(caller: Caller) -> None:
    row = create_schedule(GIVEN, caller=caller)
    run_schedule(row.id, caller=caller)
    run = run_schedule(row.id, caller=caller)
    delete_schedule(row.id, caller=caller)
    auditor = replace(
        caller, actor="user:auditor@example.com", role=Role.AUDITOR, actions=AUDITOR_WITH_PAYLOADS
    )
    with pytest.raises(Forbidden, match="role auditor does not allow"):
        repeat_export(run.id, caller=replace(auditor, actions=None))
    again = repeat_export(repeat_export(run.id, caller=auditor).id, caller=auditor)
    assert (again.first_seq, again.last_seq) == (run.first_seq, run.last_seq)
    first, last = run.first_seq, run.last_seq
    assert first is not None
    assert last is not None
    assert 1 < first <= last
    assert (again.schedule_id, again.delivery, again.requested_by) == (None, "", auditor.actor)
    assert make_export(caller.tenant_id, again.id)
    lines = download_export(again.id, caller=auditor).path.read_bytes().splitlines()
    assert [json.loads(line)["seq"] for line in lines] == list(range(first, last + 1))


def test_what_is_for_the_bucket_is_cancelled_and_run_again_by_those_who_set_it_up(caller: Caller) -> None:
    run = run_schedule(create_schedule(GIVEN, caller=caller).id, caller=caller)
    auditor = replace(caller, actor="user:auditor@example.com", role=Role.AUDITOR)
    for act in (cancel_export, repeat_export):
        with pytest.raises(Forbidden):
            act(run.id, caller=auditor)
    assert get_export(run.id, caller=auditor).status == "queued"
    assert cancel_export(run.id, caller=caller).status == "cancelled"
    assert repeat_export(run.id, caller=caller).delivery == "waiting"


def test_an_auditor_sees_them_and_changes_none(caller: Caller) -> None:
    row = create_schedule(GIVEN, caller=caller)
    auditor = Caller(caller.tenant_id, caller.tenant_slug, actor="user:b", role=Role.AUDITOR)
    assert [each.id for each in list_schedules(caller=auditor)] == [row.id]
    for act in (
        lambda: create_schedule({**GIVEN, "name": "x"}, caller=auditor),
        lambda: change_schedule(row.id, {"hour": 1}, caller=auditor),
        lambda: run_schedule(row.id, caller=auditor),
        lambda: delete_schedule(row.id, caller=auditor),
    ):
        with pytest.raises(Forbidden):
            act()


def test_one_of_another_team_is_an_unknown_one(caller: Caller) -> None:
    row = create_schedule(GIVEN, caller=caller)
    place = make_place()
    outsider = Caller(place.tenant_id, place.slug, actor="user:b", role=Role.OWNER)
    for act in (
        lambda: get_schedule(row.id, caller=outsider),
        lambda: change_schedule(row.id, {"hour": 1}, caller=outsider),
        lambda: run_schedule(row.id, caller=outsider),
        lambda: delete_schedule(row.id, caller=outsider),
        lambda: list_runs(row.id, caller=outsider),
    ):
        with pytest.raises(NotFound):
            act()
