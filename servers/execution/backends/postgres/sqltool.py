"""A tenant's own tool made of parameterised SQL: its definition, the schemas derived from it, and its run.

{"sql": "SELECT … WHERE iata = :code", "title": "…", "description": "…",
 "parameters": {"code": {"type": "string", "description": "…", "required": true}}}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from core.errors import SourceError
from servers.execution.backends.postgres.offered import READ_ONLY_HINTS
from servers.execution.backends.postgres.parsing import Policy, read_statement
from servers.execution.backends.postgres.placeholders import find_placeholders
from servers.execution.backends.postgres.pools import Pool
from servers.execution.backends.postgres.queries import (
    RESULT_SCHEMA,
    Bound,
    bind_values,
    fetch_table,
    policy_of,
    shape_outcome,
)
from servers.execution.backends.postgres.values import TYPE_OIDS
from servers.execution.contract import Offered, Operation, Outcome
from servers.execution.parameters import (
    SCALARS,
    Faults,
    Shapes,
    is_name,
    raise_faults,
    read_parameters,
    read_text,
    values_of,
)

_SHAPES: Final = Shapes(types=(*SCALARS, "array"), items=("string", "integer"), item="string")
_DEFINITION_KEYS: Final = frozenset({"sql", "parameters", "description", "title"})


def compile_sql_tool(definition: Mapping[str, Any]) -> Offered:
    """Check a definition and derive its schemas. Raises ``InvalidInput`` with every fault at once.

    Schemas and additional functions depend on the source's settings and are checked when it runs.
    """
    faults: Faults = [
        {"path": str(key), "message": "There is no such key in the definition of a SQL tool."}
        for key in definition.keys() - _DEFINITION_KEYS
    ]
    title = read_text(definition, "title", 200, faults)
    description = read_text(definition, "description", 4_000, faults)
    parameters, input_schema = read_parameters(definition, faults, shapes=_SHAPES)
    _check_sql(definition.get("sql"), {name for name in parameters if is_name(name)}, faults)
    raise_faults(faults)
    return Offered(
        name="",
        title=title,
        description=description,
        input_schema=input_schema,
        output_schema=RESULT_SCHEMA,
        annotations=READ_ONLY_HINTS,
        operation=Operation("sql", dict(definition)),
    )


async def run_sql_tool(
    pool: Pool, definition: Mapping[str, Any], arguments: Mapping[str, Any], *, timeout: float
) -> Outcome:
    """Run a tool whose definition ``compile_sql_tool`` accepted. Raises ``SourceError``."""
    parameters: Mapping[str, Mapping[str, Any]] = definition.get("parameters") or {}
    bound = bind_tool(pool, definition, values_of(parameters, arguments))
    settings = pool.settings
    table = await fetch_table(pool, bound, rows=settings.row_limit + 1, timeout=timeout)
    return shape_outcome(table, limit=settings.row_limit, max_bytes=settings.max_bytes)


def bind_tool(pool: Pool, definition: Mapping[str, Any], values: Mapping[Any, Any]) -> Bound:
    """The tool's statement with the values of its parameters. Raises ``SourceError``."""
    sql = str(definition["sql"])
    parameters: Mapping[str, Mapping[str, Any]] = definition.get("parameters") or {}
    names = tuple(parameters)
    statement = pool.keep_statement((sql, names), lambda: read_statement(sql, policy_of(pool), names=names))
    types: dict[str | int, int] = {name: TYPE_OIDS[_type_key(spec)] for name, spec in parameters.items()}
    return bind_values(statement, values, path="", types=types)


def _type_key(spec: Mapping[str, Any]) -> str:
    if spec["type"] != "array":
        return str(spec["type"])
    return f"{(spec.get('items') or {}).get('type', 'string')}[]"


def _check_sql(sql: Any, declared: set[str], faults: Faults) -> None:
    if not isinstance(sql, str) or not sql.strip():
        faults.append({"path": "sql", "message": "Write one SELECT statement."})
        return
    try:
        read_statement(sql, Policy(functions=None), names=declared)
    except SourceError as fault:
        unknown = fault.data.get("missing", [])
        for name in unknown:
            message = f"The SQL uses :{name}, but parameters does not declare it."
            faults.append({"path": f"parameters.{name}", "message": message})
        if not unknown:
            faults.append({"path": "sql", "message": fault.message})
        return
    for name in sorted(declared - {found.name for found in find_placeholders(sql, declared=declared)}):
        message = f"The SQL does not use :{name}."
        faults.append({"path": f"parameters.{name}", "message": message})
