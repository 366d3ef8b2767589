"""Migrations that change what is there go back again: exports in whatever state, and auditors who keep their sight."""

from __future__ import annotations

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper
from django.db.migrations.executor import MigrationExecutor

from tests.tenants.migrating import migrate

EXPORTS = "0018_exports"
BEFORE = "0017_log_streams"


def test_one_that_was_cancelled_or_has_expired_has_failed_to_the_former_release(
    owner: BaseDatabaseWrapper,
) -> None:
    migrate(owner, EXPORTS)
    with owner.cursor() as cursor:
        tenant_id = _found(cursor)
        _enter(cursor, tenant_id)
        for status in ("done", "cancelled", "expired"):
            cursor.execute(
                "INSERT INTO tenants_auditexport (id, tenant_id, status, format, filters, requested_by, created_at,"
                " fence, sha256, path, error) VALUES (gen_random_uuid(), %s, %s, 'jsonl', '{}', 'user:a', now(),"
                " 0, '', '', '')",
                [tenant_id, status],
            )
        cursor.execute("RESET app.tenant")
    migrate(owner, BEFORE)
    with owner.cursor() as cursor:
        _enter(cursor, tenant_id)
        cursor.execute("SELECT status, count(*) FROM tenants_auditexport GROUP BY 1 ORDER BY 1")
        assert cursor.fetchall() == [("done", 1), ("failed", 2)]
        cursor.execute("SELECT relforcerowsecurity FROM pg_class WHERE relname = 'tenants_auditexport'")
        assert cursor.fetchone() == (True,)
    migrate(owner, EXPORTS)


def test_auditors_and_teams_that_are_there_stay_as_they_were_and_new_ones_have_to_be_given_it(
    owner: BaseDatabaseWrapper,
) -> None:
    graph = MigrationExecutor(owner).loader.graph
    auditors = next(node for node in graph.nodes if node[0] == "tenants" and node[1].endswith("_auditors"))
    [before] = [parent.key[1] for parent in graph.node_map[auditors].parents if parent.key[0] == "tenants"]
    migrate(owner, before)
    with owner.cursor() as cursor:
        tenant_id = _found(cursor)
        _enter(cursor, tenant_id)
        _join(cursor, tenant_id, "before@example.com")
        _join(cursor, tenant_id, "viewer@example.com", "viewer")
        cursor.execute("RESET app.tenant")
    migrate(owner, auditors[1])
    with owner.cursor() as cursor:
        _enter(cursor, tenant_id)
        # As the former release does it, which goes on until it is replaced.
        _join(cursor, tenant_id, "after@example.com")
        cursor.execute("SELECT payloads FROM tenants_membership ORDER BY id")
        assert cursor.fetchall() == [(True,), (False,), (False,)]
        cursor.execute("SELECT relforcerowsecurity FROM pg_class WHERE relname = 'tenants_membership'")
        assert cursor.fetchone() == (True,)
        cursor.execute("SELECT preview_characters FROM tenants_tenant")
        assert cursor.fetchall() == [(0,)]
        cursor.execute("RESET app.tenant")
    migrate(owner, before)
    with owner.cursor() as cursor:
        cursor.execute("SELECT to_regclass('tenants_originalskey')")
        assert cursor.fetchone() == (None,)
    migrate(owner, auditors[1])


def _found(cursor: CursorWrapper) -> int:
    """A new team."""
    cursor.execute(
        "INSERT INTO tenants_tenant (slug, name, surface_version, created_at) VALUES ('a', 'A', 0, now())"
        " RETURNING id"
    )
    [tenant_id] = cursor.fetchone()
    return int(tenant_id)


def _enter(cursor: CursorWrapper, tenant_id: int) -> None:
    """Be in the team's scope from now on."""
    cursor.execute("SELECT set_config('app.tenant', %s, false)", [str(tenant_id)])


def _join(cursor: CursorWrapper, tenant_id: int, email: str, role: str = "auditor") -> None:
    """A new member, without a word of what is new."""
    cursor.execute(
        "INSERT INTO tenants_user (password, is_superuser, email, name, is_active, is_staff, created_at)"
        " VALUES ('', false, %s, '', true, false, now()) RETURNING id",
        [email],
    )
    cursor.execute(
        "INSERT INTO tenants_membership (tenant_id, user_id, role, created_at) VALUES (%s, %s, %s, now())",
        [tenant_id, cursor.fetchone()[0], role],
    )
