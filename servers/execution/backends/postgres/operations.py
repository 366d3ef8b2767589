"""The tools that every PostgreSQL source brings along: query_database, list_tables, describe_table.

Queries of our own read the catalog here; they go by the same read-only path as the caller's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NoReturn

import orjson

from core.errors import InvalidInput
from servers.execution.backends.postgres.parsing import Policy, Slot, Statement, read_statement
from servers.execution.backends.postgres.pools import Pool
from servers.execution.backends.postgres.queries import (
    RESULT_SCHEMA,
    Bound,
    Table,
    bind_values,
    fetch_table,
    shape_outcome,
)
from servers.execution.backends.postgres.settings import PostgresSettings
from servers.execution.contract import Offered, Operation, Outcome

READ_ONLY_HINTS: Final[Mapping[str, Any]] = {
    "readOnlyHint": True,
    "destructiveHint": False,
    "idempotentHint": True,
    "openWorldHint": False,
}
_DRAFT: Final = "https://json-schema.org/draft/2020-12/schema"
_MOST_TABLES: Final = 1_000

_KINDS: Final = (
    "CASE c.relkind WHEN 'r' THEN 'table' WHEN 'p' THEN 'partitioned table' WHEN 'v' THEN 'view' "
    "WHEN 'm' THEN 'materialized view' ELSE 'foreign table' END"
)
_READABLE: Final = (
    "c.relkind IN ('r', 'p', 'v', 'm', 'f') "
    "AND pg_catalog.has_schema_privilege(n.oid, 'USAGE') "
    "AND (pg_catalog.has_table_privilege(c.oid, 'SELECT') "
    "OR pg_catalog.has_any_column_privilege(c.oid, 'SELECT')) "
    "AND CASE WHEN pg_catalog.cardinality($1::text[]) > 0 THEN n.nspname = ANY ($1::text[]) "
    "ELSE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' END"
)
_ESTIMATE: Final = "CASE WHEN c.relkind IN ('r', 'p', 'm') AND c.reltuples >= 0 THEN c.reltuples::bigint END"

LIST_TABLES: Final = (
    f"SELECT n.nspname AS schema, c.relname AS name, {_KINDS} AS kind, "  # noqa: S608 (constants only)
    f"{_ESTIMATE} AS estimated_rows, "
    "pg_catalog.obj_description(c.oid, 'pg_class') AS comment "
    "FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
    f"WHERE {_READABLE} AND NOT c.relispartition AND ($2::text IS NULL OR n.nspname = $2) "
    "ORDER BY 1, 2"
)

DESCRIBE_TABLE: Final = f"""
SELECT n.nspname AS schema, c.relname AS name, {_KINDS} AS kind, {_ESTIMATE} AS estimated_rows,
  pg_catalog.obj_description(c.oid, 'pg_class') AS comment,
  (SELECT pg_catalog.json_agg(pg_catalog.json_build_object(
      'name', a.attname, 'type', pg_catalog.format_type(a.atttypid, a.atttypmod),
      'nullable', NOT a.attnotnull, 'default', pg_catalog.pg_get_expr(d.adbin, d.adrelid),
      'comment', pg_catalog.col_description(c.oid, a.attnum),
      'values', (SELECT pg_catalog.json_agg(e.enumlabel ORDER BY e.enumsortorder)
        FROM pg_catalog.pg_enum e WHERE e.enumtypid = a.atttypid)) ORDER BY a.attnum)
    FROM pg_catalog.pg_attribute a
    LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
      AND pg_catalog.has_column_privilege(c.oid, a.attnum, 'SELECT')) AS columns,
  (SELECT pg_catalog.json_agg(a.attname ORDER BY k.place)
    FROM pg_catalog.pg_index i
    CROSS JOIN LATERAL pg_catalog.unnest(i.indkey::pg_catalog.int2[]) WITH ORDINALITY k (attnum, place)
    JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attnum
    WHERE i.indrelid = c.oid AND i.indisprimary) AS primary_key,
  (SELECT pg_catalog.json_agg(pg_catalog.json_build_object(
      'name', x.relname, 'unique', i.indisunique,
      'definition', pg_catalog.pg_get_indexdef(i.indexrelid)) ORDER BY x.relname)
    FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid
    WHERE i.indrelid = c.oid) AS indexes,
  (SELECT pg_catalog.json_agg(pg_catalog.json_build_object(
      'name', k.conname, 'definition', pg_catalog.pg_get_constraintdef(k.oid)) ORDER BY k.conname)
    FROM pg_catalog.pg_constraint k WHERE k.conrelid = c.oid AND k.contype = 'f') AS foreign_keys
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE {_READABLE} AND c.relname = $2
  AND CASE WHEN $3::text IS NULL THEN true ELSE n.nspname = $3 END
