"""Reads what a database holds: schemas, tables, columns, indexes. Reads no rows of the tables themselves.

Queries of our own read PostgreSQL's catalog here; they go by the same read-only path as the caller's. Each begins with
the same three parameters: the schemas that the source allows, and the schemas and names of its list of tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from servers.execution.backends.postgres.parsing import Slot, Statement
from servers.execution.backends.postgres.pools import Pool
from servers.execution.backends.postgres.queries import Bound, fetch_table
from servers.execution.sql.results import Table

MOST_TABLES: Final = 1_000
MOST_IN_SCHEMA: Final = 200
"""Tables that ``get_schema`` describes at once."""

_KINDS: Final = (
    "CASE c.relkind WHEN 'r' THEN 'table' WHEN 'p' THEN 'partitioned table' WHEN 'v' THEN 'view' "
    "WHEN 'm' THEN 'materialized view' ELSE 'foreign table' END"
)
_SCHEMA_ALLOWED: Final = (
    "CASE WHEN pg_catalog.cardinality($1::text[]) > 0 THEN n.nspname = ANY ($1::text[]) "
    "ELSE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' END"
)
_LISTED: Final = (
    "(pg_catalog.cardinality($2::text[]) = 0 OR (n.nspname::text, c.relname::text) IN "
    "(SELECT * FROM ROWS FROM (pg_catalog.unnest($2::text[]), pg_catalog.unnest($3::text[]))))"
)
_READABLE: Final = (
    "c.relkind IN ('r', 'p', 'v', 'm', 'f') "
    "AND pg_catalog.has_schema_privilege(n.oid, 'USAGE') "
    "AND (pg_catalog.has_table_privilege(c.oid, 'SELECT') "
    "OR pg_catalog.has_any_column_privilege(c.oid, 'SELECT')) "
    f"AND {_SCHEMA_ALLOWED} AND {_LISTED}"
)
_ESTIMATE: Final = "CASE WHEN c.relkind IN ('r', 'p', 'm') AND c.reltuples >= 0 THEN c.reltuples::bigint END"
_TABLES: Final = "FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
_HEAD: Final = (
    f"n.nspname AS schema, c.relname AS name, {_KINDS} AS kind, {_ESTIMATE} AS estimated_rows, "
    "pg_catalog.obj_description(c.oid, 'pg_class') AS comment"
)

LIST_TABLES: Final = (
    f"SELECT {_HEAD} {_TABLES} "
    f"WHERE {_READABLE} AND NOT c.relispartition AND ($4::text IS NULL OR n.nspname = $4) "
    "ORDER BY 1, 2"
)

_LIST_SCHEMAS: Final = f"""
SELECT n.nspname AS name, pg_catalog.obj_description(n.oid, 'pg_namespace') AS comment,
  pg_catalog.json_agg(c.relname ORDER BY c.relname) AS tables
{_TABLES} WHERE {_READABLE} AND NOT c.relispartition
GROUP BY n.oid, n.nspname ORDER BY 1
"""

_COMPLETE_TABLE: Final = f"""
SELECT name FROM (
  SELECT c.relname::text AS name {_TABLES} WHERE {_READABLE} AND pg_catalog.pg_table_is_visible(c.oid)
  UNION SELECT n.nspname || '.' || c.relname {_TABLES} WHERE {_READABLE}) found
WHERE pg_catalog.starts_with(name, $4::text) ORDER BY name
"""  # noqa: S608 (constants only)

_PRIMARY_KEY: Final = """
  (SELECT pg_catalog.json_agg(a.attname ORDER BY k.place)
    FROM pg_catalog.pg_index i
    CROSS JOIN LATERAL pg_catalog.unnest(i.indkey::pg_catalog.int2[]) WITH ORDINALITY k (attnum, place)
    JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attnum
    WHERE i.indrelid = c.oid AND i.indisprimary) AS primary_key"""
_FOREIGN_KEYS: Final = """
  (SELECT pg_catalog.json_agg(pg_catalog.json_build_object(
      'name', k.conname, 'definition', pg_catalog.pg_get_constraintdef(k.oid)) ORDER BY k.conname)
    FROM pg_catalog.pg_constraint k WHERE k.conrelid = c.oid AND k.contype = 'f') AS foreign_keys"""
_COLUMNS_OF_TABLE: Final = """FROM pg_catalog.pg_attribute a
    LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
      AND pg_catalog.has_column_privilege(c.oid, a.attnum, 'SELECT')"""
_NAMED: Final = f"""
WHERE {_READABLE} AND c.relname = $4
  AND CASE WHEN $5::text IS NULL THEN true ELSE n.nspname = $5 END
