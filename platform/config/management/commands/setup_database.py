"""Brings a database to the present schema: roles, grants, migrations, seal check. Safe to run again."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote, urlsplit

import psycopg
from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from psycopg import sql

from config.env import Env
from config.startup import SEAL_CONTEXT, SEAL_TEXT, verify_key_before_setup
from core.sealing import sealer

_LOCK = 0x6D6172696E61  # "marina": one set-up at a time in a cluster

_ROLES: dict[str, str] = {
    "owner_database_url": "NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE",
    "app_database_url": "NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE",
    "writer_database_url": "NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE",
    "ops_database_url": "NOSUPERUSER BYPASSRLS NOCREATEDB NOCREATEROLE",
}


class Command(BaseCommand):
    help = "Create Marina's roles, run the migrations and record the master key's seal. Safe to run again."
    requires_system_checks = ()

    def handle(self, *args: Any, **options: Any) -> None:
        """Do it. Exits with one clear line when the database or the master key does not fit."""
        env: Env = settings.ENV
        try:
            bootstrap = psycopg.connect(env.database_url, autocommit=True, connect_timeout=5)
        except psycopg.OperationalError:
            raise CommandError(
                "DATABASE_URL: the database does not answer or refuses the user. Check host, port, user, "
                "password and that the database exists."
            ) from None
        with bootstrap:
            bootstrap.execute("SELECT pg_advisory_lock(%s)", [_LOCK])
            verify_key_before_setup(bootstrap, sealer())
            try:
                _create_roles(bootstrap, env)
            except psycopg.errors.InsufficientPrivilege:
                raise CommandError(
                    "DATABASE_URL's role may not create roles. Create marina_owner, marina_app, marina_writer and "
                    "marina_ops yourself and give DATABASE_OWNER_URL, DATABASE_APP_URL, DATABASE_WRITER_URL and "
                    "DATABASE_OPS_URL."
                ) from None
            call_command("migrate", database="owner", interactive=False, verbosity=options["verbosity"])
            with psycopg.connect(env.owner_database_url, autocommit=True) as owner:
                owner.execute("GRANT SELECT ON core_sealcheck TO PUBLIC")
                owner.execute(
                    "INSERT INTO core_sealcheck (id, sealed, created_at) VALUES (1, %s, now()) "
                    "ON CONFLICT (id) DO NOTHING",
                    [sealer().seal(SEAL_TEXT, context=SEAL_CONTEXT)],
                )


def _create_roles(bootstrap: psycopg.Connection[tuple[object, ...]], env: Env) -> None:
    database = sql.Identifier(bootstrap.info.dbname)
    names: dict[str, sql.Identifier] = {}
    for attribute, properties in _ROLES.items():
        url: str = getattr(env, attribute)
        parts = urlsplit(url)
        user, password = unquote(parts.username or ""), unquote(parts.password or "")
        name = names[attribute] = sql.Identifier(user)
        known = bootstrap.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [user]).fetchone()
        grant = sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(database, name)
        if known:
            bootstrap.execute(grant)
        # A role that was made by hand, or by an earlier run, is left as it is: altering it needs more rights.
        if not (known and _signs_in(url)):
            if known:
                _refuse_foreign_role(bootstrap, user)
            bootstrap.execute(
                sql.SQL("{} ROLE {} LOGIN {} PASSWORD {}").format(
                    sql.SQL("ALTER" if known else "CREATE"), name, sql.SQL(properties), sql.Literal(password)
                )
            )
            bootstrap.execute(grant)
        bootstrap.execute(sql.SQL("GRANT USAGE ON SCHEMA public TO {}").format(name))
    owner, ops = names["owner_database_url"], names["ops_database_url"]
    bootstrap.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(database))
    bootstrap.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    bootstrap.execute(sql.SQL("GRANT CREATE ON SCHEMA public TO {}").format(owner))
    with psycopg.connect(env.owner_database_url, autocommit=True) as connection:
        connection.execute(
            sql.SQL("ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO {}").format(ops)
        )


def _signs_in(url: str) -> bool:
    try:
        psycopg.connect(url, connect_timeout=5).close()
    except psycopg.OperationalError:
        return False
    return True


def _refuse_foreign_role(bootstrap: psycopg.Connection[tuple[object, ...]], user: str) -> None:
    """Roles are the cluster's: one that another database needs may be another Marina's, with another key."""
    used = bootstrap.execute(
        "SELECT d.datname FROM pg_shdepend s JOIN pg_roles r ON r.oid = s.refobjid "
        "JOIN pg_database d ON d.oid = s.dbid "
        "WHERE r.rolname = %s AND d.datname <> current_database() LIMIT 1",
        [user],
    ).fetchone()
    if used is not None:
        raise CommandError(
            f"The role {user} exists with another password, and the database {used[0]} uses it: another Marina with "
            "another master key, it seems. Nothing was changed. Use a PostgreSQL cluster of its own, or the same "
            "MARINA_MASTER_KEY, or drop that database and the role."
        )
