"""A migration that is interrupted while a log is in use: nothing is refused meanwhile, and it can be run again."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from django.conf import settings
from django.db import OperationalError
from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg.conninfo import make_conninfo

from tests.tenants.migrating import add, ask, migrate, own_database

partitions: Any = importlib.import_module("tenants.migrations.0022_log_partitions")

KIND = "SELECT relkind::text, relforcerowsecurity FROM pg_class WHERE oid = 'tenants_auditrecord'::regclass"
BOUNDS = "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'tenants_auditrecord_upto'"


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gives up after two short tries."""
    monkeypatch.setattr(partitions, "LOCK_SECONDS", 0.1)
    monkeypatch.setattr(partitions, "PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(partitions, "TRIES", 2)


def _session(owner: BaseDatabaseWrapper) -> psycopg.Connection[tuple[object, ...]]:
    """Of somebody else, in the scope of tenant 1."""
    name = owner.settings_dict["NAME"]
    session = psycopg.connect(make_conninfo(settings.ENV.owner_database_url, dbname=name))
    session.execute("SELECT set_config('app.tenant', '1', false)")
    session.commit()
    return session


@contextmanager
def reading(owner: BaseDatabaseWrapper) -> Iterator[None]:
    """Meanwhile somebody reads in one transaction, as a dump does."""
    with _session(owner) as session:
        session.execute("SELECT count(*) FROM tenants_auditrecord")
        yield
        session.rollback()


@pytest.fixture(scope="module")
def template(database: None) -> str:
    """The name of a database with one record, before its table is kept by months."""
    with own_database() as owner:
        migrate(owner, "0021_log_retention")
        add(owner, 1, "now()")
        return str(owner.settings_dict["NAME"])


@pytest.fixture
def before(template: str) -> Iterator[BaseDatabaseWrapper]:
    """The owner's connection to a copy of it."""
    with own_database(template) as owner:
        yield owner


def at_statement(monkeypatch: pytest.MonkeyPatch, which: str, do: Callable[[], object]) -> None:
    """Something happens just before this statement of the migration runs."""
    real = partitions._run
    statement = getattr(partitions, which)

    def run(connection: BaseDatabaseWrapper, *statements: str) -> None:
        if statement in statements:
            do()
        real(connection, *statements)

    monkeypatch.setattr(partitions, "_run", run)


def test_somebody_who_reads_all_the_while_stops_it_and_the_second_run_works(
    before: BaseDatabaseWrapper,
) -> None:
    with reading(before), pytest.raises(OperationalError, match="Run migrate again"):
        migrate(before, "0022_log_partitions")
    assert ask(before, KIND) == [("r", True)]
    assert ask(before, BOUNDS) == []
    migrate(before, "0022_log_partitions")
    assert ask(before, KIND) == [("p", True)]
    add(before, 2, "now() + interval '40 days'")
    assert ask(before, "SELECT seq FROM tenants_auditrecord ORDER BY 1") == [(1,), (2,)]


def test_what_was_half_done_is_undone_and_the_second_run_works(
    before: BaseDatabaseWrapper, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch, _session(before) as reader:
        at_statement(patch, "_CONVERT", lambda: reader.execute("SELECT count(*) FROM tenants_auditrecord"))
        at_statement(patch, "_UNBOUND", reader.rollback)
        with pytest.raises(OperationalError, match="Run migrate again"):
            migrate(before, "0022_log_partitions")
    assert ask(before, KIND) == [("r", True)]
    assert ask(before, BOUNDS) == [], "or records of the month after next would be refused"
    add(before, 2, "now() + interval '70 days'")
    migrate(before, "0022_log_partitions")
    assert ask(before, KIND) == [("p", True)]


def test_where_even_undoing_has_to_wait_records_of_the_next_weeks_are_taken_and_the_second_run_works(
    before: BaseDatabaseWrapper, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch, _session(before) as reader:
        at_statement(patch, "_CONVERT", lambda: reader.execute("SELECT count(*) FROM tenants_auditrecord"))
        with pytest.raises(OperationalError, match="Run migrate again"):
            migrate(before, "0022_log_partitions")
        add(before, 2, "now() + interval '27 days'")
        reader.rollback()
    assert len(ask(before, BOUNDS)) == 1
    migrate(before, "0022_log_partitions")
    assert ask(before, KIND) == [("p", True)]
    assert ask(before, BOUNDS) == []


def test_somebody_who_reads_for_a_moment_delays_it(
    before: BaseDatabaseWrapper, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _session(before) as reader:
        at_statement(
            monkeypatch, "_CONVERT", lambda: reader.execute("SELECT count(*) FROM tenants_auditrecord")
        )
        monkeypatch.setattr(partitions, "sleep", lambda seconds: reader.rollback())
        migrate(before, "0022_log_partitions")
    assert ask(before, KIND) == [("p", True)]


def test_one_that_ended_before_it_was_noted_is_taken_as_done(before: BaseDatabaseWrapper) -> None:
    migrate(before, "0022_log_partitions")
    ask(before, "DELETE FROM django_migrations WHERE app = 'tenants' AND name = '0022_log_partitions'")
    migrate(before, "0022_log_partitions")
    assert ask(before, KIND) == [("p", True)]


def test_nobody_waits_while_the_times_are_looked_at(
    before: BaseDatabaseWrapper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the statement after the look no lock is left of the one before it."""
    held: list[object] = []
    locks = "SELECT mode FROM pg_locks WHERE relation = 'tenants_auditrecord'::regclass"
    at_statement(monkeypatch, "_HIDE", lambda: held.extend(ask(before, locks)))
    at_statement(monkeypatch, "_VALIDATE", lambda: held.extend(ask(before, locks)))
    migrate(before, "0022_log_partitions")
    assert held == []


def test_checkpoints_that_were_there_are_as_old_as_they_say(owner: BaseDatabaseWrapper) -> None:
    migrate(owner, "0020_log_search_indexes")
    ask(owner, "SELECT set_config('app.tenant', '1', false)")
    ask(
        owner,
        "INSERT INTO tenants_auditcheckpoint (tenant_id, number, seq, at, note) "
        "VALUES (1, 1, 1, now() - interval '90 days', '')",
    )
    migrate(owner, "0021_log_retention")
    ask(owner, "SELECT set_config('app.tenant', '1', false)")
    assert ask(owner, "SELECT stored_at = at FROM tenants_auditcheckpoint") == [(True,)]
    migrate(owner, "0020_log_search_indexes")
    migrate(owner, "0021_log_retention")