ORDER BY pg_catalog.pg_table_is_visible(c.oid) DESC, n.nspname
"""

DESCRIBE_TABLE: Final = f"""
SELECT {_HEAD},
  (SELECT pg_catalog.json_agg(pg_catalog.json_build_object(
      'name', a.attname, 'type', pg_catalog.format_type(a.atttypid, a.atttypmod),
      'nullable', NOT a.attnotnull, 'default', pg_catalog.pg_get_expr(d.adbin, d.adrelid),
      'comment', pg_catalog.col_description(c.oid, a.attnum),
      'values', (SELECT pg_catalog.json_agg(e.enumlabel ORDER BY e.enumsortorder)
        FROM pg_catalog.pg_enum e WHERE e.enumtypid = a.atttypid)) ORDER BY a.attnum)
    {_COLUMNS_OF_TABLE}) AS columns,
  {_PRIMARY_KEY},
  (SELECT pg_catalog.json_agg(pg_catalog.json_build_object(
      'name', x.relname, 'unique', i.indisunique,
      'definition', pg_catalog.pg_get_indexdef(i.indexrelid)) ORDER BY x.relname)
    FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid
    WHERE i.indrelid = c.oid) AS indexes,
  {_FOREIGN_KEYS}
{_TABLES} {_NAMED}
"""  # noqa: S608 (constants only)

_MEASURE_TABLE: Final = f"""
SELECT {_HEAD},
  CASE WHEN c.relkind IN ('r', 'm') THEN pg_catalog.pg_total_relation_size(c.oid) END AS total_bytes,
  (SELECT pg_catalog.json_agg(pg_catalog.json_build_object(
      'name', a.attname, 'type', pg_catalog.format_type(a.atttypid, a.atttypmod),
      'nullable', NOT a.attnotnull) ORDER BY a.attnum)
    {_COLUMNS_OF_TABLE}) AS columns,
  (SELECT pg_catalog.json_agg(pg_catalog.json_build_object(
      'name', x.relname, 'unique', i.indisunique, 'bytes', pg_catalog.pg_relation_size(x.oid),
      'definition', pg_catalog.pg_get_indexdef(i.indexrelid)) ORDER BY x.relname)
    FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid
    WHERE i.indrelid = c.oid) AS indexes
{_TABLES} {_NAMED}
"""  # noqa: S608 (constants only)

_SCHEMA: Final = f"""
SELECT n.nspname AS schema, c.relname AS name, {_KINDS} AS kind,
  pg_catalog.obj_description(c.oid, 'pg_class') AS comment,
  (SELECT pg_catalog.json_agg(pg_catalog.json_build_object(
      'name', a.attname, 'type', pg_catalog.format_type(a.atttypid, a.atttypmod),
      'nullable', NOT a.attnotnull) ORDER BY a.attnum)
    {_COLUMNS_OF_TABLE}) AS columns,
  {_PRIMARY_KEY},
  {_FOREIGN_KEYS}
{_TABLES}
WHERE {_READABLE} AND CASE WHEN $4::text IS NULL THEN NOT c.relispartition ELSE c.relname = $4 END
  AND ($5::text IS NULL OR n.nspname = $5)
