"""Checkpoints are made when they are due, of what follows, once each; stills where nothing came."""

from __future__ import annotations

import base64
import hashlib
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from io import StringIO

import psycopg
import pytest
from django.conf import settings
from django.core.management import call_command
from django.db import DatabaseError, connection, connections
from django.test import Client
from django.utils import timezone

from core.errors import Forbidden
from tenants.access import Caller
from tenants.audit.chain import EMPTY
from tenants.audit.notes import NOTHING_BEFORE, Statement, digest_of, is_signed_by, read_statement
from tenants.audit.walking import read_head
from tenants.checkpoint_tasks import make_checkpoints
from tenants.models import AuditCheckpoint, CheckpointState, LogKey
from tenants.roles import Role
from tenants.scoping import TenantScopeMissing, tenant_scope
from tenants.services import checkpoints
from tenants.services.checkpoints import covering, list_checkpoints, looking_alone
from tenants.services.log_keys import LogKeys, open_keys, public_keys
from tests.tenants.audit.places import Place, make_place
from tests.tenants.checkpoints.logs import notes_of, sign_off, signed_log, state_of, tamper, write


def _caller(place: Place, role: Role = Role.AUDITOR) -> Caller:
    return Caller(place.tenant_id, place.slug, actor="user:a", role=role)


def _only(monkeypatch: pytest.MonkeyPatch, *places: Place) -> None:
    """Other tests' tenants are due, too: a look passes them by."""
    ours = {place.tenant_id for place in places}
    make = checkpoints.make_checkpoint

    def make_ours(tenant_id: int, slug: str, keys: LogKeys) -> Statement | None:
        return make(tenant_id, slug, keys) if tenant_id in ours else None

    monkeypatch.setattr(checkpoints, "make_checkpoint", make_ours)


def _age(place: Place, seconds: int) -> None:
    with tenant_scope(place.tenant_id):
        CheckpointState.objects.update(looked_at=timezone.now() - timedelta(seconds=seconds))


def test_each_checkpoint_signs_the_head_and_the_one_before() -> None:
    place = signed_log(3, 2)
    first, second = (read_statement(note) for note in notes_of(place))
    assert (first.number, first.head.seq, first.previous) == (1, 3, NOTHING_BEFORE)
    assert (second.number, second.head) == (2, read_head(place.tenant_id))
    assert second.previous == digest_of(notes_of(place)[0])
    assert second.tenant_id == place.tenant_id
    assert second.origin == f"127.0.0.1:8000/marina-log/{place.slug}"
    assert first.at_us < second.at_us
    assert all(is_signed_by(note, open_keys().public[0]) for note in notes_of(place))


def test_where_nothing_came_the_newest_still_says_so_and_nothing_more_is_stored() -> None:
    place = signed_log(3)
    stills = [sign_off(place) for _ in range(3)]
    note = bytes(state_of(place).still)
    assert len(notes_of(place)) == 1
    still = read_statement(note)
    assert still == stills[-1]
    assert (still.kind, still.number, still.head) == ("still", 1, read_head(place.tenant_id))
    assert still.previous == digest_of(notes_of(place)[0])
    assert is_signed_by(note, open_keys().public[0])
    write(place)
    made = sign_off(place)
    assert made is not None
    assert (made.kind, made.number, bytes(state_of(place).still)) == ("checkpoint", 2, b"")


def test_an_empty_log_is_signed_as_empty() -> None:
    place = make_place()
    made = sign_off(place)
    assert made is not None
    assert (made.kind, made.head) == ("checkpoint", EMPTY)


def test_times_never_go_back_though_the_clock_does(monkeypatch: pytest.MonkeyPatch) -> None:
    place = signed_log(1)
    monkeypatch.setattr(checkpoints, "now_us", lambda: 5)
    for _ in range(2):
        before = state_of(place).said_at
        sign_off(place)
        after = state_of(place).said_at
        assert before is not None
        assert after is not None
        assert before < after


def test_a_log_that_is_far_ahead_gets_several(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "MOST_RECORDS", 4)
    place = make_place()
    write(place, 10)
    sizes = [made.head.seq for _ in range(3) if (made := sign_off(place)) is not None]
    assert sizes == [4, 8, 10]


def test_a_look_makes_what_is_due_by_time_or_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "EVERY_RECORDS", 5)
    new, fresh, busy, old = make_place(), signed_log(1), signed_log(1), signed_log(1)
    write(new)
    write(fresh, 4)
    write(busy, 5)
    _age(old, 56)
    _only(monkeypatch, new, fresh, busy, old)
    make_checkpoints()
    assert [len(notes_of(place)) for place in (new, fresh, busy, old)] == [1, 1, 2, 1]
    assert bytes(state_of(old).still)
    assert not bytes(state_of(fresh).still)


