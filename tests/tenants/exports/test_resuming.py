"""An export whose workers are killed is gone on with, and its bytes are those of one that nobody disturbed."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.conf import settings
from django.db import connection
from django.utils import timezone

from tenants.access import Caller
from tenants.audit.append import append_entry
from tenants.audit.chain import Head
from tenants.audit.records import Entry
from tenants.exportfiles import files_of, manifest_of
from tenants.exports import claiming, making
from tenants.exports.claiming import LeaseLost, Pulse, claim_export, find_unclaimed
from tenants.exports.converting import convert
from tenants.exports.formats import CSV, FORMATS
from tenants.exports.making import make_export
from tenants.exports.reading import read_rows
from tenants.exports.spool import JOURNAL, SPOOL
from tenants.models import AuditExport
from tenants.roles import Role
from tenants.scoping import tenant_scope
from tenants.services.exports import cancel_export, download_export, get_export, start_export
from tests.plugins.own_cluster import ROOT
from tests.tenants.audit.places import make_place
from tests.tenants.exports.filling import fill_log
from tests.tenants.exports.small import make_small

RECORDS = 330
END = datetime(2026, 3, 2, tzinfo=UTC)
"""Later than all records that are there at first."""

PROGRAM = Path(__file__).with_name("exporting_process.py")


@pytest.fixture(scope="module")
def caller(database: None) -> Caller:
    place = make_place()
    fill_log(place.tenant_id, RECORDS)
    return Caller(place.tenant_id, place.slug, actor="user:admin@example.com", role=Role.ADMIN)


def start(caller: Caller, form: str, filters: dict[str, object] | None = None) -> AuditExport:
    return start_export(form, None, END, filters, caller=caller)


def let_lease_run_out(caller: Caller, export: AuditExport) -> None:
    with tenant_scope(caller.tenant_id):
        AuditExport.objects.filter(id=export.id).update(lease_until=timezone.now() - timedelta(seconds=1))


def run_and_be_killed(caller: Caller, export: AuditExport, moment: str, times: int) -> None:
    done = subprocess.run(
        [sys.executable, str(PROGRAM), str(caller.tenant_id), str(export.id), moment, str(times)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "platform")))},
        check=False,
        timeout=120,
    )
    assert done.returncode == -signal.SIGKILL, "it came to its end instead"
    let_lease_run_out(caller, export)
    assert export.id in find_unclaimed(caller.tenant_id)


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("form", "filters"),
    [("jsonl", {}), ("csv", {"tool": "rare"}), ("parquet", {})],
    ids=["lines", "filtered", "converted"],
)
def test_killed_at_every_bad_moment_it_has_the_bytes_of_an_undisturbed_one(
    caller: Caller, form: str, filters: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_small(monkeypatch.setattr)
    undisturbed = start(caller, form, filters)
    assert make_export(caller.tenant_id, undisturbed.id)
    export = start(caller, form, filters)
    moments = [("written", 2), ("part", 3), ("written", 2), ("copied", 1), ("part", 2), ("named", 1)]
    for moment, times in [*moments, ("manifest", 1)]:
        run_and_be_killed(caller, export, moment, times)
    assert make_export(caller.tenant_id, export.id)
    done, wanted = get_export(export.id, caller=caller), get_export(undisturbed.id, caller=caller)
    assert (done.status, done.fence, done.records) == ("done", 8, 330 if not filters else 33)
    assert (done.sha256, done.size) == (wanted.sha256, wanted.size)
    path, other = (
        download_export(export.id, caller=caller).path,
        download_export(undisturbed.id, caller=caller).path,
    )
    assert path.read_bytes() == other.read_bytes()
    told, wanted_told = (json.loads(manifest_of(each).read_bytes()) for each in (path, other))
    assert {**told, "export": "", "asked_at": "", "head": ""} == {
        **wanted_told,
        "export": "",
        "asked_at": "",
        "head": "",
    }
    assert set(files_of(caller.tenant_id, export.id)) == {path, manifest_of(path)}


def test_what_a_release_with_other_columns_left_behind_is_begun_anew(
    caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_small(monkeypatch.setattr)
    undisturbed, export = start(caller, "csv"), start(caller, "csv")
    assert make_export(caller.tenant_id, undisturbed.id)
    run_and_be_killed(caller, export, "part", 3)
    head = b'"another","header"\r\n'
    monkeypatch.setitem(FORMATS, "csv", replace(CSV, head=head))
    assert make_export(caller.tenant_id, export.id)
    rows = download_export(undisturbed.id, caller=caller).path.read_bytes().removeprefix(CSV.head)
    assert download_export(export.id, caller=caller).path.read_bytes() == head + rows


def test_what_was_durable_is_not_read_from_the_log_again(
    caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_small(monkeypatch.setattr)
    export = start(caller, "jsonl")
    run_and_be_killed(caller, export, "part", 5)
    read: list[int] = []

    def noted(claim: claiming.Claim, window: range, before: Head) -> object:
        read.append(window.start)
        return read_rows(claim, window, before)

    monkeypatch.setattr(making, "read_rows", noted)
    assert make_export(caller.tenant_id, export.id)
    # The first part is the head of the file, which is empty here; four of fifty records follow.
    assert read[0] == 201


@pytest.mark.parametrize("harm", ["changed", "cut", "gone"])
def test_a_part_that_is_not_what_its_digest_says_is_made_anew(
    caller: Caller, harm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_small(monkeypatch.setattr)
    undisturbed = start(caller, "jsonl")
    assert make_export(caller.tenant_id, undisturbed.id)
    export = start(caller, "jsonl")
    run_and_be_killed(caller, export, "part", 4)
    [spool] = [path for path in files_of(caller.tenant_id, export.id) if path.suffix == SPOOL]
    content = spool.read_bytes()
    if harm == "gone":
        spool.unlink()
    else:
        middle = len(content) // 2
        spool.write_bytes(content[:middle] + (b"" if harm == "cut" else b"#" + content[middle + 1 :]))
    assert make_export(caller.tenant_id, export.id)
    assert get_export(export.id, caller=caller).sha256 == get_export(undisturbed.id, caller=caller).sha256


def test_a_journal_cut_in_the_middle_of_a_line_is_read_up_to_there(
    caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_small(monkeypatch.setattr)
    export = start(caller, "jsonl")
    run_and_be_killed(caller, export, "part", 4)
    [journal] = [path for path in files_of(caller.tenant_id, export.id) if path.suffix == JOURNAL]
    journal.write_bytes(journal.read_bytes()[:-30])
    assert make_export(caller.tenant_id, export.id)
    path = download_export(export.id, caller=caller).path
    assert [json.loads(line)["seq"] for line in path.read_bytes().splitlines()] == [*range(1, RECORDS + 1)]


def test_what_comes_into_the_log_meanwhile_is_not_exported(monkeypatch: pytest.MonkeyPatch) -> None:
    make_small(monkeypatch.setattr)
    place = make_place()
    caller = Caller(place.tenant_id, place.slug, actor="user:a@example.com", role=Role.ADMIN)
    with tenant_scope(place.tenant_id):
        intents = [
            append_entry(Entry("tools/call", "intent", "key:a", tool="t"), tenant_id=place.tenant_id)
            for _ in range(120)
        ]
    whole, unknown = start_export(caller=caller), start_export(filters={"outcome": "unknown"}, caller=caller)
    for export in (whole, unknown):
        run_and_be_killed(caller, export, "part", 2)
    with tenant_scope(place.tenant_id):
        for intent in intents:
            append_entry(
                Entry("tools/call", "ok", "key:a", tool="t", intent=intent), tenant_id=place.tenant_id
            )
    for export in (whole, unknown):
        assert make_export(caller.tenant_id, export.id)
    # The log ended with the records that the two exports were asked for.
    assert get_export(whole.id, caller=caller).records == 122
    assert get_export(unknown.id, caller=caller).records == 120


def test_a_worker_that_lost_its_lease_stops_and_deletes_its_own_files_only(
    caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_small(monkeypatch.setattr)
    monkeypatch.setattr(claiming, "PULSE_SECONDS", 0.0)
    export = start(caller, "jsonl")
    original = Pulse.beat
    beats = []

    def overtaken(self: Pulse, **values: int) -> None:
        beats.append(1)
        if len(beats) == 3:
            monkeypatch.setattr(Pulse, "beat", original)
            let_lease_run_out(caller, export)
            assert make_export(caller.tenant_id, export.id), "the successor makes it meanwhile"
        original(self, **values)

    monkeypatch.setattr(Pulse, "beat", overtaken)
    assert not make_export(caller.tenant_id, export.id)
    done = get_export(export.id, caller=caller)
    path = download_export(export.id, caller=caller).path
    assert (done.status, done.fence) == ("done", 2)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == done.sha256
    assert set(files_of(caller.tenant_id, export.id)) == {path, manifest_of(path)}


def test_a_connection_that_goes_while_records_are_read_leaves_it_to_whoever_comes_next(
    caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_small(monkeypatch.setattr)
    export = start(caller, "jsonl")
    original = making._count

    def ended(*args: Any) -> Any:
        monkeypatch.setattr(making, "_count", original)
        backend = connection.connection.info.backend_pid
        with psycopg.connect(settings.ENV.database_url, autocommit=True) as other:
            assert other.execute("SELECT pg_terminate_backend(%s, 30000)", [backend]).fetchone() == (True,)
        return original(*args)

    # Between two fetches of one window.
    monkeypatch.setattr(making, "_count", ended)
    assert not make_export(caller.tenant_id, export.id)
    connection.close()
    assert get_export(export.id, caller=caller).status == "running"
    let_lease_run_out(caller, export)
    assert make_export(caller.tenant_id, export.id)
    done = get_export(export.id, caller=caller)
    assert done.status == "done"
    path = download_export(export.id, caller=caller).path
    assert hashlib.sha256(path.read_bytes()).hexdigest() == done.sha256


def test_what_the_driver_says_itself_is_no_failure_of_the_export(
    caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    export = start(caller, "jsonl")

    def ended(*args: object) -> None:
        raise psycopg.errors.AdminShutdown

    monkeypatch.setattr(making, "_count", ended)
    assert not make_export(caller.tenant_id, export.id)
    assert get_export(export.id, caller=caller).status == "running"


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_a_cancelled_export_is_left_at_the_next_beat_and_its_files_are_gone(
    caller: Caller, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_small(monkeypatch.setattr)
    monkeypatch.setattr(claiming, "PULSE_SECONDS", 0.0)
    export = start(caller, form)
    original: Any = convert if form == "parquet" else read_rows
    name = original.__name__

    def cancelled(*args: object) -> object:
        monkeypatch.setattr(making, name, original)
        cancel_export(export.id, caller=caller)
        return original(*args)

    monkeypatch.setattr(making, name, cancelled)
    assert not make_export(caller.tenant_id, export.id)
    assert get_export(export.id, caller=caller).status == "cancelled"
    assert files_of(caller.tenant_id, export.id) == []
    assert export.id not in find_unclaimed(caller.tenant_id)


def test_progress_is_kept_in_the_row(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    make_small(monkeypatch.setattr)
    monkeypatch.setattr(claiming, "PULSE_SECONDS", 0.0)
    export = start(caller, "jsonl")
    assert export.in_all is None
    seen: list[tuple[int, int | None, int | None]] = []
    original = Pulse.beat

    def noted(self: Pulse, **values: int) -> None:
        original(self, **values)
        row = get_export(export.id, caller=caller)
        seen.append((row.looked_at, row.in_all, row.records))

    monkeypatch.setattr(Pulse, "beat", noted)
    assert make_export(caller.tenant_id, export.id)
    assert seen[0] == (16, RECORDS, 16)
    assert seen[-1] == (RECORDS, RECORDS, RECORDS)
    assert seen == sorted(seen)


def test_workers_that_end_without_a_part_fail_it_and_those_that_make_one_do_not(
    caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_small(monkeypatch.setattr)
    export = start(caller, "jsonl")
    for _ in range(claiming.MAX_TRIES):
        assert claim_export(caller.tenant_id, export.id) is not None
        let_lease_run_out(caller, export)
    run_and_fail = make_export(caller.tenant_id, export.id)
    assert not run_and_fail
    failed = get_export(export.id, caller=caller)
    assert (failed.status, failed.error[:20]) == ("failed", "5 workers in a row e")
    export = start(caller, "jsonl")
    claim = claim_export(caller.tenant_id, export.id)
    assert claim is not None
    claiming.note_part(claim)
    assert get_export(export.id, caller=caller).tries == 0


def test_a_claim_that_is_not_held_beats_no_more(caller: Caller) -> None:
    export = start(caller, "jsonl")
    claim = claim_export(caller.tenant_id, export.id)
    assert claim is not None
    let_lease_run_out(caller, export)
    assert claim_export(caller.tenant_id, export.id) is not None
    with pytest.raises(LeaseLost):
        Pulse(claim).beat()
    assert not claiming.finish(claim, status=AuditExport.Status.DONE)


def test_a_spool_that_its_writer_has_just_deleted_is_nothing_to_take_over(
    caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_small(monkeypatch.setattr)
    export = start(caller, "jsonl")
    run_and_be_killed(caller, export, "part", 3)
    [left] = [path for path in files_of(caller.tenant_id, export.id) if path.suffix == SPOOL]
    left.unlink()
    # Whoever looked before has still seen it.
    monkeypatch.setattr(Path, "is_file", lambda _: True)
    assert make_export(caller.tenant_id, export.id)
    monkeypatch.undo()
    done = get_export(export.id, caller=caller)
    assert (done.status, done.records) == ("done", RECORDS)
