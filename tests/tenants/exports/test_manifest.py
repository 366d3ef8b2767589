"""The manifest says what is in an export and what is not, so that whoever has both can tell that nothing is missing."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from core.errors import Conflict, NotFound
from tenants.access import Caller
from tenants.audit.append import append_entry
from tenants.audit.chain import GENESIS
from tenants.audit.records import Entry, to_datetime
from tenants.exports.making import make_export
from tenants.models import AuditExport
from tenants.roles import Role
from tenants.scoping import tenant_scope
from tenants.services.exports import download_export, get_export, open_manifest, start_export
from tests.tenants.audit.places import make_place
from tests.tenants.checkpoints.logs import tamper
from tests.tenants.exports.filling import SECOND, START, fill_log
from tests.tenants.exports.small import make_small

BEGIN = to_datetime(START)


@pytest.fixture
def caller() -> Caller:
    place = make_place()
    fill_log(place.tenant_id, 120)
    return Caller(place.tenant_id, place.slug, actor="user:auditor@example.com", role=Role.AUDITOR)


def made(caller: Caller, *asked: Any) -> tuple[AuditExport, dict[str, Any]]:
    export = start_export(*asked, caller=caller)
    assert make_export(caller.tenant_id, export.id)
    content = open_manifest(export.id, caller=caller).read_bytes()
    told = json.loads(content)
    canonical = json.dumps(told, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    assert content == canonical + b"\n"
    return get_export(export.id, caller=caller), told


def lose_records(caller: Caller, *numbers: int) -> None:
    """Take records out of the table, as only somebody with full power over the database can."""
    tamper(
        (
            "DELETE FROM tenants_auditrecord WHERE tenant_id = %s AND seq = ANY(%s)",
            (caller.tenant_id, list(numbers)),
        )
    )


def test_of_the_whole_log_it_ends_where_the_log_ended(caller: Caller) -> None:
    export, told = made(caller)
    lines = download_export(export.id, caller=caller).path.read_bytes().splitlines()
    last = json.loads(lines[-1])
    assert told["manifest"] == "marina.export.v1"
    assert told["export"] == str(export.id)
    assert told["tenant"] == {"id": caller.tenant_id, "slug": caller.tenant_slug}
    assert told["file"] == {"format": "jsonl", "size": export.size, "sha256": export.sha256}
    assert told["records"] == {
        "count": 121,
        "first_seq": 1,
        "last_seq": 121,
        "first_prev": GENESIS.hex(),
        "last_hash": last["hash"],
    }
    assert told["head"] == {"seq": 121, "hash": last["hash"]}
    assert told["range"] == {"first_seq": 1, "last_seq": 121}
    assert told["gaps"] == []
    assert "left_out" not in told
    content = download_export(export.id, caller=caller).path.read_bytes()
    assert hashlib.sha256(content).hexdigest() == told["file"]["sha256"]


def test_of_a_range_it_names_the_record_before_it(caller: Caller) -> None:
    begin, end = BEGIN + timedelta(seconds=20), BEGIN + timedelta(seconds=30)
    export, told = made(caller, "jsonl", begin, end)
    first = json.loads(download_export(export.id, caller=caller).path.read_bytes().splitlines()[0])
    assert (told["from"], told["to"]) == ("2026-03-01T12:00:20.000000Z", "2026-03-01T12:00:30.000000Z")
    assert (told["records"]["first_seq"], told["records"]["last_seq"]) == (21, 30)
    assert told["records"]["first_prev"] == first["prev"] != GENESIS.hex()
    assert told["gaps"] == []
    assert told["head"]["seq"] == 121


def test_a_record_whose_time_lies_outside_between_two_inside_is_no_gap(caller: Caller) -> None:
    place = make_place()
    other = replace(caller, tenant_id=place.tenant_id, tenant_slug=place.slug)
    with tenant_scope(other.tenant_id):
        # Times are taken before numbers are: the second was as late as the end, and got its number earlier.
        for seconds in (10, 31, 29, 40):
            entry = Entry("tools/call", "ok", "key:a", tool="query", at=START + seconds * SECOND)
            append_entry(entry, tenant_id=other.tenant_id)
    export, told = made(other, "jsonl", BEGIN, BEGIN + timedelta(seconds=30))
    lines = download_export(export.id, caller=other).path.read_bytes().splitlines()
    assert [json.loads(line)["seq"] for line in lines] == [1, 2, 3]
    assert (told["gaps"], told["range"]) == ([], {"first_seq": 1, "last_seq": 3})
    _, filtered = made(other, "jsonl", BEGIN, BEGIN + timedelta(seconds=30), {"tool": "query"})
    assert (filtered["records"]["count"], filtered["left_out"]) == (2, 1)


def test_of_what_filters_chose_it_says_how_many_were_left_out_between(caller: Caller) -> None:
    _, told = made(caller, "jsonl", None, None, {"tool": "rare"})
    assert told["filters"] == {"tool": "rare"}
    assert (told["records"]["count"], told["left_out"]) == (12, 120 - 10 + 1 - 12)
    assert "gaps" not in told


def test_of_nothing_it_says_so(caller: Caller) -> None:
    export, told = made(caller, "jsonl", None, BEGIN - timedelta(days=1))
    assert told["records"] == {
        "count": 0,
        "first_seq": None,
        "last_seq": None,
        "first_prev": None,
        "last_hash": None,
    }
    assert told["range"] is None
    assert told["file"]["sha256"] == hashlib.sha256(b"").hexdigest() == export.sha256


def test_records_that_are_missing_in_the_log_are_gaps(
    caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_small(monkeypatch.setattr)
    lose_records(caller, 1, 50, 51, 52, 60, 119, 120)
    export = start_export(caller=caller)
    lose_records(caller, 121)
    assert make_export(caller.tenant_id, export.id)
    told = json.loads(open_manifest(export.id, caller=caller).read_bytes())
    assert told["gaps"] == [[1, 1], [50, 52], [60, 60], [119, 121]]
    assert told["records"]["count"] == 113


def test_gaps_beyond_a_number_are_counted(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tenants.exports.making.MAX_GAPS", 2)
    lose_records(caller, 10, 20, 30, 40)
    _, told = made(caller)
    assert told["gaps"] == [[10, 10], [20, 20]]
    assert told["more_gaps"] == 2


def test_an_export_that_is_not_done_or_was_made_before_there_were_any_has_none(caller: Caller) -> None:
    export = start_export(caller=caller)
    with pytest.raises(Conflict):
        open_manifest(export.id, caller=caller)
    assert make_export(caller.tenant_id, export.id)
    open_manifest(export.id, caller=caller).unlink()
    with pytest.raises(NotFound, match="has no manifest"):
        open_manifest(export.id, caller=caller)
