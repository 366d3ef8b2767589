"""The records' table by months: every partition keeps what the whole does, and the way there and back loses nothing."""

from __future__ import annotations

import psycopg
import pytest
from django.conf import settings
from django.db.backends.base.base import BaseDatabaseWrapper

from tenants.audit.append import append_entry
from tenants.audit.chain import Head
from tenants.audit.records import Entry, now_us
from tenants.audit.tombstones import DAY_US
from tenants.audit.verification import verify_log
from tenants.partitions import drop_empty_partitions, make_partitions
from tenants.scoping import tenant_scope
from tenants.services.log import search_records
from tests.tenants.audit.places import make_place
from tests.tenants.migrating import add, ask, migrate
from tests.tenants.retention.aging import numbers_of, owner_of

PARTS = """
SELECT c.relname, c.relrowsecurity AND c.relforcerowsecurity,
    (SELECT array_agg(t.tgname || t.tgenabled::text ORDER BY t.tgname) FROM pg_trigger t WHERE t.tgrelid = c.oid),
    has_table_privilege('marina_app', c.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE')
        OR has_table_privilege('marina_writer', c.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE'),
    (SELECT pg_get_constraintdef(k.oid) FROM pg_constraint k WHERE k.conrelid = c.oid AND k.contype = 'p'),
    (SELECT count(*) FROM pg_index x WHERE x.indrelid = c.oid)
FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = 'tenants_auditrecord'::regclass ORDER BY c.relname"""


def superuser() -> psycopg.Connection[tuple[object, ...]]:
    return psycopg.connect(settings.ENV.database_url, autocommit=True)


def names() -> list[str]:
    with superuser() as session:
        return [str(row[0]) for row in session.execute(PARTS).fetchall()]


def test_every_partition_keeps_what_the_whole_does() -> None:
    make_partitions(6)
    with superuser() as session:
        parts = session.execute(PARTS).fetchall()
    assert len(parts) >= 6
    for name, secured, triggers, granted, key, indexes in parts:
        assert secured, name
        assert triggers == ["append_onlyA", "removalA"], name
        assert not granted, name
        assert key == "PRIMARY KEY (tenant_id, seq)", name
        assert indexes == 8, name


@pytest.mark.parametrize("role", ["owner_database_url", "database_url"])
@pytest.mark.parametrize("change", ["UPDATE {} SET outcome = 'ok'", "TRUNCATE {}", "DELETE FROM {}"])
def test_nobody_changes_a_record_by_its_partition(role: str, change: str) -> None:
    place = make_place()
    with tenant_scope(place.tenant_id):
        append_entry(Entry("key.created", "ok", "user:a"), tenant_id=place.tenant_id)
    with psycopg.connect(getattr(settings.ENV, role)) as session:
        session.execute("SELECT set_config('app.tenant', %s, true)", [str(place.tenant_id)])
        if role == "database_url":
            session.execute("SET session_replication_role = replica")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            session.execute(change.format("tenants_auditrecord_before").encode())


def test_months_are_made_ahead_once() -> None:
    make_partitions(8)
    assert make_partitions(8) == 0
    assert len(names()) >= 8


def test_a_record_of_any_time_is_taken_and_found() -> None:
    place = make_place()
    make_partitions(6)
    for days in (-4000, 0, 100, 4000):
        with tenant_scope(place.tenant_id):
            append_entry(
                Entry("tools/call", "ok", "key:a", at=now_us() + days * DAY_US), tenant_id=place.tenant_id
            )
    assert numbers_of(place) == [1, 2, 3, 4]
    assert isinstance(verify_log(place.tenant_id), Head)
    assert [record.seq for record in search_records(caller=owner_of(place)).records] == [4, 3, 2, 1]
    with superuser() as session:
        rows = session.execute(
            "SELECT tableoid::regclass::text FROM tenants_auditrecord WHERE tenant_id = %s ORDER BY seq",
            [place.tenant_id],
        ).fetchall()
    assert rows[0] == ("tenants_auditrecord_before",)
    assert rows[3] == ("tenants_auditrecord_other",)
    assert len({*rows}) == 3


def test_the_application_drops_nothing_that_is_not_over() -> None:
    before = names()
    assert drop_empty_partitions() == 0
    assert names() == before


def test_the_way_there_and_back_loses_no_record_and_no_index(owner: BaseDatabaseWrapper) -> None:
    migrate(owner, "0021_log_retention")
    listed = "SELECT indexname FROM pg_indexes WHERE tablename = 'tenants_auditrecord' ORDER BY 1"
    before = ask(owner, listed)
    ask(owner, "SELECT set_config('app.tenant', '1', false)")
    add(owner, 1, "now() - interval '3 years'")
    add(owner, 2, "now() + interval '70 days'")
    migrate(owner, "0022_log_partitions")
    ask(owner, "SELECT set_config('app.tenant', '1', false)")
    for seq, at in ((3, "now()"), (4, "now() + interval '130 days'"), (5, "now() + interval '9 years'")):
        add(owner, seq, at)
    stored = "SELECT seq FROM tenants_auditrecord ORDER BY seq"
    assert ask(owner, stored) == [(1,), (2,), (3,), (4,), (5,)]
    with pytest.raises(Exception, match="duplicate key"):
        add(owner, 3, "now()")
    migrate(owner, "0021_log_retention")
    ask(owner, "SELECT set_config('app.tenant', '1', false)")
    assert ask(owner, stored) == [(1,), (2,), (3,), (4,), (5,)]
    assert ask(owner, listed) == before
    ask(owner, "SELECT set_config('app.tenant', '0', false)")
    assert ask(owner, stored) == [], "row-level security holds again"


def test_a_month_that_is_over_goes_when_it_is_empty_and_stays_while_any_team_has_a_record_in_it(
    owner: BaseDatabaseWrapper,
) -> None:
    migrate(owner, "0022_log_partitions")
    ask(owner, "ALTER TABLE tenants_auditrecord DETACH PARTITION tenants_auditrecord_before")
    for month in ("2020_01", "2020_02"):
        part = f"tenants_auditrecord_{month}"
        first = month.replace("_", "-")
        ask(
            owner,
            f"CREATE TABLE {part} (LIKE tenants_auditrecord, CONSTRAINT {part}_pkey PRIMARY KEY (tenant_id, seq))",
        )
        ask(owner, f"SELECT marina_dress_partition('{part}')")
        ask(
            owner,
            f"ALTER TABLE tenants_auditrecord ATTACH PARTITION {part} FOR VALUES FROM ('{first}-01 00:00+00') "
            f"TO ('{first}-28 00:00+00')",
        )
    ask(owner, "SELECT set_config('app.tenant', '1', false)")
    add(owner, 1, "'2020-02-03'")
    ask(owner, "SELECT set_config('app.tenant', '2', false)")
    assert ask(owner, "SELECT marina_drop_empty_log_partitions()") == [(1,)]
    left = {name for name, *_ in ask(owner, "SELECT name FROM marina_log_partitions()")}
    assert "tenants_auditrecord_2020_02" in left
    assert "tenants_auditrecord_2020_01" not in left
    ask(owner, "SELECT set_config('app.tenant', '1', false)")
    assert ask(owner, "SELECT seq FROM tenants_auditrecord") == [(1,)]
