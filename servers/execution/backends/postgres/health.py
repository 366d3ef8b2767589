"""Says in words whether a source works: one connection of its own, outside the pool. Raises nothing for a bad one."""

from __future__ import annotations

from time import monotonic
from typing import Any, Final

import psycopg

from core.errors import InvalidInput, SourceError
from core.outbound import AllowAddress
from servers.execution.backends.postgres.confine import find_missing_masks
from servers.execution.backends.postgres.connect import open_connection
from servers.execution.backends.postgres.errors import translate_query_error
from servers.execution.backends.postgres.pipeline import Limits, run_read_only
from servers.execution.backends.postgres.settings import PostgresSettings, read_settings
from servers.execution.backends.postgres.values import encode_parameter
from servers.execution.contract import Health, Source

_LIMITS: Final = Limits(rows=1, wire_bytes=65_536, timeout_ms=5_000)
_SURVEY: Final = """
SELECT r.rolsuper,
  (SELECT pg_catalog.count(*) FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
      AND pg_catalog.has_schema_privilege(n.oid, 'USAGE')
      AND (pg_catalog.has_table_privilege(c.oid, 'SELECT')
        OR pg_catalog.has_any_column_privilege(c.oid, 'SELECT'))
      AND CASE WHEN pg_catalog.cardinality($1::text[]) > 0 THEN n.nspname = ANY ($1::text[])
        ELSE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' END),
  (SELECT pg_catalog.string_agg(wanted, ', ') FROM pg_catalog.unnest($1::text[]) wanted
    WHERE wanted NOT IN (SELECT nspname FROM pg_catalog.pg_namespace))
FROM pg_catalog.pg_roles r WHERE r.rolname = CURRENT_USER
"""


async def check_source(source: Source, *, allow: AllowAddress) -> Health:
    """Connect, sign in and look around. ``latency_ms`` covers all of it."""
    started = monotonic()
    try:
        settings = read_settings(source.settings)
        connection = await open_connection(settings, allow=allow)
    except InvalidInput as fault:
        reason = fault.errors[0]["message"] if fault.errors else fault.message
        return Health("unhealthy", reason, fault.code)
    except SourceError as fault:
        return Health("unhealthy", fault.message, fault.code, _since(started))
    try:
        return await _survey(connection, settings, started)
    except SourceError as fault:
        return Health("unhealthy", fault.message, fault.code, _since(started))
    except psycopg.Error as error:
        known = translate_query_error(error, locate=lambda position: None, timeout_ms=_LIMITS.timeout_ms)
        return Health("unhealthy", known.message, known.code, _since(started))
    finally:
        await connection.close()


async def _survey(
    connection: psycopg.AsyncConnection[Any], settings: PostgresSettings, started: float
) -> Health:
    schemas = encode_parameter(list(settings.schemas), "schemas")
    reply = await run_read_only(connection, _SURVEY, parameters=[schemas], limits=_LIMITS)
    reply.checked()
    latency = _since(started)
    row = next(((chunk, 0) for chunk in reply.chunks if chunk.ntuples), None)
    if row is None:
        return Health("healthy", latency_ms=latency)
    superuser, tables, missing = (row[0].get_value(0, column) for column in range(3))
    if missing:
        names = missing.decode(errors="replace")
        return Health(
            "degraded",
            f"The database has no schema {names}. Correct the list of schemas in the settings.",
            "schema_missing",
            latency,
        )
    unknown = await find_missing_masks(connection, settings) if settings.masks else ()
    if unknown:
        return Health(
            "degraded",
            f"The mask of {unknown[0]} names no column of the database, so queries are refused. "
            "Correct the masks in the settings.",
            "mask_missing",
            latency,
        )
    if tables == b"0":
        return Health(
            "degraded",
            f"The connection works, but {settings.user} may read no table. "
            "Grant USAGE on a schema and SELECT on its tables.",
            "no_tables",
            latency,
        )
    if superuser == b"t":
        return Health(
            "degraded",
            f"The connection works, but {settings.user} is a superuser. "
            "Use a role that may only read what these tools need.",
            "role_superuser",
            latency,
        )
    return Health("healthy", latency_ms=latency)


def _since(started: float) -> float:
    return round((monotonic() - started) * 1_000, 3)
