"""What the tools and resources that come with a PostgreSQL source do. Their words and schemas are in ``offered``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import orjson

from core.errors import NotFound, SourceError
from servers.execution.backends.postgres.arguments import read_params, refuse_spare, take_count, take_text
from servers.execution.backends.postgres.catalog import (
    complete_table_names,
    describe,
    measure,
    read_schemas,
    read_structure,
    read_tables,
    refuse_table,
    take_table,
)
from servers.execution.backends.postgres.offered import MOST_SAMPLED, SAMPLED
from servers.execution.backends.postgres.parsing import read_statement
from servers.execution.backends.postgres.pools import Pool
from servers.execution.backends.postgres.queries import (
    bind_values,
    fetch_table,
    fit_rows,
    policy_of,
    shape_outcome,
)
from servers.execution.backends.postgres.transactions import execute_transaction
from servers.execution.backends.postgres.values import quote_names
from servers.execution.contract import Completion, Outcome

COUNT_SECONDS: Final = 5.0
"""How long ``analyze_table`` counts; then it gives PostgreSQL's own estimate."""
_MOST_COMPLETIONS: Final = 100


async def query_database(pool: Pool, arguments: Mapping[str, Any], *, timeout: float) -> Outcome:
    """Run the caller's own query. Raises ``SourceError`` or ``InvalidInput``."""
    sql = take_text(arguments, "query", required=True) or ""
    most = pool.settings.row_limit
    limit = take_count(arguments, "limit", most=most, default=most)
    names, values = read_params(arguments.get("params"), "params")
    statement = pool.keep_statement((sql, names), lambda: read_statement(sql, policy_of(pool), names=names))
    refuse_spare(values, {slot.key for slot in statement.slots}, "params")
    bound = bind_values(statement, values, path="params")
    table = await fetch_table(pool, bound, rows=limit + 1, timeout=timeout)
    return shape_outcome(table, limit=limit, max_bytes=pool.settings.max_bytes)


async def list_tables(pool: Pool, arguments: Mapping[str, Any], *, timeout: float) -> Outcome:
    """The tables and views that the role may read."""
    rows, truncated = await read_tables(pool, take_text(arguments, "schema"), timeout=timeout)
    return _outcome({"tables": rows, "truncated": truncated}, rows=len(rows), truncated=truncated)


async def describe_table(pool: Pool, arguments: Mapping[str, Any], *, timeout: float) -> Outcome:
    """One table. Raises ``InvalidInput`` when there is none of that name that the role may read."""
    found = await describe(pool, *take_table(arguments, "table_name"), timeout=timeout)
    if found is None:
        refuse_table("table_name")
    return _outcome(found, rows=len(found["columns"]), truncated=False)


async def get_schema(pool: Pool, arguments: Mapping[str, Any], *, timeout: float) -> Outcome:
    """Tables with columns and keys: all that fit, or the one that is named. Raises ``InvalidInput`` for none."""
    name = take_text(arguments, "table_name")
    tables, truncated = await read_structure(pool, name, timeout=timeout)
    if name is not None and not tables:
        refuse_table("table_name")
    fitting = fit_rows(tables, pool.settings.max_bytes)
    tables, truncated = fitting, truncated or len(fitting) < len(tables)
    return _outcome({"tables": tables, "truncated": truncated}, rows=len(tables), truncated=truncated)


async def get_table_sample(pool: Pool, arguments: Mapping[str, Any], *, timeout: float) -> Outcome:
    """Some rows of one table, in no order. Raises ``InvalidInput`` when there is none that may be read."""
    size = take_count(arguments, "sample_size", most=MOST_SAMPLED, default=SAMPLED)
    limit = min(size, pool.settings.row_limit)
    found = await measure(pool, *take_table(arguments, "table"), timeout=timeout)
    columns = quote_names([column["name"] for column in found["columns"]])
    query = f"SELECT {columns} FROM {_quoted(found)} LIMIT {limit}"  # noqa: S608 (quoted names of the catalog)
    bound = bind_values(read_statement(query, policy_of(pool)), {}, path="")
    table = await fetch_table(pool, bound, rows=limit, timeout=timeout)
    return shape_outcome(table, limit=limit, max_bytes=pool.settings.max_bytes)


async def analyze_table(pool: Pool, arguments: Mapping[str, Any], *, timeout: float) -> Outcome:
    """One table's columns, indexes, size and number of rows, counted where that is done in time."""
    found = await measure(pool, *take_table(arguments, "table"), timeout=timeout)
    query = f"SELECT count(*) AS n FROM {_quoted(found)}"  # noqa: S608 (quoted names of the catalog)
    bound = bind_values(read_statement(query, policy_of(pool)), {}, path="")
    rows, exact = found.pop("estimated_rows"), False
    try:
        counted = await fetch_table(pool, bound, rows=1, timeout=min(COUNT_SECONDS, timeout))
        rows, exact = counted.rows[0]["n"], True
    except SourceError as fault:
        if fault.code != "source_timeout":
            raise
    found.update(row_count=rows, row_count_exact=exact)
    return _outcome(found, rows=len(found["columns"]), truncated=False)


async def read_schemas_resource(pool: Pool, arguments: Mapping[str, Any], *, timeout: float) -> Outcome:
    """What ``db://schemas`` holds."""
    schemas, truncated = await read_schemas(pool, timeout=timeout)
    for each in schemas:
        each["tables"] = each["tables"] or []
    return _contents(arguments, {"schemas": schemas, "truncated": truncated}, rows=len(schemas))


async def read_table_resource(pool: Pool, arguments: Mapping[str, Any], *, timeout: float) -> Outcome:
    """What ``db://tables/{table}`` holds. Raises ``NotFound``."""
    found = await describe(pool, str(arguments.get("table", "")), None, timeout=timeout)
    if found is None:
        raise NotFound(
            "There is no such table that may be read. The resource of the schemas names them all.",
            code="resource_not_found",
        )
    return _contents(arguments, found, rows=len(found["columns"]))


async def complete_table(pool: Pool, value: str, *, timeout: float) -> Completion:
    """Names of tables that begin with ``value``."""
    if "\x00" in value:
        return Completion(())
    names = await complete_table_names(pool, value, most=_MOST_COMPLETIONS + 1, timeout=timeout)
    return Completion(names[:_MOST_COMPLETIONS], has_more=len(names) > _MOST_COMPLETIONS)


TABLE_RESOURCE: Final = "db_table"
OPERATIONS: Final[Mapping[str, Callable[..., Awaitable[Outcome]]]] = {
    "query_database": query_database,
    "list_tables": list_tables,
    "describe_table": describe_table,
    "get_schema": get_schema,
    "get_table_sample": get_table_sample,
    "analyze_table": analyze_table,
    "execute_transaction": execute_transaction,
    "db_schemas": read_schemas_resource,
    TABLE_RESOURCE: read_table_resource,
}
"""By the kind of the operation."""


def _quoted(table: Mapping[str, Any]) -> str:
    return f"{quote_names([table['schema']])}.{quote_names([table['name']])}"


def _contents(arguments: Mapping[str, Any], value: Any, *, rows: int) -> Outcome:
    text = orjson.dumps(value).decode()
    content = [{"uri": str(arguments.get("uri", "")), "mimeType": "application/json", "text": text}]
    return Outcome(None, text, rows=rows, size=len(text), content=content)


def _outcome(structured: dict[str, Any], *, rows: int, truncated: bool) -> Outcome:
    text = orjson.dumps(structured)
    return Outcome(structured, text.decode(), rows=rows, size=len(text), truncated=truncated)
