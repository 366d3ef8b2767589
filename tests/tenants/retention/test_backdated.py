"""Who has the application's role cannot make the database believe that something is old."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from django.conf import settings

from tenants.services.retention import set_retention
from tests.tenants.audit.places import Place
from tests.tenants.retention.aging import numbers_of, old_log, owner_of, published_in

CHECKPOINT = """INSERT INTO tenants_auditcheckpoint (tenant_id, number, seq, at, stored_at, note)
VALUES (%s, %s, %s, now() - interval '90 days', now() - interval '90 days', '')"""

TOMBSTONE = """INSERT INTO tenants_audittombstone (tenant_id, number, first, last, last_hash, days, at, note)
SELECT tenant_id, 1, 1, seq, hash, 30, now(), '' FROM tenants_auditrecord WHERE seq = %s"""


@pytest.fixture
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Records 9 to 12 are of today, and checkpoint 3 is of record 12. The policy is 30 days."""
    with published_in(tmp_path_factory.mktemp("notes")):
        it = old_log()
        set_retention(30, caller=owner_of(it))
    return it


@pytest.fixture
def taken(place: Place) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """A session of somebody who took over a web process, in the team's scope."""
    with psycopg.connect(settings.ENV.app_database_url, autocommit=True) as session:
        session.execute("SELECT set_config('app.tenant', %s, false)", [str(place.tenant_id)])
        yield session


def test_backdated_checkpoints_make_no_record_old(
    place: Place, taken: psycopg.Connection[tuple[object, ...]]
) -> None:
    for number, seq in ((4, 11), (5, 12)):
        taken.execute(CHECKPOINT, [place.tenant_id, number, seq])
    stored = taken.execute(
        "SELECT count(*) FROM tenants_auditcheckpoint WHERE number > 3 AND stored_at > now() - interval '1 minute'"
    ).fetchone()
    assert stored == (2,)
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="not signed long enough ago"):
        taken.execute(TOMBSTONE, [11])
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="no tombstone says"):
        taken.execute("SELECT marina_remove_records(1, 11)")
    assert numbers_of(place)[0] == 1
    taken.execute(TOMBSTONE, [8])
    taken.execute("SELECT marina_remove_records(1, 8)")
    assert numbers_of(place)[0] == 9


def test_no_checkpoint_is_taken_in_ahead_of_its_record(
    place: Place, taken: psycopg.Connection[tuple[object, ...]]
) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="a record that is there"):
        taken.execute(CHECKPOINT, [place.tenant_id, 4, 999])


@pytest.mark.parametrize("role", ["app_database_url", "owner_database_url", "database_url"])
def test_the_time_of_storing_is_nobodys_to_choose(place: Place, role: str) -> None:
    with psycopg.connect(getattr(settings.ENV, role)) as session:
        session.execute("SELECT set_config('app.tenant', %s, true)", [str(place.tenant_id)])
        if role == "database_url":
            session.execute("SET session_replication_role = replica")
        session.execute(CHECKPOINT, [place.tenant_id, 4, 12])
        own = session.execute(
            "SELECT stored_at = now() FROM tenants_auditcheckpoint WHERE tenant_id = %s AND number = 4",
            [place.tenant_id],
        ).fetchone()
        session.rollback()
    assert own == (True,)
