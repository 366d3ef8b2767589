"""What must hold of the tree itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from django.apps import apps
from django.db import connection, models

ROOT = Path(__file__).resolve().parents[2]


def test_platform_is_a_source_root_and_never_a_package() -> None:
    assert not (ROOT / "platform" / "__init__.py").exists()
    assert not (ROOT / "tests" / "platform").exists()


@pytest.mark.parametrize(
    "command",
    [
        [sys.executable, "-c", "import platform; print(platform.python_version())"],
        [sys.executable, "-m", "platform"],
    ],
)
def test_the_standard_library_keeps_its_platform_module(command: list[str]) -> None:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_import_contracts_hold() -> None:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def _tenant_tables() -> list[str]:
    return sorted(
        model._meta.db_table
        for model in apps.get_models(include_auto_created=True)
        if any(
            isinstance(field, models.ForeignKey) and field.name == "tenant"
            for field in model._meta.local_fields
        )
    )


def test_every_tenant_table_has_forced_row_security_and_a_policy() -> None:
    tables = _tenant_tables()
    assert "servers_tool" in tables
    assert "tenants_audithead" in tables
    with connection.cursor() as cursor:
        # From the catalogue, so that a table with a tenant column but no model is found as well.
        cursor.execute(
            "SELECT DISTINCT table_name FROM information_schema.columns "
            "WHERE table_schema = 'public' AND column_name = 'tenant_id'"
        )
        tables = sorted({*tables, *(row[0] for row in cursor.fetchall())})
        cursor.execute(
            "SELECT c.relname FROM pg_class c WHERE c.relrowsecurity AND c.relforcerowsecurity "
            "AND EXISTS (SELECT 1 FROM pg_policy p WHERE p.polrelid = c.oid "
            "  AND pg_get_expr(p.polqual, p.polrelid) LIKE '%app.tenant%' AND p.polwithcheck IS NOT NULL)"
        )
        secured = {row[0] for row in cursor.fetchall()}
    assert [table for table in tables if table not in secured] == []


def test_web_and_worker_run_as_a_role_that_row_security_binds() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT rolname, rolsuper, rolbypassrls FROM pg_roles WHERE rolname = current_user")
        assert cursor.fetchone() == ("marina_app", False, False)
        cursor.execute(
            "SELECT count(*) FROM pg_tables WHERE schemaname = 'public' AND tableowner = current_user"
        )
        assert cursor.fetchone() == (0,)


def test_no_module_is_longer_than_five_hundred_lines() -> None:
    sources = (
        path
        for root in ("platform", "tenants", "servers", "frontend", "tests")
        for path in (ROOT / root).rglob("*.py")
        if not {"migrations", "node_modules", "__pycache__"} & set(path.parts)
    )
    assert [str(path) for path in sources if len(path.read_text().splitlines()) > 500] == []


def test_the_running_marina_of_a_test_process_is_its_only_one() -> None:
    """A fixture imported into another folder is another fixture: a second Marina would take the first's place."""
    folder = ROOT / "tests" / "protocol"
    borrowing = [
        str(path.relative_to(ROOT))
        for path in (ROOT / "tests").rglob("*.py")
        if not {folder, ROOT / "tests" / "clients" / "node_modules"} & set(path.parents)
        and "\nfrom tests.protocol.conftest import" in path.read_text()
    ]
    assert borrowing == []
