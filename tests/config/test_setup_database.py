"""What ``setup_database`` and start-up do with keys and roles that do not fit: a clear line, and no write."""

from __future__ import annotations

import base64
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

ROOT = Path(__file__).resolve().parents[2]
OTHER_KEY = base64.urlsafe_b64encode(b"another key, also of 32 bytes!!!").decode()


def manage(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "manage.py"), *arguments],
        env={**os.environ, **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.fixture
def empty_database(postgres_url: str) -> Iterator[str]:
    name = f"setup_{secrets.token_hex(4)}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        yield f"{postgres_url.rpartition('/')[0]}/{name}"
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def snapshot(url: str) -> list[tuple[object, ...]]:
    """Everything that a set-up could have changed: tables, Marina's roles and their passwords, the seal."""
    with psycopg.connect(url) as connection:
        tables = connection.execute(
            "SELECT relname, relowner, relacl::text FROM pg_class "
            "WHERE relnamespace = 'public'::regnamespace ORDER BY 1"
        ).fetchall()
        # Only Marina's: the tests beside this one make roles of their own all the time.
        roles = connection.execute(
            "SELECT rolname, rolpassword FROM pg_authid WHERE rolname LIKE 'marina%' ORDER BY 1"
        ).fetchall()
        seals = connection.execute("SELECT id, sealed FROM core_sealcheck").fetchall()
    return [*tables, *roles, *seals]


def test_a_wrong_master_key_is_refused_by_set_up_and_nothing_is_written() -> None:
    url = os.environ["DATABASE_URL"]
    before = snapshot(url)
    done = manage("setup_database", MARINA_MASTER_KEY=OTHER_KEY)
    assert done.returncode == 1
    assert "MARINA_MASTER_KEY is not the key that this database was set up with" in done.stderr
    assert "Traceback" not in done.stderr
    assert snapshot(url) == before


def test_a_wrong_master_key_stops_the_web_process_before_it_serves() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "config.web"],
        env={**os.environ, "MARINA_MASTER_KEY": OTHER_KEY},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode != 0
    assert "MARINA_MASTER_KEY" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_set_up_again_changes_nothing() -> None:
    url = os.environ["DATABASE_URL"]
    before = snapshot(url)
    done = manage("setup_database", "--verbosity", "0")
    assert done.returncode == 0, done.stderr
    assert [row for row in snapshot(url) if row not in before] == []


def test_roles_that_another_installation_uses_are_not_changed(empty_database: str) -> None:
    before = snapshot(os.environ["DATABASE_URL"])
    done = manage("setup_database", DATABASE_URL=empty_database, MARINA_MASTER_KEY=OTHER_KEY)
    assert done.returncode == 1
    assert "another Marina with another master key" in done.stderr
    assert snapshot(os.environ["DATABASE_URL"]) == before


def test_a_role_that_is_no_superuser_can_set_up_where_the_roles_exist(postgres_url: str) -> None:
    name = f"boot_{secrets.token_hex(4)}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        role = sql.Identifier(name)
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'pw' NOSUPERUSER").format(role))
        connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(role, role))
    address = postgres_url.rpartition("@")[2].rpartition("/")[0]
    url = f"postgresql://{name}:pw@{address}/{name}"
    for _ in range(2):
        done = manage("setup_database", "--verbosity", "0", DATABASE_URL=url)
        assert done.returncode == 0, done.stderr


def test_a_database_that_does_not_answer_is_named() -> None:
    done = manage("setup_database", DATABASE_URL="postgresql://nobody:pw@127.0.0.1:1/none")
    assert done.returncode == 1
    assert "DATABASE_URL: the database does not answer" in done.stderr
    assert "pw" not in done.stderr.replace("MARINA", "")


def test_a_database_that_was_never_set_up_says_what_to_run(empty_database: str) -> None:
    done = manage(
        "create_team", "crew", "--name", "Crew", "--owner", "a@example.com", DATABASE_URL=empty_database
    )
    assert done.returncode == 1
    assert "setup_database" in done.stderr


def test_a_team_is_founded_for_somebody_who_has_an_account() -> None:
    from tenants.access import caller_for_user
    from tests.factories import make_user

    owner = make_user()
    slug = f"crew-{secrets.token_hex(4)}"
    done = manage("create_team", slug, "--name", "The crew", "--owner", owner.email)
    assert done.returncode == 0, done.stderr
    assert caller_for_user(owner.pk, owner.email, slug).role == "owner"
    again = manage("create_team", slug, "--name", "The crew", "--owner", owner.email)
    assert (again.returncode, "exists already" in again.stderr) == (1, True)
