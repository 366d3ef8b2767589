"""Keeps a query to the tables of a source's list, and masked columns out of all that it computes.

The server itself says which table each name of the query stands for. A table with masked columns is replaced, in the
query's text, by a sub-query that has the masks in their place: whatever the query computes, it never sees more. Views
that read a masked column are refused, unless the masks name columns of theirs. Judges no statement kinds or functions.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, NoReturn

from core.errors import SourceError
from servers.execution.backends.postgres.errors import translate_query_error
from servers.execution.backends.postgres.parsing import Statement
from servers.execution.backends.postgres.pipeline import Limits, Reply, run_read_only
from servers.execution.backends.postgres.pools import Connection, Pool
from servers.execution.backends.postgres.settings import Mask, PostgresSettings
from servers.execution.backends.postgres.syntax import Unreadable
from servers.execution.backends.postgres.tables import Part, TableUse, locate_tables, replace_parts
from servers.execution.backends.postgres.values import encode_parameter, quote_names

MOST_TABLES: Final = 500
"""Names of tables in one statement. Each is looked up, and all have to come back within ``_LIMITS``."""
MOST_CHARACTERS: Final = 262_144
"""Of a statement with its masks in place: 50 names of a table of 100 columns or so. It is parsed once more."""
_LIMITS: Final = Limits(rows=10_000, wire_bytes=8 * 1_048_576, timeout_ms=5_000)

_RESOLVE: Final = """
WITH RECURSIVE
wanted AS (
  SELECT place, pg_catalog.to_regclass(name)::pg_catalog.oid AS oid
  FROM pg_catalog.unnest($1::text[]) WITH ORDINALITY w (name, place)),
masks AS (
  SELECT m.place, m.how, found.oid, found.attname
  FROM ROWS FROM (pg_catalog.unnest($2::text[]), pg_catalog.unnest($3::text[]), pg_catalog.unnest($4::text[]),
    pg_catalog.unnest($5::text[])) WITH ORDINALITY m (nspname, relname, attname, how, place)
  LEFT JOIN (SELECT c.oid, n.nspname, c.relname, a.attname FROM pg_catalog.pg_namespace n
    JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid
    JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) found
    ON found.nspname = m.nspname AND found.relname = m.relname AND found.attname = m.attname),
family (oid, attname, how) AS (
  SELECT oid, attname, how FROM masks WHERE oid IS NOT NULL
  UNION SELECT kin.oid, f.attname, f.how FROM family f CROSS JOIN LATERAL (
    SELECT inhparent FROM pg_catalog.pg_inherits WHERE inhrelid = f.oid
    UNION ALL SELECT inhrelid FROM pg_catalog.pg_inherits WHERE inhparent = f.oid) kin (oid)),
covered AS (
  SELECT f.oid, a.attnum, pg_catalog.min(f.how) AS how FROM family f
  JOIN pg_catalog.pg_attribute a ON a.attrelid = f.oid AND a.attname = f.attname AND NOT a.attisdropped
  GROUP BY f.oid, a.attnum),
derived (oid) AS (
  SELECT r.ev_class FROM covered c
  JOIN pg_catalog.pg_depend d ON d.classid = 2618 AND d.refclassid = 1259 AND d.refobjid = c.oid
    AND d.refobjsubid IN (0, c.attnum)
  JOIN pg_catalog.pg_rewrite r ON r.oid = d.objid AND r.ev_type = '1'
  WHERE r.ev_class NOT IN (SELECT oid FROM covered)
  UNION SELECT r.ev_class FROM derived v
  JOIN pg_catalog.pg_depend d ON d.classid = 2618 AND d.refclassid = 1259 AND d.refobjid = v.oid
  JOIN pg_catalog.pg_rewrite r ON r.oid = d.objid AND r.ev_type = '1'
  WHERE r.ev_class NOT IN (SELECT oid FROM covered))