def test_one_look_at_a_time_works(monkeypatch: pytest.MonkeyPatch) -> None:
    place = make_place()
    _only(monkeypatch, place)
    write(place)
    with looking_alone(checkpoints._LOCK) as ours:
        assert ours is not None
        make_checkpoints()
        assert notes_of(place) == []
    make_checkpoints()
    assert len(notes_of(place)) == 1


def test_many_at_once_make_one_of_each_number() -> None:
    place = make_place()
    write(place, 3)

    def race(_: int) -> bool:
        try:
            return sign_off(place) is not None
        finally:
            connections.close_all()

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(race, range(12)))
    notes = notes_of(place)
    assert [read_statement(note).number for note in notes] == list(range(1, len(notes) + 1))
    assert len(notes) == 1


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        (
            "UPDATE tenants_auditrecord SET body = body || ' ' WHERE tenant_id = %s AND seq = 5",
            "do not follow",
        ),
        ("DELETE FROM tenants_auditrecord WHERE tenant_id = %s AND seq = 5", "record 5 is missing"),
        (
            "UPDATE tenants_audithead SET hash = sha256(hash) WHERE tenant_id = %s",
            "head of the log does not fit",
        ),
        (
            "UPDATE tenants_auditrecord SET hash = sha256(hash) WHERE tenant_id = %s AND seq = 3",
            "Record 3 is not there any more as checkpoint 1",
        ),
        (
            (
                "UPDATE tenants_audithead h SET seq = 2, hash = r.hash FROM tenants_auditrecord r "
                "WHERE r.tenant_id = h.tenant_id AND r.seq = 2 AND h.tenant_id = %s"
            ),
            "ends at record 2, and checkpoint 1 counted 3: its tail was cut off",
        ),
        (
            (
                "UPDATE tenants_auditcheckpoint SET note = replace(encode(note, 'escape'), 'checkpoint 1', "
                "'checkpoint 2')::bytea WHERE tenant_id = %s"
            ),
            "Checkpoint 1 was changed",
        ),
    ],
)
def test_what_does_not_follow_is_never_signed_and_is_said(
    statement: str, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    place = signed_log(3)
    write(place, 4)
    tamper((statement, (place.tenant_id,)))
    assert sign_off(place) is None
    assert len(notes_of(place)) == 1
    state = state_of(place)
    assert words in state.fault
    assert state.fault_at is not None
    assert [line.levelname for line in caplog.records if line.name == checkpoints.__name__] == ["CRITICAL"]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE tenants_auditrecord SET at = 'infinity' WHERE tenant_id = %s AND seq = 4",
        "UPDATE tenants_auditcheckpoint SET at = 'infinity' WHERE tenant_id = %s",
    ],
)
def test_what_is_in_one_teams_rows_stops_no_other_team(
    statement: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    place, later = signed_log(3), make_place()
    assert place.tenant_id < later.tenant_id
    for each in (place, later):
        write(each)
    tamper((statement, (place.tenant_id,)))
    _age(place, 61)
    _only(monkeypatch, place, later)
    make_checkpoints()
    assert len(notes_of(later)) == 1
    told = [line for line in caplog.records if line.name == checkpoints.__name__]
    assert [(line.levelname, line.__dict__["tenant_id"]) for line in told] == [("CRITICAL", place.tenant_id)]
    if "auditrecord" in statement:
        assert "record 4 was changed: its time is none" in state_of(place).fault


def test_a_look_that_lies_ahead_stops_none(monkeypatch: pytest.MonkeyPatch) -> None:
    place, fresh = signed_log(1), signed_log(1)
    _age(place, -3600)
    _only(monkeypatch, place, fresh)
    make_checkpoints()
    assert bytes(state_of(place).still)
    assert not bytes(state_of(fresh).still)


def test_what_was_mended_is_signed_again() -> None:
    place = signed_log(3)
    write(place, 1)
    tamper(("UPDATE tenants_audithead SET hash = hash || 'x' WHERE tenant_id = %s", (place.tenant_id,)))
    assert sign_off(place) is None
    tamper(
        (
            "UPDATE tenants_audithead SET hash = substring(hash from 1 for 32) WHERE tenant_id = %s",
            (place.tenant_id,),
        )
    )
    assert sign_off(place) is not None
    assert state_of(place).fault == ""


def test_a_checkpoint_of_a_foreign_key_is_not_gone_on_with() -> None:
    place = signed_log(2)
    number = LogKey.objects.count() + 100
    tamper(
        (
            (
                "INSERT INTO tenants_logkey (id, public, sealed, statement, since) "
                "VALUES (%s, sha256(%s::bytea), 'x', 'x', now())"
            ),
            (number, place.slug.encode()),
        )
    )
    try:
        assert number not in [key["number"] for key in public_keys()]
        assert sign_off(place) is not None, "the newest that is ours goes on signing"
    finally:
        tamper(("DELETE FROM tenants_logkey WHERE id = %s", (number,)))


KEPT = (
    "UPDATE tenants_auditcheckpoint SET seq = 1",
    "DELETE FROM tenants_auditcheckpoint",
    "TRUNCATE tenants_auditcheckpoint",
    "DELETE FROM tenants_logkey",
)


@pytest.mark.parametrize(
    ("role", "statement"),
    [
        *((role, statement) for role in ("app", "owner", "superuser") for statement in KEPT),
        # Who owns the table may do that: such a key does not open, and is none of ours.
        ("app", "UPDATE tenants_logkey SET public = 'x'"),
    ],
)
def test_checkpoints_and_keys_stay_as_they_are(role: str, statement: str) -> None:
    urls = {
        "app": settings.ENV.app_database_url,
        "owner": settings.ENV.owner_database_url,
        "superuser": settings.ENV.database_url,
    }
    signed_log(1)
    with psycopg.connect(urls[role]) as database:
        database.execute("SELECT set_config('app.tenant', '1', true)")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            database.execute(statement.encode())


def test_another_tenants_checkpoints_are_not_there() -> None:
    place, other = signed_log(2), signed_log(1)
    with tenant_scope(other.tenant_id):
        assert AuditCheckpoint.objects.count() == 1
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM tenants_auditcheckpoint WHERE tenant_id = %s", [place.tenant_id]
            )
            assert cursor.fetchone() == (0,)
    with pytest.raises(TenantScopeMissing):
        AuditCheckpoint.objects.count()
    with connection.cursor() as cursor, pytest.raises(DatabaseError):
        cursor.execute("SELECT 1 FROM tenants_checkpointstate")