ORDER BY pg_catalog.pg_table_is_visible(c.oid) DESC, n.nspname
"""  # noqa: S608 (constants only)


def offer_operations(settings: PostgresSettings) -> list[Offered]:
    """The three tools, with the limits of this source in their words."""
    return [_offer_query(settings), _offer_list_tables(), _offer_describe_table()]


def _offer_query(settings: PostgresSettings) -> Offered:
    allowed = f" Schemas: {', '.join(settings.schemas)}." if settings.schemas else ""
    return Offered(
        name="query_database",
        title="Query the database",
        description=(
            f"Run one read-only SQL query (PostgreSQL) on the database {settings.database}.{allowed} "
            "SELECT, VALUES, TABLE, WITH and EXPLAIN only. Look up names with list_tables and describe_table "
            f"first. At most {settings.row_limit} rows and {settings.max_bytes} bytes come back, and "
            f"{settings.statement_timeout:g} s are given: aggregate and filter in SQL. Numeric values of more "
            "than 15 digits come as strings."
        ),
        input_schema={
            "$schema": _DRAFT,
            "type": "object",
            "required": ["query"],
            "additionalProperties": False,
            "properties": {
                "query": {
                    "type": "string",
                    "minLength": 1,
                    "maxLength": 65_536,
                    "description": "One SQL query. Put values into params, as :name or $1.",
                },
                "params": {
                    "description": "Values: an object for :name placeholders, or an array for $1, $2 …",
                    "anyOf": [
                        {"type": "object", "maxProperties": 100},
                        {"type": "array", "maxItems": 100},
                    ],
                },
                "limit": {
                    "type": "integer",
                    "minimum": 1,
                    "maximum": settings.row_limit,
                    "default": settings.row_limit,
                    "description": "Most rows to return.",
                },
            },
        },
        output_schema=RESULT_SCHEMA,
        annotations=READ_ONLY_HINTS,
        operation=Operation("query_database", {}),
    )


def _offer_list_tables() -> Offered:
    return Offered(
        name="list_tables",
        title="List tables",
        description="List the tables and views that can be queried, with their kind, estimated number of "
        "rows and comment.",
        input_schema={
            "$schema": _DRAFT,
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "schema": {
                    "type": "string",
                    "minLength": 1,
                    "maxLength": 63,
                    "description": "Only this schema.",
                }
            },
        },
        output_schema={
            "$schema": _DRAFT,
            "type": "object",
            "required": ["tables", "truncated"],
            "additionalProperties": False,
            "properties": {
                "tables": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["schema", "name", "kind", "estimated_rows", "comment"],
                        "additionalProperties": False,
                        "properties": _TABLE_PROPERTIES,
                    },
                },
                "truncated": {"type": "boolean"},
            },
        },
        annotations=READ_ONLY_HINTS,
        operation=Operation("list_tables", {}),
    )


_TABLE_PROPERTIES: Final[Mapping[str, Any]] = {
    "schema": {"type": "string"},
    "name": {"type": "string"},
    "kind": {"type": "string"},
    "estimated_rows": {"type": ["integer", "null"]},
    "comment": {"type": ["string", "null"]},
}


def _named_definitions(*more: str) -> dict[str, Any]:
    names = ("name", "definition", *more)
    return {
        "type": "array",
        "items": {
            "type": "object",
            "required": list(names),
            "properties": {name: {"type": "boolean" if name == "unique" else "string"} for name in names},
        },
    }


def _offer_describe_table() -> Offered:
    return Offered(
        name="describe_table",
        title="Describe a table",
        description="The columns of a table or view (types, nullability, defaults, comments, values of enums), "
        "its primary key, indexes and foreign keys.",
        input_schema={
            "$schema": _DRAFT,
            "type": "object",
            "required": ["table_name"],
            "additionalProperties": False,
            "properties": {
                "table_name": {
                    "type": "string",
                    "minLength": 1,
                    "maxLength": 127,
                    "description": "The table's name, or schema.name.",
                },
                "schema": {"type": "string", "minLength": 1, "maxLength": 63},
            },
        },
        output_schema={
            "$schema": _DRAFT,
            "type": "object",
            "required": [*_TABLE_PROPERTIES, "columns", "primary_key", "indexes", "foreign_keys"],
            "additionalProperties": False,
            "properties": {
                **_TABLE_PROPERTIES,
                "columns": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["name", "type", "nullable", "default", "comment"],
                        "properties": {
                            "name": {"type": "string"},
                            "type": {"type": "string"},
                            "nullable": {"type": "boolean"},
                            "default": {"type": ["string", "null"]},
                            "comment": {"type": ["string", "null"]},
                            "values": {"type": "array", "items": {"type": "string"}},
                        },
                    },
                },
                "primary_key": {"type": "array", "items": {"type": "string"}},
                "indexes": _named_definitions("unique"),
                "foreign_keys": _named_definitions(),
            },
        },
        annotations=READ_ONLY_HINTS,
        operation=Operation("describe_table", {}),
    )


async def query_database(pool: Pool, arguments: Mapping[str, Any], *, timeout: float) -> Outcome:
    """Run the caller's own query. Raises ``SourceError`` or ``InvalidInput``."""
    sql = _take_text(arguments, "query", required=True) or ""
    limit = _take_limit(arguments, pool.settings.row_limit)
    given = arguments.get("params")
    names: tuple[str, ...] | None = None
    values: dict[str | int, Any] = {}
    if isinstance(given, Mapping):
        names = tuple(sorted(str(name) for name in given))
        values = {str(name): value for name, value in given.items()}
    elif isinstance(given, list | tuple):
        values = dict(enumerate(given))
    elif given is not None:
        _refuse_argument("params", "Give an object for :name placeholders, or an array for $1, $2 …")
    statement = pool.keep_statement((sql, names), lambda: read_statement(sql, policy_of(pool), names=names))
    if len({slot.key for slot in statement.slots}) < len(values):
        used = {slot.key for slot in statement.slots}
        spare = [str(key) for key in values if key not in used]
        _refuse_argument(f"params.{spare[0]}", "The query does not use this parameter.")
    bound = bind_values(statement, values, path="params")
    table = await fetch_table(pool, bound, rows=limit + 1, timeout=timeout)
    return shape_outcome(table, limit=limit, max_bytes=pool.settings.max_bytes)


