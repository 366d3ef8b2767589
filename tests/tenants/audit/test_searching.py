"""A search looks newest first, stretch by stretch, for as long as it may, and says truly how far it came."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tenants.access import Caller
from tenants.audit import searching
from tenants.audit.append import append_entry
from tenants.audit.records import Entry
from tenants.roles import AUDITOR_WITH_PAYLOADS, Role
from tenants.scoping import tenant_scope
from tenants.services import log
from tenants.services.log import search_records
from tests.tenants.audit.places import Place, make_place
from tests.tenants.checkpoints.logs import sign_off, write
from tests.tenants.retention.aging import write_then

ADA = "ada@example.com"


def auditor(place: Place) -> Caller:
    return Caller(
        place.tenant_id,
        place.slug,
        actor="user:auditor",
        role=Role.AUDITOR,
        actions=AUDITOR_WITH_PAYLOADS,
    )


def add(place: Place, *entries: Entry) -> None:
    with tenant_scope(place.tenant_id):
        for entry in entries:
            append_entry(entry, tenant_id=place.tenant_id)


def by(actor: str) -> Entry:
    return Entry("tools/call", "ok", actor)


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stretches of three numbers, and no time for a second one."""
    monkeypatch.setattr(searching, "FIRST_STRETCH", 3)
    monkeypatch.setattr(searching, "MOST_GROWTH", 1)
    monkeypatch.setattr(log, "FIRST_SECONDS", 0.0)
    monkeypatch.setattr(log, "MORE_SECONDS", 0.0)
    monkeypatch.setattr(searching, "_read_within", lambda *_: None)


@pytest.mark.usefixtures("short")
def test_what_was_not_looked_at_is_said_and_found_by_going_on() -> None:
    place = make_place()
    caller = auditor(place)
    add(place, Entry("key.created", "ok", "user:a", request_id="needle"))
    write(place, 7)
    page = search_records(caller=caller, text="needle")
    assert (page.records, page.reached, page.next_before) == ([], 6, 6)
    assert page.reached_at is not None
    seen = []
    while page.next_before is not None:
        page = search_records(caller=caller, text="needle", before_seq=page.next_before)
        seen += [record.seq for record in page.records]
    assert seen == [1]
    assert (page.reached, page.next_before) == (None, None)


@pytest.mark.usefixtures("short")
def test_pages_that_end_for_want_of_time_leave_no_record_out_and_give_none_twice() -> None:
    place = make_place()
    write(place, 20)
    seen: list[int] = []
    before: int | None = None
    for _ in range(30):
        page = search_records(caller=auditor(place), before_seq=before, limit=2)
        seen += [record.seq for record in page.records]
        before = page.next_before
        if before is None:
            break
    assert seen == list(range(20, 0, -1))


def test_a_full_page_needs_no_more_than_it_shows() -> None:
    place = make_place()
    write(place, 5)
    page = search_records(caller=auditor(place), limit=3)
    assert ([record.seq for record in page.records], page.next_before, page.reached) == ([5, 4, 3], 3, None)


def test_what_a_member_did_is_found_with_what_apps_did_for_them_and_nobody_elses() -> None:
    place = make_place()
    add(
        place,
        by(f"user:{ADA}"),
        by(f"user:{ADA} via Claude"),
        by(f"user:{ADA}.org"),
        by(f"user:{ADA} viaduct"),
        by(f"user:x{ADA}"),
        by(f"key:user:{ADA}"),
        by("user:bob@example.com via Claude"),
    )
    found = search_records(caller=auditor(place), member=ADA.upper()).records
    assert [record.actor for record in found] == [f"user:{ADA} via Claude", f"user:{ADA}"]
    assert search_records(caller=auditor(place), member="bob@example.com").records[0].seq == 7
    assert search_records(caller=auditor(place), member="nobody@example.com").records == []


def test_a_member_whose_address_was_cut_in_the_column_is_found() -> None:
    place = make_place()
    long = f"{'a' * 60}@{'b' * 60}.{'c' * 60}.{'d' * 15}.com"[:200]
    add(place, by(f"user:{long}"))
    assert len(search_records(caller=auditor(place), member=long).records) == 1


@pytest.mark.parametrize(
    ("start", "end", "found"),
    [
        (110, 90, [4, 3, 2, 1]),
        (60, 40, [8, 7, 6, 5]),
        (60, None, [12, 11, 10, 9, 8, 7, 6, 5]),
        (300, 200, []),
    ],
)
def test_checkpoints_narrow_a_time_range_and_leave_nothing_of_it_out(
    start: float, end: float | None, found: list[int]
) -> None:
    place = make_place()
    for days_ago in (100, 50, 0.001):
        write_then(place, 4, days_ago=days_ago)
    now = datetime.now(UTC)
    page = search_records(
        caller=auditor(place),
        from_at=now - timedelta(days=start),
        to_at=None if end is None else now - timedelta(days=end),
    )
    assert [record.seq for record in page.records] == found


def test_a_record_whose_clock_was_off_by_half_an_hour_is_found_by_its_time() -> None:
    place = make_place()
    write(place, 1)
    assert sign_off(place) is not None
    late = datetime.now(UTC) - timedelta(minutes=30)
    add(place, Entry("tools/call", "ok", "key:a", at=int(late.timestamp() * 1e6)))
    assert sign_off(place) is not None
    page = search_records(
        caller=auditor(place), from_at=late - timedelta(minutes=1), to_at=late + timedelta(minutes=1)
    )
    assert [record.seq for record in page.records] == [2]


def test_only_what_is_newer_than_a_number_is_looked_at() -> None:
    place = make_place()
    write(place, 6)
    page = search_records(caller=auditor(place), after_seq=4)
    assert [record.seq for record in page.records] == [6, 5]


@pytest.mark.parametrize("text", ["ÄRGER", "ärger", "Ärger", "needle", "NEEDLE"])
def test_a_text_is_found_whatever_letters_it_has(text: str) -> None:
    place = make_place()
    add(place, Entry("tools/call", "ok", "key:a", arguments={"a": f"{text} here"}))
    assert len(search_records(caller=auditor(place), text=text).records) == 1