def test_what_covers_a_range_begins_before_it_and_ends_within_it(monkeypatch: pytest.MonkeyPatch) -> None:
    place = signed_log(2, 2, 2, 2)
    notes = [note.decode() for note in notes_of(place)]
    with tenant_scope(place.tenant_id):
        assert covering(3, 5) == notes[0:2]
        assert covering(5, 5) == notes[1:2]
        assert covering(1, 1) == []
        assert covering(1, 8) == notes
        assert covering(1, 2) == notes[:1]
        assert covering(8, 100) == notes[2:]
        monkeypatch.setattr(checkpoints, "MOST_NOTES", 3)
        assert covering(1, 8) == notes[1::2]
        assert covering(3, 8) == notes[1::2]
        assert covering(1, 6) == notes[:3]


def test_checkpoints_are_listed_newest_first_to_those_who_may_read_the_log() -> None:
    place = signed_log(1, 1, 1)
    page = list_checkpoints(caller=_caller(place), limit=2)
    assert [(row.number, row.records) for row in page.checkpoints] == [(3, 3), (2, 2)]
    assert page.next_before == 2
    last = list_checkpoints(caller=_caller(place), before=2)
    assert [row.number for row in last.checkpoints] == [1]
    assert last.next_before is None
    assert last.checkpoints[0].note == notes_of(place)[0].decode()
    with pytest.raises(Forbidden):
        list_checkpoints(caller=_caller(place, Role.VIEWER))


def test_a_new_key_signs_on_and_the_one_before_vouches_for_it() -> None:
    place = signed_log(1)
    before = open_keys().public[0]
    said = StringIO()
    call_command("rotate_log_key", stdout=said)
    after = open_keys().public[0]
    assert after != before
    write(place)
    assert sign_off(place) is not None
    first, second = notes_of(place)
    assert is_signed_by(first, before)
    assert is_signed_by(second, after)
    assert not is_signed_by(second, before)
    keys = Client().get("/.well-known/marina-log-keys").json()["keys"]
    assert keys == public_keys()
    assert keys[-1]["vkey"] in said.getvalue()
    assert base64.b64decode(keys[-1]["public_key"]) == after
    statement = keys[-1]["statement"].encode()
    assert is_signed_by(statement, before)
    assert is_signed_by(statement, after)
    assert base64.b64encode(after) in statement
    assert keys[-2]["until"]
    assert keys[-1]["until"] is None


def test_no_private_key_stands_in_clear() -> None:
    signed_log(1)
    private = open_keys().signing.private_bytes_raw()
    rows = [bytes(row.sealed) + bytes(row.statement) + bytes(row.public) for row in LogKey.objects.all()]
    assert all(private not in row for row in rows)
    assert hashlib.sha256(private).digest() not in rows
