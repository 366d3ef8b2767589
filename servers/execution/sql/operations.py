"""What the tools and resources that come with a database do, whichever its kind. Their words are in ``offered``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, NoReturn

import orjson

from core.errors import NotFound, SourceError
from servers.execution.contract import Completion, Outcome
from servers.execution.sql.arguments import read_params, refuse_argument, take_count, take_text
from servers.execution.sql.database import Database
from servers.execution.sql.offered import MOST_SAMPLED, SAMPLED
from servers.execution.sql.results import fit_rows, outcome_of, shape_outcome

COUNT_SECONDS: Final = 5.0
"""How long ``analyze_table`` counts; then it gives the database's own estimate."""
_MOST_COMPLETIONS: Final = 100


async def query_database(database: Database, arguments: Mapping[str, Any], *, timeout: float) -> Outcome:
    """Run the caller's own query. Raises ``SourceError`` or ``InvalidInput``."""
    sql = take_text(arguments, "query", required=True) or ""
    most = database.row_limit
    limit = take_count(arguments, "limit", most=most, default=most)
    names, values = read_params(arguments.get("params"), "params")
    table = await database.read(sql, names, values, path="params", rows=limit + 1, timeout=timeout)
    return shape_outcome(table, limit=limit, max_bytes=database.max_bytes, dialect=database.dialect)


async def list_tables(database: Database, arguments: Mapping[str, Any], *, timeout: float) -> Outcome:
    """The tables and views that may be read."""
    rows, truncated = await database.read_tables(take_text(arguments, "schema"), timeout=timeout)
    return outcome_of({"tables": rows, "truncated": truncated}, rows=len(rows), truncated=truncated)


async def describe_table(database: Database, arguments: Mapping[str, Any], *, timeout: float) -> Outcome:
    """One table. Raises ``InvalidInput`` when there is none of that name that may be read."""
    found = await database.describe(*_take_table(arguments, "table_name"), timeout=timeout)
    if found is None:
        _refuse_table("table_name")
    return outcome_of(found, rows=len(found["columns"]))


async def get_schema(database: Database, arguments: Mapping[str, Any], *, timeout: float) -> Outcome:
    """Tables with columns and keys: all that fit, or the one that is named. Raises ``InvalidInput`` for none."""
    name = take_text(arguments, "table_name")
    tables, truncated = await database.read_structure(name, timeout=timeout)
    if name is not None and not tables:
        _refuse_table("table_name")
    fitting = fit_rows(tables, database.max_bytes)
    tables, truncated = fitting, truncated or len(fitting) < len(tables)
    return outcome_of({"tables": tables, "truncated": truncated}, rows=len(tables), truncated=truncated)


async def get_table_sample(database: Database, arguments: Mapping[str, Any], *, timeout: float) -> Outcome:
    """Some rows of one table, in no order. Raises ``InvalidInput`` when there is none that may be read."""
    size = take_count(arguments, "sample_size", most=MOST_SAMPLED, default=SAMPLED)
    limit = min(size, database.row_limit)
    found = await _measure(database, arguments, timeout=timeout)
    columns = database.quote([column["name"] for column in found["columns"]])
    query = f"SELECT {columns} FROM {_quoted(database, found)} LIMIT {limit}"  # noqa: S608 (quoted names of the catalog)
    table = await database.read(query, None, {}, path="", rows=limit, timeout=timeout)
    return shape_outcome(table, limit=limit, max_bytes=database.max_bytes, dialect=database.dialect)


async def analyze_table(database: Database, arguments: Mapping[str, Any], *, timeout: float) -> Outcome:
    """One table's columns, indexes, size and number of rows, counted where that is done in time."""
    found = await _measure(database, arguments, timeout=timeout)
    query = f"SELECT count(*) AS n FROM {_quoted(database, found)}"  # noqa: S608 (quoted names of the catalog)
    rows, exact = found.pop("estimated_rows"), False
    try:
        seconds = min(COUNT_SECONDS, timeout)
        counted = await database.read(query, None, {}, path="", rows=1, timeout=seconds)
        rows, exact = counted.rows[0]["n"], True
    except SourceError as fault:
        if fault.code != "source_timeout":
            raise
    found.update(row_count=rows, row_count_exact=exact)
    return outcome_of(found, rows=len(found["columns"]))


async def read_schemas_resource(
    database: Database, arguments: Mapping[str, Any], *, timeout: float
) -> Outcome:
    """What ``db://schemas`` holds."""
    schemas, truncated = await database.read_schemas(timeout=timeout)
    return _contents(arguments, {"schemas": schemas, "truncated": truncated}, rows=len(schemas))


async def read_table_resource(database: Database, arguments: Mapping[str, Any], *, timeout: float) -> Outcome:
    """What ``db://tables/{table}`` holds. Raises ``NotFound``."""
    found = await database.describe(str(arguments.get("table", "")), None, timeout=timeout)
    if found is None:
        raise NotFound(
            "There is no such table that may be read. The resource of the schemas names them all.",
            code="resource_not_found",
        )
    return _contents(arguments, found, rows=len(found["columns"]))


async def complete_table(database: Database, value: str, *, timeout: float) -> Completion:
    """Names of tables that begin with ``value``."""
    if "\x00" in value:
        return Completion(())
    names = await database.complete_names(value, most=_MOST_COMPLETIONS + 1, timeout=timeout)
    return Completion(names[:_MOST_COMPLETIONS], has_more=len(names) > _MOST_COMPLETIONS)


TABLE_RESOURCE: Final = "db_table"
OPERATIONS: Final[Mapping[str, Callable[..., Awaitable[Outcome]]]] = {
    "query_database": query_database,
    "list_tables": list_tables,
    "describe_table": describe_table,
    "get_schema": get_schema,
    "get_table_sample": get_table_sample,
    "analyze_table": analyze_table,
    "db_schemas": read_schemas_resource,
    TABLE_RESOURCE: read_table_resource,
}
"""By the kind of the operation. Each is called with the database, the call's arguments and its seconds."""


async def _measure(database: Database, arguments: Mapping[str, Any], *, timeout: float) -> dict[str, Any]:
    found = await database.measure(*_take_table(arguments, "table"), timeout=timeout)
    if found is None:
        _refuse_table("table")
    return found


def _take_table(arguments: Mapping[str, Any], key: str) -> tuple[str, str | None]:
    """The name of a table and its schema, as the arguments have them."""
    return take_text(arguments, key, required=True) or "", take_text(arguments, "schema")


def _refuse_table(path: str) -> NoReturn:
    # A table that may not be read is like one that is not there.
    refuse_argument(path, "There is no such table that may be read. list_tables shows them all.")


def _quoted(database: Database, table: Mapping[str, Any]) -> str:
    return f"{database.quote([table['schema']])}.{database.quote([table['name']])}"


def _contents(arguments: Mapping[str, Any], value: Any, *, rows: int) -> Outcome:
    text = orjson.dumps(value).decode()
    content = [{"uri": str(arguments.get("uri", "")), "mimeType": "application/json", "text": text}]
    return Outcome(None, text, rows=rows, size=len(text), content=content)
