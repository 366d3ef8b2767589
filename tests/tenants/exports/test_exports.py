"""Exports: the file, who makes it, and that it is made once whatever happens to workers and queues."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.conf import settings
from django.utils import timezone
from kombu.exceptions import OperationalError

from core.errors import Conflict, InvalidInput, NotFound
from tenants import exportfiles, tasks
from tenants.access import Caller
from tenants.audit.append import append_entry
from tenants.audit.chain import GENESIS, Head, Link, verify
from tenants.audit.records import Entry, to_microseconds
from tenants.exportfiles import manifest_of
from tenants.exports.claiming import claim_export, find_unclaimed
from tenants.exports.making import make_export
from tenants.models import AuditExport
from tenants.roles import Role
from tenants.scoping import tenant_scope
from tenants.services.exports import (
    MAX_UNFINISHED,
    cancel_export,
    describe_export,
    download_export,
    get_export,
    repeat_export,
    start_export,
)
from tenants.services.log import search_records
from tests.tenants.audit.places import make_place
from tests.tenants.exports.small import make_small
from tests.tenants.rounds import begin_with

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def caller() -> Caller:
    place = make_place()
    return Caller(place.tenant_id, place.slug, actor="user:admin@example.com", user_id=None, role=Role.ADMIN)


@pytest.fixture
def hints(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, str]]:
    """What would be sent to workers."""
    sent: list[tuple[int, str]] = []
    monkeypatch.setattr(tasks.run_export, "apply_async", lambda args, retry: sent.append(args))
    return sent


def _write(caller: Caller, count: int, tool: str = "query") -> None:
    with tenant_scope(caller.tenant_id):
        for number in range(count):
            at = to_microseconds(NOON + timedelta(minutes=number))
            append_entry(
                Entry("tools/call", "ok", "key:a", tool=tool, arguments={"n": number, "ü": '"\n'}, at=at),
                tenant_id=caller.tenant_id,
            )


def _age(caller: Caller, export: AuditExport, **values: Any) -> None:
    with tenant_scope(caller.tenant_id):
        AuditExport.objects.filter(id=export.id).update(**values)


def _verified_offline(path: Path) -> Head:
    """The file's chain, checked from its lines alone, as the module's docstring tells an auditor to."""
    links: list[Link] = []
    tenant_id, prev = 0, ""
    for line in path.read_bytes().splitlines():
        fields = json.loads(line)
        body = line[line.index(b'"record":') + len(b'"record":') : -1]
        assert json.loads(body) == fields["record"]
        assert not prev or fields["prev"] == prev
        if not links:
            start = Head(fields["seq"] - 1, bytes.fromhex(fields["prev"]))
        prev, tenant_id = fields["hash"], fields["tenant"]
        links.append(Link(fields["seq"], fields["at_us"], body, bytes.fromhex(fields["hash"])))
    end = verify(tenant_id, links, start=start)
    assert isinstance(end, Head), end
    return end


def test_an_export_is_readable_and_verifies_without_us(caller: Caller) -> None:
    _write(caller, 12)
    export = start_export(caller=caller)
    assert make_export(caller.tenant_id, export.id)
    export = get_export(export.id, caller=caller)
    path = download_export(export.id, caller=caller).path
    content = path.read_bytes()
    assert (export.status, export.records, export.size) == ("done", 13, len(content))
    assert export.sha256 == hashlib.sha256(content).hexdigest()
    assert _verified_offline(path).seq == 13
    first = json.loads(content.splitlines()[0])
    assert first["prev"] == GENESIS.hex()
    assert first["at"] == "2026-03-01T12:00:00.000000Z"
    assert first["record"]["arguments"] == {"n": 0, "ü": '"\n'}
    assert json.loads(content.splitlines()[-1])["record"]["kind"] == "export.created"
    assert path.stat().st_mode & 0o077 == 0
    assert set(path.parent.iterdir()) == {path, manifest_of(path)}


def test_a_range_begins_at_from_and_ends_before_to(caller: Caller) -> None:
    _write(caller, 6)
    export = start_export(
        from_at=NOON + timedelta(minutes=2), to_at=NOON + timedelta(minutes=4), caller=caller
    )
    make_export(caller.tenant_id, export.id)
    path = download_export(export.id, caller=caller).path
    assert [json.loads(line)["seq"] for line in path.read_bytes().splitlines()] == [3, 4]
    assert _verified_offline(path).seq == 4


def test_a_filtered_export_holds_only_what_matches_and_each_line_can_be_checked(caller: Caller) -> None:
    _write(caller, 3, "one")
    _write(caller, 3, "two")
    export = start_export(filters={"tool": "one", "text": '"n":2'}, caller=caller)
    assert export.filters == {"tool": "one", "text": '"n":2'}
    make_export(caller.tenant_id, export.id)
    export = start_export(filters={"tool": "two"}, caller=caller)
    make_export(caller.tenant_id, export.id)
    path = download_export(export.id, caller=caller).path
    assert [json.loads(line)["seq"] for line in path.read_bytes().splitlines()] == [4, 5, 6]
    assert _verified_offline(path).seq == 6


def test_an_export_over_many_windows_is_complete(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    make_small(monkeypatch.setattr)
    _write(caller, 117)
    export = start_export(caller=caller)
    make_export(caller.tenant_id, export.id)
    assert _verified_offline(download_export(export.id, caller=caller).path).seq == 118


def test_an_empty_range_gives_an_empty_file_and_says_so(caller: Caller) -> None:
    _write(caller, 2)
    export = start_export(to_at=NOON - timedelta(days=1), caller=caller)
    make_export(caller.tenant_id, export.id)
    export = get_export(export.id, caller=caller)
    assert (export.status, export.records, export.size) == ("done", 0, 0)
    assert export.sha256 == hashlib.sha256(b"").hexdigest()
    assert download_export(export.id, caller=caller).path.read_bytes() == b""
    assert "No record matches" in describe_export(export)


def test_a_range_the_wrong_way_round_names_the_field(caller: Caller) -> None:
    with pytest.raises(InvalidInput) as refusal:
        start_export(from_at=NOON, to_at=NOON - timedelta(days=1), caller=caller)
    assert [error["path"] for error in refusal.value.errors] == ["from"]


@pytest.mark.parametrize(
    ("values", "path"),
    [
        ({"format": "xlsx"}, "format"),
        ({"filters": {"colour": "red"}}, "colour"),
        ({"filters": {"tool": 3}}, "tool"),
    ],
)
def test_an_export_that_cannot_be_is_refused_by_name(
    caller: Caller, values: dict[str, Any], path: str
) -> None:
    with pytest.raises(InvalidInput) as refusal:
        start_export(caller=caller, **values)
    assert [error["path"] for error in refusal.value.errors] == [path]


def test_starting_and_downloading_are_in_the_log(caller: Caller) -> None:
    export = start_export(caller=caller)
    make_export(caller.tenant_id, export.id)
    download_export(export.id, caller=caller)
    kinds = [record.kind for record in search_records(caller=caller).records]
    assert kinds == ["export.downloaded", "export.created"]


def test_an_unfinished_export_cannot_be_downloaded(caller: Caller) -> None:
    export = start_export(caller=caller)
    with pytest.raises(Conflict, match="waits for a worker"):
        download_export(export.id, caller=caller)


def test_an_export_whose_file_was_removed_says_so(caller: Caller) -> None:
    export = start_export(caller=caller)
    make_export(caller.tenant_id, export.id)
    download_export(export.id, caller=caller).path.unlink()
    with pytest.raises(NotFound, match="was removed"):
        download_export(export.id, caller=caller)


def test_one_worker_only_gets_an_export(caller: Caller) -> None:
    export = start_export(caller=caller)
    assert claim_export(caller.tenant_id, export.id) is not None
    assert claim_export(caller.tenant_id, export.id) is None
    assert not make_export(caller.tenant_id, export.id)


def test_a_finished_export_is_not_made_again(caller: Caller) -> None:
    export = start_export(caller=caller)
    assert make_export(caller.tenant_id, export.id)
    before = get_export(export.id, caller=caller)
    assert not make_export(caller.tenant_id, export.id)
    assert get_export(export.id, caller=caller).finished_at == before.finished_at


def test_an_export_whose_worker_died_is_made_by_the_next(caller: Caller) -> None:
    _write(caller, 3)
    export = start_export(caller=caller)
    assert claim_export(caller.tenant_id, export.id) is not None
    assert find_unclaimed(caller.tenant_id) == []
    _age(caller, export, lease_until=timezone.now() - timedelta(seconds=1))
    assert find_unclaimed(caller.tenant_id) == [export.id]
    assert make_export(caller.tenant_id, export.id)
    assert _verified_offline(download_export(export.id, caller=caller).path).seq == 4


def test_a_disk_that_refuses_fails_the_export_with_a_reason(
    caller: Caller, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "exports").write_text("a file where the folder should be")
    monkeypatch.setattr(exportfiles, "home", lambda: tmp_path)
    export = start_export(caller=caller)
    assert make_export(caller.tenant_id, export.id)
    failed = get_export(export.id, caller=caller)
    assert failed.status == "failed"
    assert "could not be written" in describe_export(failed)


def test_a_message_that_names_another_tenant_makes_nothing(caller: Caller) -> None:
    outsider = make_place()
    export = start_export(caller=caller)
    tasks.run_export(outsider.tenant_id, str(export.id))
    assert get_export(export.id, caller=caller).status == "queued"
    tasks.run_export(caller.tenant_id, str(export.id))
    assert get_export(export.id, caller=caller).status == "done"


def test_a_hint_is_sent_once_the_row_is_committed(caller: Caller, hints: list[tuple[int, str]]) -> None:
    with tenant_scope(caller.tenant_id):
        export = start_export(caller=caller)
        tasks.enqueue_export(export)
        assert hints == []
    assert hints == [(caller.tenant_id, str(export.id))]


def test_the_sweeper_hints_at_what_was_lost_in_every_tenant_and_at_nothing_else(
    caller: Caller, hints: list[tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    begin_with(caller.tenant_id, monkeypatch)
    place = make_place()
    other = Caller(place.tenant_id, place.slug, actor="user:b", role=Role.OWNER)
    old = timezone.now() - timedelta(seconds=10)
    lost: list[tuple[int, UUID]] = []
    for one in (caller, other):
        export = start_export(caller=one)
        _age(one, export, created_at=old)
        lost.append((one.tenant_id, export.id))
        # On a slow machine, too, it is not old enough by the end of the test.
        _age(one, start_export(caller=one), created_at=timezone.now() + timedelta(minutes=5))
    running, done = start_export(caller=caller), start_export(caller=caller)
    assert claim_export(caller.tenant_id, running.id)
    assert make_export(caller.tenant_id, done.id)
    tasks.sweep_exports()
    ours = [hint for hint in hints if hint[0] in {caller.tenant_id, other.tenant_id}]
    assert ours == [(tenant_id, str(export_id)) for tenant_id, export_id in lost]


def test_what_fails_for_one_team_is_swept_for_the_others(
    caller: Caller,
    hints: list[tuple[int, str]],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    place = make_place()
    later = replace(caller, tenant_id=place.tenant_id, tenant_slug=place.slug)
    export = start_export(caller=later)
    _age(later, export, created_at=timezone.now() - timedelta(seconds=10))

    def break_for_one(tenant_id: int) -> list[AuditExport]:
        if tenant_id == caller.tenant_id:
            raise ValueError("words of somebody else")
        return []

    assert caller.tenant_id < later.tenant_id
    monkeypatch.setattr(tasks, "begin_due_runs", break_for_one)
    begin_with(caller.tenant_id, monkeypatch)
    tasks.sweep_exports()
    assert (later.tenant_id, str(export.id)) in hints
    [told] = [record for record in caplog.records if record.getMessage() == "exports not swept"]
    assert (told.__dict__["tenant_id"], told.__dict__["kind"]) == (caller.tenant_id, "ValueError")


def test_sweeps_outlive_clocks_ten_minutes_apart_and_pile_up_for_no_longer_than_that_takes() -> None:
    every: Any = settings.CELERY_BEAT_SCHEDULE["sweep-exports"]["schedule"]
    assert 600 + every < tasks.sweep_exports.expires <= 60 * every


def test_a_team_has_only_so_many_unfinished_and_a_schedule_takes_no_room(caller: Caller) -> None:
    run = start_export(caller=caller)
    _age(caller, run, requested_by="schedule Archive")
    started = [start_export(caller=caller) for _ in range(MAX_UNFINISHED)]
    for act in (start_export, partial(repeat_export, started[0].id)):
        with pytest.raises(Conflict, match="or cancel one") as refusal:
            act(caller=caller)
        assert refusal.value.code == "too_many_exports"
    cancel_export(started[0].id, caller=caller)
    start_export(caller=caller)
    place = make_place()
    start_export(caller=replace(caller, tenant_id=place.tenant_id, tenant_slug=place.slug))


def test_a_queue_that_is_down_loses_no_export(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    def down(**_: object) -> None:
        raise OperationalError

    monkeypatch.setattr(tasks.run_export, "apply_async", down)
    export = start_export(caller=caller)
    tasks.enqueue_export(export)
    assert get_export(export.id, caller=caller).status == "queued"


def test_a_cancelled_export_has_no_file_and_is_recorded(caller: Caller, hints: list[tuple[int, str]]) -> None:
    export = start_export(caller=caller)
    assert cancel_export(export.id, caller=caller).status == "cancelled"
    assert not make_export(caller.tenant_id, export.id)
    assert find_unclaimed(caller.tenant_id) == []
    with pytest.raises(Conflict, match="was cancelled"):
        download_export(export.id, caller=caller)
    with pytest.raises(Conflict, match="has ended already: it is cancelled"):
        cancel_export(export.id, caller=caller)
    [newest] = search_records(caller=caller, limit=1).records
    assert (newest.kind, newest.arguments) == ("export.cancelled", {"after": {"id": str(export.id)}})


def test_a_finished_export_is_not_cancelled(caller: Caller) -> None:
    export = start_export(caller=caller)
    make_export(caller.tenant_id, export.id)
    with pytest.raises(Conflict, match="it is done"):
        cancel_export(export.id, caller=caller)
    assert download_export(export.id, caller=caller).path.is_file()


def test_an_export_run_again_is_of_the_same(caller: Caller) -> None:
    filters: dict[str, object] = {"tool": "one"}
    export = start_export("csv", NOON, NOON + timedelta(days=1), filters, caller=caller)
    again = repeat_export(export.id, caller=caller)
    assert again.id != export.id
    assert (again.format, again.from_at, again.to_at, again.filters) == ("csv", NOON, export.to_at, filters)


@pytest.mark.parametrize("act", [cancel_export, repeat_export, get_export, download_export])
def test_an_export_of_another_team_is_an_unknown_one(caller: Caller, act: Any) -> None:
    place = make_place()
    outsider = Caller(place.tenant_id, place.slug, actor="user:b", role=Role.OWNER)
    export = start_export(caller=caller)
    with pytest.raises(NotFound, match="no such export"):
        act(export.id, caller=outsider)
    assert get_export(export.id, caller=caller).status == "queued"
