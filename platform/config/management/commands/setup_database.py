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
    # Roles belong to the whole cluster, so several databases being set up at once take turns by this lock's
    # transaction in each; a role that appeared in between is not an error.
    for attribute, properties in _ROLES.items():
        parts = urlsplit(getattr(env, attribute))
        user, password = unquote(parts.username or ""), unquote(parts.password or "")
        name = names[attribute] = sql.Identifier(user)
        exists = bootstrap.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [user]).fetchone()
        verb = sql.SQL("ALTER" if exists else "CREATE")
        bootstrap.execute(
            sql.SQL("{} ROLE {} LOGIN {} PASSWORD {}").format(
                verb, name, sql.SQL(properties), sql.Literal(password)
            )
        )
        bootstrap.execute(sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(database, name))
        bootstrap.execute(sql.SQL("GRANT USAGE ON SCHEMA public TO {}").format(name))
    owner, ops = names["owner_database_url"], names["ops_database_url"]
    bootstrap.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(database))
    bootstrap.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    bootstrap.execute(sql.SQL("GRANT CREATE ON SCHEMA public TO {}").format(owner))
    with psycopg.connect(env.owner_database_url, autocommit=True) as connection:
        connection.execute(
            sql.SQL("ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO {}").format(ops)
        )
