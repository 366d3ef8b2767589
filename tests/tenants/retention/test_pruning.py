"""What a policy does not keep goes from the beginning on, behind a tombstone; nothing else goes, whoever tries."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import psycopg
import pytest
from django.conf import settings
from django.core.management import call_command
from django.db import DatabaseError, connection
from django.utils import timezone

from core.errors import Conflict, Forbidden, InvalidInput, NotFound
from core.notetargets import FolderTarget
from tenants import pruning
from tenants.access import Caller
from tenants.audit.notes import digest_of, signer_of, split_notes
from tenants.audit.tombstones import read_tombstone
from tenants.models import AuditTombstone, LegalHold, LogRetention
from tenants.notesenders import file_of
from tenants.roles import Role
from tenants.scoping import tenant_scope
from tenants.services.checkpoints import make_checkpoint
from tenants.services.exports import start_export
from tenants.services.log import get_record, search_records
from tenants.services.log_keys import open_keys
from tenants.services.retention import lift_hold, place_hold, read_keeping, set_retention
from tests.tenants.audit.places import Place, make_place
from tests.tenants.checkpoints.logs import tamper
from tests.tenants.retention.aging import (
    numbers_of,
    old_log,
    owner_of,
    prune,
    publish,
    published_in,
    publishing_to,
    tombstones_of,
    write_then,
)


@pytest.fixture
def target(tmp_path: Path) -> Iterator[FolderTarget]:
    with published_in(tmp_path / "notes") as there:
        yield there


@pytest.fixture
def place(target: FolderTarget) -> Place:
    it = old_log()
    publish(it, target)
    return it


def test_records_older_than_the_policy_go_and_the_log_stays_whole(
    place: Place, target: FolderTarget, capsys: pytest.CaptureFixture[str]
) -> None:
    caller = owner_of(place)
    set_retention(60, caller=caller)
    assert prune(place) == 4
    assert numbers_of(place) == [*range(5, 15)]
    (note,) = tombstones_of(place)
    said = read_tombstone(note)
    assert signer_of(note, open_keys().public) is not None
    assert (said.number, said.first, said.last.seq, said.count, said.days) == (1, 1, 4, 4, 60)
    pruned, changed = search_records(caller=caller, limit=2).records
    assert (changed.kind, pruned.kind, pruned.actor) == ("retention.changed", "log.pruned", "marina")
    assert pruned.arguments is not None
    assert pruned.arguments["after"]["last_hash"] == said.last.hash.hex()
    make_checkpoint(place.tenant_id, place.slug, open_keys())
    publish(place, target)
    call_command("verify_log", place.slug, checkpoints=file_of(target, place.slug))
    told = capsys.readouterr().out
    assert "is whole: 10 records, from 5 to 14; a tombstone says that records 1 to 4 were removed" in told
    with pytest.raises(NotFound, match="tombstone 1"):
        get_record(4, caller=caller)


def test_tombstones_follow_each_other_and_are_published(place: Place, target: FolderTarget) -> None:
    caller = owner_of(place)
    set_retention(60, caller=caller)
    assert prune(place) == 4
    set_retention(40, caller=caller)
    assert prune(place) == 0, "one a day"
    with patch.object(pruning, "EVERY", timedelta(0)):
        assert prune(place) == 4
    first, second = tombstones_of(place)
    assert read_tombstone(second).previous == digest_of(first)
    assert read_tombstone(second).before == read_tombstone(first).last.hash
    make_checkpoint(place.tenant_id, place.slug, open_keys())
    publish(place, target)
    published = split_notes(file_of(target, place.slug).read_bytes())
    assert [note for note in published if note in (first, second)] == [first, second]
    publish(place, target)
    assert len(split_notes(file_of(target, place.slug).read_bytes())) == len(published), "each once"


def test_nothing_goes_without_a_policy_and_never_the_newest_checkpoints_record(target: FolderTarget) -> None:
    place = make_place()
    for days_ago in (100, 90):
        write_then(place, 2, days_ago=days_ago)
    publish(place, target)
    assert prune(place) == 0
    set_retention(30, caller=owner_of(place))
    assert prune(place) == 2
    assert numbers_of(place)[0] == 3


def test_what_was_not_published_stays(target: FolderTarget) -> None:
    place = old_log()
    caller = owner_of(place)
    set_retention(30, caller=caller)
    assert prune(place) == 0
    assert "was not published yet" in read_keeping(caller=caller).waits
    with publishing_to():
        assert prune(place) == 0
        assert "published nowhere" in read_keeping(caller=caller).waits
        with pytest.raises(Conflict):
            set_retention(31, caller=caller)


def test_a_hold_keeps_what_it_names_until_it_is_lifted(place: Place) -> None:
    caller = owner_of(place)
    set_retention(30, caller=caller)
    now = timezone.now()
    hold = place_hold("case 7", now - timedelta(days=51), now - timedelta(days=49), caller=caller)
    assert prune(place) == 4, "what is before the hold goes"
    assert "from record 5 on" in read_keeping(caller=caller).waits
    with patch.object(pruning, "EVERY", timedelta(0)):
        assert prune(place) == 0
        lifted = lift_hold(hold.id, caller=caller)
        assert lifted.lifted_by == caller.actor
        assert prune(place) == 4
    kinds = {record.kind for record in search_records(caller=caller).records}
    assert {"hold.placed", "hold.lifted", "log.pruned", "retention.changed"} <= kinds
    with pytest.raises(Conflict):
        lift_hold(hold.id, caller=caller)


def test_a_hold_of_the_whole_log_keeps_all_of_it(place: Place) -> None:
    set_retention(30, caller=owner_of(place))
    place_hold("everything", caller=owner_of(place))
    assert prune(place) == 0
    assert numbers_of(place)[:2] == [1, 2]


def test_an_export_under_way_is_waited_for(place: Place) -> None:
    caller = owner_of(place)
    set_retention(30, caller=caller)
    start_export(caller=caller)
    assert prune(place) == 0
    assert "An export is being made" in read_keeping(caller=caller).waits


def test_a_worker_that_dies_after_the_tombstone_is_made_up_for(place: Place) -> None:
    set_retention(60, caller=owner_of(place))
    pruning.make_tombstone(place.tenant_id, place.slug, open_keys())
    assert numbers_of(place)[0] == 1
    with tenant_scope(place.tenant_id), connection.cursor() as cursor:
        cursor.execute("SELECT marina_remove_records(1, 2)")
    assert numbers_of(place)[0] == 3
    assert prune(place) == 2
    assert numbers_of(place)[0] == 5


def test_a_hold_placed_after_the_tombstone_keeps_what_is_still_there(place: Place) -> None:
    caller = owner_of(place)
    set_retention(60, caller=caller)
    pruning.make_tombstone(place.tenant_id, place.slug, open_keys())
    hold = place_hold("too late for some", caller=caller)
    assert prune(place) == 0
    assert "placed after it" in read_keeping(caller=caller).waits
    lift_hold(hold.id, caller=caller)
    assert prune(place) == 4


def test_a_tampered_log_is_kept_as_evidence(place: Place) -> None:
    caller = owner_of(place)
    set_retention(60, caller=caller)
    tamper(
        (
            "UPDATE tenants_auditrecord SET body = %s WHERE tenant_id = %s AND seq = 2",
            (b"{}", place.tenant_id),
        )
    )
    assert prune(place) == 0
    assert tombstones_of(place) == []
    assert "kept as evidence" in read_keeping(caller=caller).waits


@pytest.mark.parametrize(
    "values",
    [
        {"number": 2},
        {"first": 2},
        {"last": 3},
        {"last": 8},
        {"last": 12},
        {"last_hash": bytes(32)},
        {"days": 30},
        {},
    ],
)
def test_the_database_refuses_a_tombstone_that_the_policy_does_not_cover(
    place: Place, values: dict[str, Any]
) -> None:
    """With no values it is the right one, and goes."""
    set_retention(60, caller=owner_of(place))
    with tenant_scope(place.tenant_id), connection.cursor() as cursor:
        cursor.execute("SELECT hash FROM tenants_auditrecord WHERE seq = %s", [values.get("last", 4)])
        [own] = cursor.fetchone()
    row: dict[str, Any] = {
        "number": 1,
        "first": 1,
        "last": 4,
        "last_hash": own,
        "days": 60,
        "at": timezone.now(),
        "note": b"x",
    }

    def write() -> None:
        with tenant_scope(place.tenant_id):
            wanted: Any = {**row, **values}
            AuditTombstone.objects.create(**wanted)

    if not values:
        write()
        return
    with pytest.raises(DatabaseError):
        write()


@pytest.mark.parametrize("role", ["owner_database_url", "database_url"])
def test_without_a_tombstone_nobody_deletes_and_with_one_only_what_it_names(place: Place, role: str) -> None:
    set_retention(60, caller=owner_of(place))
    pruning.make_tombstone(place.tenant_id, place.slug, open_keys())
    statement = (
        f"DELETE FROM tenants_auditrecord WHERE tenant_id = {place.tenant_id} AND seq BETWEEN %s AND %s"
    )
    with psycopg.connect(getattr(settings.ENV, role), autocommit=True) as session:
        session.execute("SELECT set_config('app.tenant', %s, false)", [str(place.tenant_id)])
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            session.execute(statement.encode(), [4, 5])
        assert session.execute(statement.encode(), [1, 4]).rowcount == 4
    assert numbers_of(place)[0] == 5


@pytest.mark.parametrize("role", ["app_database_url", "writer_database_url"])
def test_the_applications_roles_delete_nothing_themselves(place: Place, role: str) -> None:
    set_retention(60, caller=owner_of(place))
    pruning.make_tombstone(place.tenant_id, place.slug, open_keys())
    with psycopg.connect(getattr(settings.ENV, role)) as session:
        session.execute("SELECT set_config('app.tenant', %s, false)", [str(place.tenant_id)])
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            session.execute("DELETE FROM tenants_auditrecord WHERE seq = 1")


def test_the_function_removes_of_the_team_in_scope_alone(place: Place, target: FolderTarget) -> None:
    set_retention(60, caller=owner_of(place))
    pruning.make_tombstone(place.tenant_id, place.slug, open_keys())
    other = old_log()
    with tenant_scope(other.tenant_id), pytest.raises(DatabaseError), connection.cursor() as cursor:
        cursor.execute("SELECT marina_remove_records(1, 4)")
    assert numbers_of(other)[0] == 1
    assert numbers_of(place)[0] == 1


@pytest.mark.parametrize("table", ["tenants_audittombstone", "tenants_legalhold"])
@pytest.mark.parametrize("role", ["app_database_url", "owner_database_url", "database_url"])
def test_tombstones_and_holds_are_never_deleted(place: Place, table: str, role: str) -> None:
    set_retention(60, caller=owner_of(place))
    prune(place)
    place_hold("case 8", caller=owner_of(place))
    with psycopg.connect(getattr(settings.ENV, role)) as session:
        session.execute("SELECT set_config('app.tenant', %s, false)", [str(place.tenant_id)])
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            session.execute(f"DELETE FROM {table} WHERE tenant_id = {place.tenant_id}".encode())


@pytest.mark.parametrize("days", [0, 29, 36_501])
def test_a_policy_that_cannot_be_is_refused(days: int) -> None:
    with pytest.raises(InvalidInput):
        set_retention(days, caller=owner_of(make_place()))


@pytest.mark.parametrize("role", [Role.ADMIN, Role.AUDITOR, Role.VIEWER])
def test_only_an_owner_sets_it(place: Place, role: Role) -> None:
    caller = Caller(place.tenant_id, place.slug, actor="user:b@example.com", role=role)
    for change in (
        lambda: set_retention(60, caller=caller),
        lambda: place_hold("mine", caller=caller),
    ):
        with pytest.raises(Forbidden):
            change()


def test_another_teams_hold_is_an_unknown_one(place: Place) -> None:
    hold = place_hold("case 9", caller=owner_of(place))
    other = make_place()
    with pytest.raises(NotFound):
        lift_hold(hold.id, caller=owner_of(other))
    with tenant_scope(other.tenant_id):
        assert not LegalHold.objects.exists()
        assert not LogRetention.objects.exists()
    assert read_keeping(caller=owner_of(other)).holds == ()
