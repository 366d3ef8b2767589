"""Both layers of isolation, each shown to hold alone."""

from __future__ import annotations

import psycopg
import pytest
from django.conf import settings
from django.db import DataError, connection, transaction
from django.db.utils import ProgrammingError

from servers.models import Server
from tenants.models import ApiKey, Membership
from tenants.scoping import (
    TenantScopeMissing,
    current_tenant_id,
    directory_scope,
    run_scoped,
    tenant_scope,
    tenant_scope_of,
)
from tests.factories import make_team


def test_a_query_without_a_tenant_in_scope_raises() -> None:
    with pytest.raises(TenantScopeMissing):
        Server.objects.count()


def test_without_the_managers_filter_postgresql_still_hides_another_tenants_rows() -> None:
    mine, other = make_team(), make_team()
    with tenant_scope(mine.tenant_id):
        assert {row.tenant_id for row in Server.directory.all()} == {mine.tenant_id}
        assert not Server.directory.filter(tenant_id=other.tenant_id).exists()


def test_without_any_tenant_setting_postgresql_raises() -> None:
    with (
        psycopg.connect(settings.ENV.app_database_url) as app,
        pytest.raises(psycopg.errors.UndefinedObject, match=r"app\.tenant"),
    ):
        app.execute("SELECT * FROM servers_server")


def test_a_pooled_connection_carries_no_tenant_into_its_next_use() -> None:
    team = make_team()
    with tenant_scope(team.tenant_id):
        assert Server.objects.exists()
    with pytest.raises((DataError, ProgrammingError)), transaction.atomic():
        Server.directory.count()


def test_a_scoped_statement_sees_its_tenants_rows_alone_and_leaves_no_tenant_behind() -> None:
    mine, other = make_team(), make_team()
    asked = "SELECT tenant_id FROM servers_server WHERE tenant_id IN (%s, %s)"
    both = [mine.tenant_id, other.tenant_id]
    assert set(run_scoped(mine.tenant_id, asked, both)) == {(mine.tenant_id,)}
    assert set(run_scoped(other.tenant_id, asked, both, durable=False)) == {(other.tenant_id,)}
    with pytest.raises((DataError, ProgrammingError)), transaction.atomic():
        Server.directory.count()


def test_a_scoped_statement_is_one_of_its_tenants_scope_and_of_no_other() -> None:
    mine, other = make_team(), make_team()
    changed = "UPDATE servers_server SET title = %s WHERE tenant_id = %s RETURNING title"
    with tenant_scope(mine.tenant_id):
        assert run_scoped(mine.tenant_id, changed, ["New", mine.tenant_id])[0] == ("New",)
        with pytest.raises(TenantScopeMissing):
            run_scoped(other.tenant_id, changed, ["New", other.tenant_id])
        transaction.set_rollback(True)
    assert ("New",) not in run_scoped(mine.tenant_id, "SELECT title FROM servers_server", [])
    with pytest.raises(TenantScopeMissing, match="number"):
        run_scoped(f"{mine.tenant_id}", changed, [])  # type: ignore[arg-type]


def test_a_scoped_statement_that_fails_changes_nothing() -> None:
    mine, other = make_team(), make_team()
    moved = "UPDATE servers_server SET tenant_id = %s RETURNING title"
    with pytest.raises(ProgrammingError, match="row-level security"):
        run_scoped(mine.tenant_id, moved, [other.tenant_id])
    with tenant_scope(mine.tenant_id):
        assert Server.objects.exists()


def test_a_row_of_another_tenant_cannot_be_written() -> None:
    mine, other = make_team(), make_team()
    with tenant_scope(mine.tenant_id):
        with pytest.raises(TenantScopeMissing):
            Server.objects.create(tenant_id=other.tenant_id, slug="smuggled", title="x")
        with pytest.raises(ProgrammingError, match="row-level security"), transaction.atomic():
            Server.directory.create(tenant_id=other.tenant_id, slug="smuggled", title="x")
        with pytest.raises(ProgrammingError, match="row-level security"), transaction.atomic():
            Server.directory.all().update(tenant_id=other.tenant_id)


def test_a_scope_inside_another_tenants_scope_raises() -> None:
    mine, other = make_team(), make_team()
    with tenant_scope(mine.tenant_id), pytest.raises(TenantScopeMissing), tenant_scope(other.tenant_id):
        pass


def test_the_directory_shows_a_user_their_own_memberships_and_nothing_else() -> None:
    mine, other = make_team(), make_team()
    with directory_scope(user_id=mine.owner.user_id):
        assert {row.tenant_id for row in Membership.directory.all()} == {mine.tenant_id}
        assert not Server.directory.exists()
    with directory_scope(user_id=other.owner.user_id):
        assert {row.tenant_id for row in Membership.directory.all()} == {other.tenant_id}


def test_the_directory_shows_a_key_only_to_who_knows_its_digest() -> None:
    from tenants.access import key_digest

    team = make_team()
    key, _ = team.key(), team.key()
    with directory_scope(key_digest=key_digest(key)):
        assert [row.digest for row in ApiKey.directory.all()] == [key_digest(key)]
    with directory_scope(key_digest=b"\0" * 32):
        assert not ApiKey.directory.exists()


def test_the_log_refuses_update_delete_and_truncate_even_to_its_owner() -> None:
    team = make_team()
    for statement in (
        "DELETE FROM tenants_auditrecord",
        "UPDATE tenants_auditrecord SET kind = 'x'",
        "TRUNCATE tenants_auditrecord",
    ):
        with psycopg.connect(settings.ENV.owner_database_url) as owner:
            owner.execute("SELECT set_config('app.tenant', %s, true)", [str(team.tenant_id)])
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"):
                owner.execute(statement)
        with connection.cursor() as cursor, pytest.raises(ProgrammingError, match="permission denied"):
            cursor.execute(statement)


def test_a_scope_by_slug_is_that_tenants_and_of_an_unknown_one_nobodys() -> None:
    team = make_team()
    with tenant_scope_of(team.slug) as found:
        assert (found, current_tenant_id()) == (team.tenant_id, team.tenant_id)
        assert Membership.objects.count() == 1
    with tenant_scope_of("no-such-team") as found:
        assert found is None
        with pytest.raises(TenantScopeMissing):
            Membership.objects.count()
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM tenants_membership")
            assert cursor.fetchone() == (0,)
    with tenant_scope(team.tenant_id), pytest.raises(TenantScopeMissing), tenant_scope_of(team.slug):
        pass
