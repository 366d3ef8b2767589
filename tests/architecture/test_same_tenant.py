"""Beneath row-level security, keys of two columns: no row of one tenant points at a row of another."""

from __future__ import annotations

import pytest
from django.apps import apps
from django.db import IntegrityError, connection, models

from tenants.models import OAuthAuthorization
from tenants.scoping import tenant_scope
from tests.factories import make_team
from tests.oauth.flows import make_app


def _is_owned(model: type[models.Model]) -> bool:
    return any(
        isinstance(field, models.ForeignKey) and field.name == "tenant" for field in model._meta.local_fields
    )


def _pointers() -> set[tuple[str, str, str]]:
    """Every foreign key from a tenant's table to a tenant's table: table, column, and what it points at."""
    return {
        (model._meta.db_table, field.column, field.related_model._meta.db_table)
        for model in apps.get_models(include_auto_created=True)
        for field in model._meta.local_fields
        if isinstance(field, models.ForeignKey) and _is_owned(model) and _is_owned(field.related_model)
    }


def test_every_pointer_between_tenants_tables_is_a_key_with_the_tenant() -> None:
    """``tenants.rowsecurity.same_tenant`` makes one, in the migration that makes the column."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT c.conrelid::regclass::text, "
            "  (SELECT a.attname FROM pg_attribute a WHERE a.attrelid = c.conrelid AND a.attnum = c.conkey[2]), "
            "  c.confrelid::regclass::text "
            "FROM pg_constraint c JOIN pg_attribute t ON t.attrelid = c.conrelid AND t.attnum = c.conkey[1] "
            "WHERE c.contype = 'f' AND cardinality(c.conkey) = 2 AND t.attname = 'tenant_id' AND c.convalidated"
        )
        bound = {tuple(row) for row in cursor.fetchall()}
    pointers = _pointers()
    assert ("tenants_oauthcode", "authorization_id", "tenants_oauthauthorization") in pointers
    assert sorted(pointers - bound) == []


def test_row_that_points_at_another_tenants_row_is_not_written() -> None:
    team, other = make_team(), make_team()
    app, foreign = make_app(team), make_app(other)
    app.tokens()
    with pytest.raises(IntegrityError, match="same_tenant"), tenant_scope(team.tenant_id):
        OAuthAuthorization.objects.update(client_id=foreign.row.pk)
