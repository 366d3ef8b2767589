"""The tables of exports go back to what they were before, whatever state exports are in."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from urllib.parse import urlsplit

import psycopg
import pytest
from django.conf import settings
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.executor import MigrationExecutor
from psycopg import sql

EXPORTS = "0018_exports"
BEFORE = "0017_log_streams"


@pytest.fixture
def owner(monkeypatch: pytest.MonkeyPatch) -> Iterator[BaseDatabaseWrapper]:
    """The owner's connection, to an empty database of its own."""
    name = f"migrated_{secrets.token_hex(6)}"
    role = urlsplit(settings.ENV.owner_database_url).username
    assert role
    with psycopg.connect(settings.ENV.database_url, autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(name), sql.Identifier(role))
        )
    owner = connections["owner"]
    owner.close()
    with monkeypatch.context() as patch:
        patch.setitem(owner.settings_dict, "NAME", name)
        yield owner
        owner.close()


def migrate(owner: BaseDatabaseWrapper, name: str) -> None:
    MigrationExecutor(owner).migrate([("tenants", name)])


def test_one_that_was_cancelled_or_has_expired_has_failed_to_the_former_release(
    owner: BaseDatabaseWrapper,
) -> None:
    migrate(owner, EXPORTS)
    with owner.cursor() as cursor:
        cursor.execute(
            "INSERT INTO tenants_tenant (slug, name, surface_version, created_at) VALUES ('a', 'A', 0, now())"
            " RETURNING id"
        )
        [tenant_id] = cursor.fetchone()
        cursor.execute("SELECT set_config('app.tenant', %s, false)", [str(tenant_id)])
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
        cursor.execute("SELECT set_config('app.tenant', %s, false)", [str(tenant_id)])
        cursor.execute("SELECT status, count(*) FROM tenants_auditexport GROUP BY 1 ORDER BY 1")
        assert cursor.fetchall() == [("done", 1), ("failed", 2)]
        cursor.execute("SELECT relforcerowsecurity FROM pg_class WHERE relname = 'tenants_auditexport'")
        assert cursor.fetchone() == (True,)
    migrate(owner, EXPORTS)