SELECT w.place, n.nspname, c.relname, w.oid IN (SELECT oid FROM derived) AS derived,
  CASE WHEN w.oid IN (SELECT oid FROM covered) THEN (
    SELECT pg_catalog.json_agg(pg_catalog.json_build_array(a.attname, k.how, tn.nspname, t.typname) ORDER BY a.attnum)
    FROM pg_catalog.pg_attribute a
    JOIN pg_catalog.pg_type o ON o.oid = a.atttypid
    JOIN pg_catalog.pg_type t ON t.oid = CASE o.typtype WHEN 'd' THEN o.typbasetype ELSE o.oid END
    JOIN pg_catalog.pg_namespace tn ON tn.oid = t.typnamespace
    LEFT JOIN covered k ON k.oid = a.attrelid AND k.attnum = a.attnum
    WHERE a.attrelid = w.oid AND a.attnum > 0 AND NOT a.attisdropped
      AND (k.how = 'hidden' OR pg_catalog.has_column_privilege(w.oid, a.attnum, 'SELECT'))) END AS columns
FROM wanted w LEFT JOIN pg_catalog.pg_class c ON c.oid = w.oid
LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
UNION ALL SELECT -m.place, NULL, NULL, false, NULL FROM masks m WHERE m.oid IS NULL
"""
"""2618 and 1259 are the oids of pg_rewrite and pg_class: a view's rule depends on each column that the view reads, or
on the table as a whole (0). Masks of a table hold in its partitions and heirs, and in what it is a part of."""


@dataclass(frozen=True, slots=True)
class _Found:
    """What one name of a query stands for. ``columns`` of a table with masks: name, mask, type's schema and name."""

    schema: str
    name: str
    derived: bool
    columns: Sequence[tuple[str, str | None, str, str]] | None


async def confine(
    connection: Connection, statement: Statement, pool: Pool, *, writes: bool = False
) -> Statement:
    """The statement as it may run on a confined source: the same, or with masks in place of columns.

    Raises ``SourceError`` (``query_refused``) for tables that may not be read, and ``psycopg.Error`` where the
    connection fails. ``writes``: nothing with masks may be named at all.
    """
    if not statement.tables:
        return statement
    settings = pool.settings
    if len(statement.tables) > MOST_TABLES:
        _refuse(
            statement,
            statement.tables[MOST_TABLES],
            "sql.table",
            f"The query names tables more than {MOST_TABLES} times, which is the most where tables are listed or "
            "masked. Split it.",
        )
    found, missing = await _resolve(connection, statement.tables, settings)
    if missing:
        raise SourceError(
            f"The mask of {missing[0]} names no column of the database, so nothing is read. An admin has to correct "
            "the masks in the settings of the data source.",
            code="query_refused",
            data={"rule": "sql.mask"},
        )
    parts: list[Part] = []
    size = len(statement.sql)
    for use, table in zip(statement.tables, found, strict=True):
        if settings.tables and (table is None or (table.schema, table.name) not in settings.tables):
            _refuse(
                statement,
                use,
                "sql.table",
                f"The table {_shown(use)} is not among those that may be read here. list_tables shows them all.",
            )
        if table is None:
            continue  # PostgreSQL itself says that there is none.
        if table.derived or (writes and table.columns is not None):
            _refuse(
                statement,
                use,
                "sql.mask",
                f"{_shown(use)} holds masked columns, and cannot be used in a transaction."
                if writes
                else f"The view {_shown(use)} reads a masked column. Ask an admin to mask columns of the view, too.",
            )
        if table.columns is not None:
            if not use.plain:
                _refuse(
                    statement,
                    use,
                    "sql.mask",
                    f"{_shown(use)} has masked columns. Name it plainly, as in FROM {_shown(use)}: without ONLY, "
                    "TABLE, TABLESAMPLE, a star behind it, or U& before it.",
                )
            parts.append(Part(use.start, use.end, _masked(use, table)))
            size += len(parts[-1].text)
            if size > MOST_CHARACTERS:
                _refuse(
                    statement,
                    use,
                    "sql.mask",
                    "The query is too long with its masks in place. Name tables with masked columns less often.",
                )
    if not parts:
        return statement
    return await _replace(statement, parts, found, pool)


async def find_missing_masks(connection: Connection, settings: PostgresSettings) -> list[Mask]:
    """The masks that name no column of the database."""
    return (await _resolve(connection, (), settings))[1]


