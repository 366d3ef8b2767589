"""Migration operations that put PostgreSQL's row-level security on a tenant-owned table, reversibly."""

from __future__ import annotations

from typing import Final

from django.db.migrations.operations import RunSQL

TENANT_MATCHES: Final = "tenant_id = (SELECT current_setting('app.tenant')::bigint)"
"""True for rows of the tenant in scope. Without ``missing_ok``: a forgotten tenant raises, not hides.
The sub-select makes PostgreSQL evaluate the setting once a statement, not once a row."""


def row_security(table: str, *, also_readable: str | None = None) -> RunSQL:
    """Enable and FORCE row-level security with the tenant policy on ``table``.

    ``also_readable`` is one more SQL condition under which a row may be read (never written).
    """
    forward = [
        f'ALTER TABLE "{table}" ENABLE ROW LEVEL SECURITY',
        f'ALTER TABLE "{table}" FORCE ROW LEVEL SECURITY',
        f'CREATE POLICY tenant ON "{table}" USING ({TENANT_MATCHES}) WITH CHECK ({TENANT_MATCHES})',
    ]
    backward = [
        f'DROP POLICY tenant ON "{table}"',
        f'ALTER TABLE "{table}" NO FORCE ROW LEVEL SECURITY',
        f'ALTER TABLE "{table}" DISABLE ROW LEVEL SECURITY',
    ]
    if also_readable is not None:
        forward.append(f'CREATE POLICY directory ON "{table}" FOR SELECT USING ({also_readable})')
        backward.insert(0, f'DROP POLICY directory ON "{table}"')
    return RunSQL(";\n".join(forward), ";\n".join(backward))


def grant(privileges: str, table: str, role: str) -> RunSQL:
    """Grant ``privileges`` on ``table`` to one of Marina's roles (an identity column needs no grant of its own)."""
    return RunSQL(
        f'GRANT {privileges} ON "{table}" TO {role}',
        f'REVOKE {privileges} ON "{table}" FROM {role}',
    )


def nameable(table: str) -> RunSQL:
    """Let rows of ``table`` be named together with their tenant, as ``same_tenant`` does."""
    name = f"{table}_of_tenant"
    return RunSQL(
        f'ALTER TABLE "{table}" ADD CONSTRAINT "{name}" UNIQUE (tenant_id, id)',
        f'ALTER TABLE "{table}" DROP CONSTRAINT "{name}"',
    )


def same_tenant(table: str, column: str, target: str) -> RunSQL:
    """Let ``column`` of a row point at rows of ``target`` that are the same tenant's: a key of both columns.

    Row-level security does not see where a foreign key points. Django's own key, of the column alone, stays.
    """
    name = f"{table}_{column}_same_tenant"[:63]
    both = sorted({table, target})
    # The rows that are there already are looked at as the owner, who may see them all for this one moment.
    forward = [
        *(f'ALTER TABLE "{each}" NO FORCE ROW LEVEL SECURITY' for each in both),
        (
            f'ALTER TABLE "{table}" ADD CONSTRAINT "{name}" FOREIGN KEY (tenant_id, "{column}") '
            f'REFERENCES "{target}" (tenant_id, id) DEFERRABLE INITIALLY DEFERRED'
        ),
        *(f'ALTER TABLE "{each}" FORCE ROW LEVEL SECURITY' for each in both),
    ]
    return RunSQL(";\n".join(forward), f'ALTER TABLE "{table}" DROP CONSTRAINT "{name}"')
