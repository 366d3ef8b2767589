"""The log cannot be changed through Marina's roles, and a change made around them is found."""

from __future__ import annotations

import psycopg
import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import connection

from tenants.audit.append import append_entry
from tenants.audit.chain import Broken, Head
from tenants.audit.records import Entry
from tenants.audit.verification import verify_log
from tenants.models import AuditRecord
from tenants.scoping import TenantScopeMissing, tenant_scope
from tests.tenants.audit.places import Place, make_place
from tests.tenants.checkpoints.logs import tamper

CHANGES = [
    "UPDATE tenants_auditrecord SET outcome = 'ok'",
    "DELETE FROM tenants_auditrecord",
    "TRUNCATE tenants_auditrecord",
]


def _write(place: Place, count: int = 1) -> None:
    with tenant_scope(place.tenant_id):
        for number in range(count):
            append_entry(
                Entry("key.created", "ok", "user:a", request_id=f"r{number}"), tenant_id=place.tenant_id
            )


def _tamper(statement: str, *values: object) -> None:
    tamper((statement, values))


def _verified(place: Place, capsys: pytest.CaptureFixture[str]) -> str:
    try:
        call_command("verify_log", place.slug)
    except CommandError as error:
        return str(error)
    return capsys.readouterr().out


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize(
    "role", ["owner_database_url", "app_database_url", "writer_database_url", "database_url"]
)
def test_no_role_changes_a_record_not_even_the_tables_owner(role: str, change: str) -> None:
    place = make_place()
    _write(place)
    with psycopg.connect(getattr(settings.ENV, role)) as session:
        session.execute("SELECT set_config('app.tenant', %s, true)", [str(place.tenant_id)])
        # A session replaying a replication stream skips ordinary triggers; this one is ENABLE ALWAYS.
        if role == "database_url":
            session.execute("SET session_replication_role = replica")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            session.execute(change.encode())
    assert isinstance(verify_log(place.tenant_id), Head)


def test_a_change_and_its_record_stand_or_fall_together() -> None:
    place = make_place()
    _write(place)

    def change_that_fails() -> None:
        with tenant_scope(place.tenant_id):
            append_entry(Entry("key.created", "ok", "user:a"), tenant_id=place.tenant_id)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        change_that_fails()
    _write(place)
    assert verify_log(place.tenant_id) == Head(2, _head_hash(place))


def test_a_record_cannot_be_appended_to_another_tenants_log() -> None:
    mine, other = make_place(), make_place()
    with pytest.raises(TenantScopeMissing):
        append_entry(Entry("key.created", "ok", "user:a"), tenant_id=mine.tenant_id)
    with tenant_scope(mine.tenant_id), pytest.raises(TenantScopeMissing):
        append_entry(Entry("key.created", "ok", "user:a"), tenant_id=other.tenant_id)


def test_a_whole_log_is_said_to_be_whole(capsys: pytest.CaptureFixture[str]) -> None:
    place = make_place()
    assert _verified(place, capsys) == f"The log of {place.slug} is empty.\n"
    _write(place, 3)
    assert "is whole: 3 records" in _verified(place, capsys)


def test_an_unknown_tenant_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert _verified(Place(0, "no-such-team"), capsys) == "There is no tenant 'no-such-team'."


def test_a_changed_record_is_found_and_named(capsys: pytest.CaptureFixture[str]) -> None:
    place = make_place()
    _write(place, 5)
    _tamper(
        "UPDATE tenants_auditrecord SET body = %s WHERE tenant_id = %s AND seq = 3", b"{}", place.tenant_id
    )
    assert "record 3 was changed" in _verified(place, capsys)


def test_a_changed_search_column_is_found(capsys: pytest.CaptureFixture[str]) -> None:
    place = make_place()
    _write(place, 3)
    _tamper(
        "UPDATE tenants_auditrecord SET actor = 'user:b' WHERE tenant_id = %s AND seq = 2", place.tenant_id
    )
    assert "record 2" in _verified(place, capsys)


def test_removed_records_are_found_in_the_middle_and_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    middle, end, all_of_it = make_place(), make_place(), make_place()
    for place in (middle, end, all_of_it):
        _write(place, 5)
    _tamper("DELETE FROM tenants_auditrecord WHERE tenant_id = %s AND seq = 2", middle.tenant_id)
    _tamper("DELETE FROM tenants_auditrecord WHERE tenant_id = %s AND seq = 5", end.tenant_id)
    _tamper("DELETE FROM tenants_auditrecord WHERE tenant_id = %s", all_of_it.tenant_id)
    assert "record 2 is missing" in _verified(middle, capsys)
    assert "record 5 is missing" in _verified(end, capsys)
    assert "record 1 is missing" in _verified(all_of_it, capsys)


def test_records_beyond_the_head_and_a_moved_head_are_found(capsys: pytest.CaptureFixture[str]) -> None:
    beyond, moved = make_place(), make_place()
    for place in (beyond, moved):
        _write(place, 3)
    _tamper(
        "UPDATE tenants_audithead h SET seq = 2, hash = r.hash FROM tenants_auditrecord r "
        "WHERE r.tenant_id = h.tenant_id AND r.seq = 2 AND h.tenant_id = %s",
        beyond.tenant_id,
    )
    _tamper("UPDATE tenants_audithead SET hash = %s WHERE tenant_id = %s", bytes(32), moved.tenant_id)
    assert "holds record 3, but its head is at 2" in _verified(beyond, capsys)
    assert "the head does not fit record 3" in _verified(moved, capsys)


def test_what_breaks_is_given_to_programs_too() -> None:
    place = make_place()
    _write(place, 2)
    _tamper(
        "UPDATE tenants_auditrecord SET hash = %s WHERE tenant_id = %s AND seq = 1",
        bytes(32),
        place.tenant_id,
    )
    broken = verify_log(place.tenant_id)
    assert isinstance(broken, Broken)
    assert broken.seq == 1


def _head_hash(place: Place) -> bytes:
    with tenant_scope(place.tenant_id):
        newest = AuditRecord.objects.order_by("-seq").first()
    assert newest is not None
    assert connection.in_atomic_block is False
    return bytes(newest.hash)