async def _resolve(
    connection: Connection, uses: Sequence[TableUse], settings: PostgresSettings
) -> tuple[list[_Found | None], list[Mask]]:
    names = [quote_names([use.name]) for use in uses]
    for index, use in enumerate(uses):
        if use.schema is not None:
            names[index] = f"{quote_names([use.schema])}.{names[index]}"
    masks = settings.masks
    values = [
        names,
        [mask.schema for mask in masks],
        [mask.table for mask in masks],
        [mask.column for mask in masks],
        [mask.how for mask in masks],
    ]
    reply = await run_read_only(
        connection,
        _RESOLVE,
        parameters=[encode_parameter(each, "") for each in values],
        search_path=quote_names(settings.schemas),
        limits=_LIMITS,
    )
    if reply.fault is not None:
        raise translate_query_error(
            reply.fault, locate=lambda position: None, timeout_ms=_LIMITS.timeout_ms
        ) from None
    return _read_found(reply, uses, masks)


def _read_found(
    reply: Reply, uses: Sequence[TableUse], masks: Sequence[Mask]
) -> tuple[list[_Found | None], list[Mask]]:
    found: list[_Found | None] = [None] * len(uses)
    missing = []
    for chunk in reply.chunks:
        for row in range(chunk.ntuples):
            place, schema, name, derived, columns = (
                None if (value := chunk.get_value(row, column)) is None else value.decode()
                for column in range(5)
            )
            number = int(place or 0)
            if number < 0:
                missing.append(masks[-number - 1])
            elif schema is not None and name is not None:
                read = None if columns is None else [tuple(each) for each in json.loads(columns)]
                found[number - 1] = _Found(schema, name, derived == "t", read)
    return found, missing


def _masked(use: TableUse, table: _Found) -> str:
    columns = ", ".join(_column(*column) for column in table.columns or ())
    query = f"(SELECT {columns} FROM {quote_names([table.schema])}.{quote_names([table.name])})"  # noqa: S608
    return query if use.aliased else f"{query} AS {quote_names([use.name])}"


def _column(name: str, how: str | None, type_schema: str, type_name: str) -> str:
    column = quote_names([name])
    if how is None:
        return column
    if how == "hidden":
        return f"CAST(NULL AS {quote_names([type_schema])}.{quote_names([type_name])}) AS {column}"
    text = f"{column}::pg_catalog.text"
    shown = f"LEAST(4, pg_catalog.length({text}) OPERATOR(pg_catalog./) 4)"
    return f"'***'::pg_catalog.text OPERATOR(pg_catalog.||) pg_catalog.right({text}, {shown}) AS {column}"


async def _replace(
    statement: Statement, parts: Sequence[Part], found: Sequence[_Found | None], pool: Pool
) -> Statement:
    """The statement with the parts in it, once PostgreSQL's parser has agreed on where its tables are now."""
    sql = replace_parts(statement.sql, parts)
    by_start = {part.start: part for part in parts}
    expected, grown = [], 0
    for use, table in zip(statement.tables, found, strict=True):
        part = by_start.get(use.start)
        if part is None:
            expected.append((use.schema, use.name, use.start + grown))
        elif table is not None:
            place = part.start + grown + part.text.rindex(" FROM ") + len(" FROM ")
            expected.append((table.schema, table.name, place))
            grown += len(part.text) - (part.end - part.start)
    try:
        uses = await pool.read(sql, partial(locate_tables, sql))
        named = [(use.schema, use.name, use.start) for use in uses]
    except Unreadable:
        named = []
    if named != expected:
        raise SourceError(
            "The query cannot be read with its masks in place. Write it more plainly.",
            code="query_refused",
            data={"rule": "sql.mask"},
        )
    return replace(statement, sql=sql, replaced=tuple(parts))


def _shown(use: TableUse) -> str:
    return use.name if use.schema is None else f"{use.schema}.{use.name}"


def _refuse(statement: Statement, use: TableUse, rule: str, message: str) -> NoReturn:
    data: dict[str, Any] = {"rule": rule}
    position = statement.locate(use.start + 1)
    if position is not None:
        data["position"] = position
    raise SourceError(message, code="query_refused", data=data)