async def list_tables(pool: Pool, arguments: Mapping[str, Any], *, timeout: float) -> Outcome:
    """The tables and views that the role may read."""
    schema = _take_text(arguments, "schema")
    table = await _read_catalog(
        pool, LIST_TABLES, [list(pool.settings.schemas), schema], rows=_MOST_TABLES + 1, timeout=timeout
    )
    truncated = table.stopped or len(table.rows) > _MOST_TABLES
    rows = table.rows[:_MOST_TABLES]
    return _outcome({"tables": rows, "truncated": truncated}, rows=len(rows), truncated=truncated)


async def describe_table(pool: Pool, arguments: Mapping[str, Any], *, timeout: float) -> Outcome:
    """One table. Raises ``InvalidInput`` when there is none of that name that the role may read."""
    name = _take_text(arguments, "table_name", required=True) or ""
    schema = _take_text(arguments, "schema")
    allowed = list(pool.settings.schemas)
    table = await _read_catalog(pool, DESCRIBE_TABLE, [allowed, name, schema], rows=1, timeout=timeout)
    if not table.rows and schema is None and "." in name:
        schema, _, name = name.partition(".")
        table = await _read_catalog(pool, DESCRIBE_TABLE, [allowed, name, schema], rows=1, timeout=timeout)
    if not table.rows:
        _refuse_argument("table_name", "There is no such table that may be read. list_tables shows them all.")
    found = table.rows[0]
    for key in ("columns", "primary_key", "indexes", "foreign_keys"):
        found[key] = found[key] or []
    for column in found["columns"]:
        if column["values"] is None:
            del column["values"]
    return _outcome(found, rows=len(found["columns"]), truncated=False)


def policy_of(pool: Pool) -> Policy:
    """What this source's settings allow."""
    return Policy(schemas=pool.settings.schemas, functions=pool.settings.functions)


async def _read_catalog(pool: Pool, sql: str, values: Sequence[Any], *, rows: int, timeout: float) -> Table:
    slots = tuple(Slot(index) for index in range(len(values)))
    statement = Statement(sql, explain=False, slots=slots, attributes=frozenset())
    keys = {slot.key: "" for slot in slots}
    bound = Bound(statement, dict(enumerate(values)), {}, keys)
    return await fetch_table(pool, bound, rows=rows, timeout=timeout)


def _outcome(structured: dict[str, Any], *, rows: int, truncated: bool) -> Outcome:
    text = orjson.dumps(structured)
    return Outcome(structured, text.decode(), rows=rows, size=len(text), truncated=truncated)


def _take_text(arguments: Mapping[str, Any], name: str, *, required: bool = False) -> str | None:
    value = arguments.get(name)
    if value is None and not required:
        return None
    if not isinstance(value, str) or not value:
        _refuse_argument(name, "Give a text.")
    return value


def _take_limit(arguments: Mapping[str, Any], most: int) -> int:
    value = arguments.get("limit")
    if value is None:
        return most
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        _refuse_argument("limit", f"Give a whole number from 1 to {most}.")
    return min(value, most)


def _refuse_argument(path: str, message: str) -> NoReturn:
    raise InvalidInput(message, errors=[{"path": path, "message": message}])
