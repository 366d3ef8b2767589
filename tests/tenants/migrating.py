"""Migrations of a database of its own, back and forth."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch
from urllib.parse import urlsplit

import psycopg
from django.conf import settings
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.executor import MigrationExecutor
from psycopg import sql


@contextmanager
def own_database(template: str = "template1") -> Iterator[BaseDatabaseWrapper]:
    """The owner's connection, to a database of its own, which is empty or a copy."""
    name = f"migrated_{secrets.token_hex(6)}"
    role = urlsplit(settings.ENV.owner_database_url).username
    assert role
    with psycopg.connect(settings.ENV.database_url, autocommit=True) as session:
        session.execute(
            sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE {}").format(
                sql.Identifier(name), sql.Identifier(role), sql.Identifier(template)
            )
        )
    owner = connections["owner"]
    owner.close()
    with patch.dict(owner.settings_dict, NAME=name):
        yield owner
        owner.close()


def migrate(owner: BaseDatabaseWrapper, name: str) -> None:
    """To this migration of tenants, forth or back."""
    MigrationExecutor(owner).migrate([("tenants", name)])


def ask(
    owner: BaseDatabaseWrapper, statement: str, values: list[Any] | None = None
) -> list[tuple[object, ...]]:
    """The rows that a statement gives."""
    with owner.cursor() as cursor:
        cursor.execute(statement, values)
        return list(cursor.fetchall()) if cursor.description else []


def add(owner: BaseDatabaseWrapper, seq: int, at: str) -> None:
    """A record of tenant 1, of a time that is an SQL expression."""
    ask(owner, "SELECT set_config('app.tenant', '1', false)")
    ask(
        owner,
        "INSERT INTO tenants_auditrecord (tenant_id, seq, at, kind, outcome, actor, server, tool, request_id, "
        f"duration_us, body, hash) VALUES (1, %s, {at}, 'auth', 'ok', 'user:a', '', '', '', 0, '', '')",
        [seq],
    )
