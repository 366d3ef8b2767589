"""Runs a tenant's own tool that is parameterised SQL: its statement with the values of a call. Judges no SQL itself."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import partial
from typing import Any, Final

from servers.execution.backends.postgres.parsing import Policy, read_statement
from servers.execution.backends.postgres.placeholders import find_placeholders
from servers.execution.backends.postgres.pools import Pool
from servers.execution.backends.postgres.queries import Bound, bind_values, fetch_table, policy_of
from servers.execution.backends.postgres.values import TYPE_OIDS
from servers.execution.backends.postgres.words import DIALECT
from servers.execution.contract import Offered, Outcome
from servers.execution.parameters import SCALARS, Shapes, values_of
from servers.execution.sql import sqltool
from servers.execution.sql.results import shape_outcome

_SHAPES: Final = Shapes(types=(*SCALARS, "array"), items=("string", "integer"), item="string")


def compile_sql_tool(definition: Mapping[str, Any]) -> Offered:
    """See ``servers.execution.sql.sqltool``. The source's schemas and functions are checked when it runs."""
    return sqltool.compile_sql_tool(definition, dialect=DIALECT, shapes=_SHAPES, used_names=_used_names)


def _used_names(sql: str, declared: set[str]) -> Collection[str]:
    read_statement(sql, Policy(functions=None), names=declared)
    return {found.name for found in find_placeholders(sql, declared=declared)}


async def run_sql_tool(
    pool: Pool, definition: Mapping[str, Any], arguments: Mapping[str, Any], *, timeout: float
) -> Outcome:
    """Run a tool whose definition ``compile_sql_tool`` accepted. Raises ``SourceError``."""
    parameters: Mapping[str, Mapping[str, Any]] = definition.get("parameters") or {}
    bound = await bind_tool(pool, definition, values_of(parameters, arguments))
    settings = pool.settings
    table = await fetch_table(pool, bound, rows=settings.row_limit + 1, timeout=timeout)
    return shape_outcome(table, limit=settings.row_limit, max_bytes=settings.max_bytes, dialect=DIALECT)


async def bind_tool(pool: Pool, definition: Mapping[str, Any], values: Mapping[Any, Any]) -> Bound:
    """The tool's statement with the values of its parameters. Raises ``SourceError``."""
    sql = str(definition["sql"])
    parameters: Mapping[str, Mapping[str, Any]] = definition.get("parameters") or {}
    names = tuple(parameters)
    statement = await pool.keep_statement(
        sql, names, partial(read_statement, sql, policy_of(pool), names=names)
    )
    types: dict[str | int, int] = {name: TYPE_OIDS[_type_key(spec)] for name, spec in parameters.items()}
    return bind_values(statement, values, path="", types=types)


def _type_key(spec: Mapping[str, Any]) -> str:
    if spec["type"] != "array":
        return str(spec["type"])
    return f"{(spec.get('items') or {}).get('type', 'string')}[]"