ORDER BY CASE WHEN $4::text IS NOT NULL THEN NOT pg_catalog.pg_table_is_visible(c.oid) END, 1, 2
"""


async def read_tables(pool: Pool, schema: str | None, *, timeout: float) -> tuple[list[dict[str, Any]], bool]:
    """The tables and views that may be read, of one schema or all; and whether there are more."""
    table = await _read_catalog(pool, LIST_TABLES, [schema], rows=MOST_TABLES + 1, timeout=timeout)
    return table.rows[:MOST_TABLES], table.stopped or len(table.rows) > MOST_TABLES


async def read_schemas(pool: Pool, *, timeout: float) -> tuple[list[dict[str, Any]], bool]:
    """The schemas with the names of their tables; and whether there are more."""
    table = await _read_catalog(pool, _LIST_SCHEMAS, [], rows=MOST_TABLES, timeout=timeout)
    for each in table.rows:
        each["tables"] = each["tables"] or []
    return table.rows, table.stopped


async def complete_table_names(pool: Pool, beginning: str, *, most: int, timeout: float) -> list[str]:
    """Names of tables, and names with their schema, that begin so."""
    table = await _read_catalog(pool, _COMPLETE_TABLE, [beginning], rows=most, timeout=timeout)
    return [str(row["name"]) for row in table.rows]


async def describe(pool: Pool, name: str, schema: str | None, *, timeout: float) -> dict[str, Any] | None:
    """All of one table but its rows; ``None`` where there is none of this name that may be read."""
    found = await _find(pool, DESCRIBE_TABLE, name, schema, rows=1, timeout=timeout)
    if not found:
        return None
    one = _with_lists(pool, found[0], "columns", "primary_key", "indexes", "foreign_keys")
    for column in one["columns"]:
        if column["values"] is None:
            del column["values"]
    return one


async def measure(pool: Pool, name: str, schema: str | None, *, timeout: float) -> dict[str, Any] | None:
    """One table's columns, indexes and sizes; ``None`` where there is none of this name that may be read."""
    found = await _find(pool, _MEASURE_TABLE, name, schema, rows=1, timeout=timeout)
    if not found:
        return None
    return _with_lists(pool, found[0], "columns", "indexes")


async def read_structure(
    pool: Pool, name: str | None, *, timeout: float
) -> tuple[list[dict[str, Any]], bool]:
    """Tables with their columns and keys: the one of this name, or as many as fit; and whether there are more."""
    if name is not None:
        found, more = await _find(pool, _SCHEMA, name, None, rows=1, timeout=timeout), False
    else:
        table = await _read_catalog(pool, _SCHEMA, [None, None], rows=MOST_IN_SCHEMA + 1, timeout=timeout)
        found, more = table.rows[:MOST_IN_SCHEMA], table.stopped or len(table.rows) > MOST_IN_SCHEMA
    return [_with_lists(pool, each, "columns", "primary_key", "foreign_keys") for each in found], more


async def _find(
    pool: Pool, sql: str, name: str, schema: str | None, *, rows: int, timeout: float
) -> list[dict[str, Any]]:
    """The rows for a table named ``name``, or ``schema.name`` in one."""
    table = await _read_catalog(pool, sql, [name, schema], rows=rows, timeout=timeout)
    if not table.rows and schema is None and "." in name:
        schema, _, name = name.partition(".")
        table = await _read_catalog(pool, sql, [name, schema], rows=rows, timeout=timeout)
    return table.rows


async def _read_catalog(pool: Pool, sql: str, values: Sequence[Any], *, rows: int, timeout: float) -> Table:
    settings = pool.settings
    tables = sorted(settings.tables)
    values = [list(settings.schemas), [each[0] for each in tables], [each[1] for each in tables], *values]
    slots = tuple(Slot(index) for index in range(len(values)))
    statement = Statement(sql, explain=False, slots=slots, attributes=frozenset())
    keys = {slot.key: "" for slot in slots}
    bound = Bound(statement, dict(enumerate(values)), {}, keys)
    return await fetch_table(pool, bound, rows=rows, timeout=timeout)


def _with_lists(pool: Pool, row: dict[str, Any], *keys: str) -> dict[str, Any]:
    """The row with lists where the database had nothing to put into them, and its masked columns marked."""
    for key in keys:
        row[key] = row[key] or []
    for mask in pool.settings.masks:
        if (mask.schema, mask.table) == (row["schema"], row["name"]):
            for column in row["columns"]:
                if column["name"] == mask.column:
                    column["masked"] = mask.how
    return row
