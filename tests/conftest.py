"""Every test runs against a real PostgreSQL and Redis: one database a test process, never cleaned up.

Rolling back or truncating is not possible here (the log is append-only by design) and not needed: each test
makes tenants of its own, and nothing of one tenant reaches another.
"""

from __future__ import annotations

import atexit
import base64
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from config.compiled import use_compiled
from config.env import wants_compiled

# Tests run what web processes run. Before anything imports it.
if wants_compiled(os.environ):
    use_compiled()

from tests.hosted.commands import write_commands
from tests.plugins.live_marina import live_marina, live_worker, pytest_runtest_makereport
from tests.plugins.local_services import postgres_url, redis_url, start_local_services

__all__ = ["live_marina", "live_worker", "postgres_url", "pytest_runtest_makereport", "redis_url"]

_WORKER = os.environ.get("PYTEST_XDIST_WORKER", "main")
_home = tempfile.TemporaryDirectory(prefix="marina-home-")
atexit.register(_home.cleanup)
# Hosted commands see nothing within Marina's own folder.
_harbour = tempfile.TemporaryDirectory(prefix="marina-harbour-")
atexit.register(_harbour.cleanup)
_files = Path(_home.name) / "files"
_files.mkdir()


def _prepare_environment() -> None:
    """Name this process's database and settings, before anything reads the settings."""
    services = start_local_services()
    name = f"test_marina_{_WORKER}"
    with psycopg.connect(services.postgres_url, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    base, _, _ = services.postgres_url.rpartition("/")
    os.environ.update(
        DJANGO_SETTINGS_MODULE="config.settings",
        MARINA_HOME=_home.name,
        # The same for all workers: roles belong to the cluster, and their passwords come of this key.
        MARINA_MASTER_KEY=base64.urlsafe_b64encode(b"test master key, 32 bytes long!!").decode(),
        DATABASE_URL=f"{base}/{name}",
        REDIS_URL=services.redis_url,
        PORT="8000",
        MARINA_OUTBOUND_ALLOW="127.0.0.0/8",
        MARINA_FILES_ROOTS=str(_files),
        MARINA_HOSTED_COMMANDS=str(write_commands(Path(_home.name) / "commands.json", Path(_harbour.name))),
        MARINA_TEST_HARBOUR=_harbour.name,
        # All tests come from one address, and many with keys that are none.
        MARINA_KEY_FAILURES="1000000/60",
    )


_prepare_environment()

import django
from django.core.management import call_command
from django.db import connections
from django.test.utils import setup_test_environment

django.setup()
setup_test_environment()

from config.passwords import BoundedArgon2Hasher
from core.loop import run_async
from servers.services.runtime import get_runtime


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--update-screenshots``: the browser tests renew the pictures in docs/images."""
    parser.addoption("--update-screenshots", action="store_true", help="renew the pictures in docs/images")


# The real algorithm at its least cost: tests make hundreds of people. (tests/config checks the real cost.)
BoundedArgon2Hasher.time_cost, BoundedArgon2Hasher.memory_cost = 1, 8


@pytest.fixture(scope="session", autouse=True)
def database(postgres_url: str) -> Iterator[None]:
    """Roles, tables and seal of this process's database; at the end, nothing of ours is left on the loop."""
    with psycopg.connect(postgres_url, autocommit=True) as turns:
        # Roles are the cluster's: two test processes must not alter them at the same moment.
        turns.execute("SELECT pg_advisory_lock(1)")
        call_command("setup_database", verbosity=0)
    yield
    run_async(get_runtime().stop(), timeout=20)
    connections.close_all()


@pytest.fixture
def anyio_backend() -> str:
    """Async tests run on asyncio, as Marina does."""
    return "asyncio"
