"""Searching the log, and who may."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from django.conf import settings
from django.utils import timezone

from core.errors import Forbidden, InvalidInput, NotFound
from tenants.access import Caller
from tenants.audit.append import append_entry
from tenants.audit.records import Entry, Reason, to_microseconds
from tenants.roles import Role
from tenants.scoping import tenant_scope
from tenants.services.exports import download_export, get_export, list_exports, start_export
from tenants.services.log import get_record, search_records
from tests.tenants.audit.places import make_place

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def _reader(role: Role = Role.ADMIN) -> Caller:
    place = make_place()
    return Caller(place.tenant_id, place.slug, actor="user:reader@example.com", user_id=None, role=role)


def _write(caller: Caller, *entries: Entry) -> None:
    with tenant_scope(caller.tenant_id):
        for entry in entries:
            append_entry(entry, tenant_id=caller.tenant_id)


def _call(tool: str = "query", minutes: int = 0, **values: Any) -> Entry:
    at = to_microseconds(NOON + timedelta(minutes=minutes))
    return Entry(
        **{"kind": "tools/call", "outcome": "ok", "actor": "key:a", "tool": tool, "at": at, **values}
    )


def test_a_record_reads_back_as_it_was_written() -> None:
    caller, key = _reader(), uuid4()
    _write(
        caller,
        _call(
            credential_id=key,
            client="Claude 1.0",
            server="default",
            tool_version=3,
            arguments={"iata": "FRA"},
            outcome="refused",
            reason=Reason("insufficient_scope", "scope:tools.call", "The key lacks tools:execute."),
            rows=0,
            size=12,
            duration_us=345,
            request_id="req-1",
        ),
    )
    record = get_record(1, caller=caller)
    assert (record.at, record.credential_id, record.tool, record.tool_version) == (NOON, key, "query", 3)
    assert record.arguments == {"iata": "FRA"}
    assert record.reason == {
        "code": "insufficient_scope",
        "rule": "scope:tools.call",
        "message": "The key lacks tools:execute.",
    }
    assert (record.rows, record.size, record.truncated, record.duration_us) == (0, 12, False, 345)
    assert len(record.hash) == 64


def test_pages_give_every_record_once_newest_first() -> None:
    caller = _reader()
    _write(caller, *(_call(minutes=number) for number in range(7)))
    seen: list[int] = []
    before: int | None = None
    while True:
        page = search_records(caller=caller, limit=3, before_seq=before)
        seen += [record.seq for record in page.records]
        before = page.next_before
        if before is None:
            break
        _write(caller, _call(minutes=99))
    assert seen == [7, 6, 5, 4, 3, 2, 1]


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({"tool": "query"}, [3, 1]),
        ({"outcome": "error"}, [2]),
        ({"kind": "key.created"}, [4]),
        ({"text": "FRANKFURT"}, [2]),
        ({"text": 'say "hi"'}, [3]),
        ({"text": "100%"}, []),
        ({"text": "10_%"}, []),
        ({"from_at": NOON + timedelta(minutes=1), "to_at": NOON + timedelta(minutes=3)}, [3, 2]),
        ({"tool": "query", "to_at": NOON + timedelta(minutes=2)}, [1]),
        ({"tool": "nothing"}, []),
    ],
)
def test_filters_find_what_matches_all_of_them(filters: dict[str, Any], found: list[int]) -> None:
    caller = _reader()
    _write(
        caller,
        _call("query"),
        _call("lookup", 1, outcome="error", arguments={"city": "Frankfurt", "share": "10%"}),
        _call("query", 2, arguments={"text": 'to say "hi"'}),
        _call("", 3, kind="key.created"),
    )
    assert [record.seq for record in search_records(caller=caller, **filters).records] == found


def test_an_intent_whose_outcome_never_came_is_shown_as_unknown() -> None:
    caller, now = _reader(), to_microseconds(timezone.now())
    _write(
        caller,
        _call(outcome="intent"),
        _call(outcome="error", intent=1),
        _call(outcome="intent"),
        _call(),
        _call(outcome="intent", at=now),
    )
    found = {record.seq: record for record in search_records(caller=caller).records}
    assert {seq: record.standing for seq, record in found.items()} == {
        1: "intent",
        2: "error",
        3: "outcome unknown",
        4: "ok",
        5: "no outcome yet",
    }
    assert (found[1].outcome_seq, found[2].intent_seq) == (2, 1)
    assert [seq for seq, record in found.items() if record.outcome_unknown] == [5, 3]
    assert get_record(1, caller=caller).outcome_seq == 2
    unknown = search_records(caller=caller, outcome="unknown", tool="query").records
    assert [record.seq for record in unknown] == [5, 3]
    each_call_once = search_records(caller=caller, kind="tools/call", settled=True).records
    assert [record.seq for record in each_call_once] == [5, 4, 3, 2]


def test_an_outcome_in_another_tenants_log_settles_no_intent() -> None:
    caller, other = _reader(), _reader()
    _write(caller, _call(outcome="intent"))
    _write(other, _call(outcome="intent"), _call(intent=1))
    assert get_record(1, caller=caller).outcome_unknown
    assert not get_record(1, caller=other).outcome_unknown
    assert [record.seq for record in search_records(caller=caller, outcome="unknown").records] == [1]


def test_a_search_by_credential_finds_only_its_calls() -> None:
    caller, key = _reader(), uuid4()
    _write(caller, _call(credential_id=key), _call(credential_id=uuid4()))
    assert [record.seq for record in search_records(caller=caller, credential_id=str(key)).records] == [1]


@pytest.mark.parametrize(
    ("filters", "path"),
    [
        ({"outcome": "fine"}, "outcome"),
        ({"credential_id": "not-a-uuid"}, "credential_id"),
        ({"from_at": NOON, "to_at": NOON - timedelta(seconds=1)}, "from"),
        ({"from_at": datetime(2026, 1, 1)}, "from"),  # noqa: DTZ001
        ({"text": "x" * 201}, "text"),
        ({"text": "a\0b"}, "text"),
        ({"limit": 0}, "limit"),
        ({"before_seq": 2**63}, "before"),
    ],
)
def test_a_filter_that_cannot_be_is_refused_by_name(filters: dict[str, Any], path: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        search_records(caller=_reader(), **filters)
    assert [error["path"] for error in refusal.value.errors] == [path]


def test_a_search_that_takes_too_long_is_ended_with_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    caller = _reader()
    monkeypatch.setattr("tenants.services.log.SEARCH_SECONDS", 1)
    with psycopg.connect(settings.ENV.database_url) as holder:
        # Somebody rebuilds the table: the search would wait, and is ended all the same.
        holder.execute("LOCK TABLE tenants_auditrecord IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(InvalidInput) as refusal:
            search_records(caller=caller, text="x")
    assert refusal.value.code == "search_too_wide"


@pytest.mark.parametrize("seq", [0, -1, 99, 2**70])
def test_an_unknown_record_is_not_found(seq: int) -> None:
    with pytest.raises(NotFound):
        get_record(seq, caller=_reader())


def test_another_tenants_records_and_exports_are_as_unknown_ones() -> None:
    mine, other = _reader(), _reader()
    _write(other, _call(arguments={"secret": "theirs"}))
    foreign = start_export(caller=other)
    assert search_records(caller=mine, text="theirs").records == []
    with pytest.raises(NotFound):
        get_record(1, caller=mine)
    assert list_exports(caller=mine) == []
    for look in (get_export, download_export):
        with pytest.raises(NotFound) as of_foreign:
            look(foreign.id, caller=mine)
        with pytest.raises(NotFound) as of_unknown:
            look(uuid4(), caller=mine)
        with pytest.raises(NotFound) as of_nonsense:
            look("nonsense", caller=mine)
        assert of_foreign.value.message == of_unknown.value.message == of_nonsense.value.message


@pytest.mark.parametrize("role", [Role.EDITOR, Role.VIEWER])
@pytest.mark.parametrize(
    "look",
    [
        lambda caller: search_records(caller=caller),
        lambda caller: get_record(1, caller=caller),
        lambda caller: start_export(caller=caller),
        lambda caller: list_exports(caller=caller),
        lambda caller: get_export(uuid4(), caller=caller),
        lambda caller: download_export(uuid4(), caller=caller),
    ],
    ids=["search", "get", "export", "exports", "get export", "open export"],
)
def test_a_role_without_the_log_is_refused(role: Role, look: Callable[[Caller], object]) -> None:
    with pytest.raises(Forbidden) as refusal:
        look(_reader(role))
    assert refusal.value.rule == "role:audit.read"
