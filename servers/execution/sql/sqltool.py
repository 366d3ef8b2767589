"""A tenant's own tool made of parameterised SQL: its definition and the schemas derived from it. Runs nothing.

{"sql": "SELECT … WHERE iata = :code", "title": "…", "description": "…",
 "parameters": {"code": {"type": "string", "description": "…", "required": true}}}
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from core.errors import SourceError
from servers.execution.contract import Offered, Operation
from servers.execution.parameters import Faults, Shapes, is_name, raise_faults, read_heading
from servers.execution.sql.dialect import Dialect
from servers.execution.sql.offered import READ_ONLY_HINTS
from servers.execution.sql.results import result_schema

UsedNames = Callable[[str, set[str]], Collection[str]]
"""Of a text and the names that are declared those that it uses. Raises ``SourceError`` where a query may not be so;
its data has ``missing``, the names that the text uses and nothing declares, where that is what is wrong."""


def compile_sql_tool(
    definition: Mapping[str, Any], *, dialect: Dialect, shapes: Shapes, used_names: UsedNames
) -> Offered:
    """Check a definition and derive its schemas. Raises ``InvalidInput`` with every fault at once.

    What depends on the source's settings is checked when it runs.
    """
    heading = read_heading(definition, {"sql"}, what="a SQL tool", shapes=shapes)
    declared = {name for name in heading.parameters if is_name(name)}
    _check_sql(definition.get("sql"), declared, heading.faults, used_names)
    raise_faults(heading.faults)
    return Offered(
        name="",
        title=heading.title,
        description=heading.description,
        input_schema=heading.input_schema,
        output_schema=result_schema(dialect),
        annotations=READ_ONLY_HINTS,
        operation=Operation("sql", dict(definition)),
    )


def _check_sql(sql: Any, declared: set[str], faults: Faults, used_names: UsedNames) -> None:
    if not isinstance(sql, str) or not sql.strip():
        faults.append({"path": "sql", "message": "Write one SELECT statement."})
        return
    try:
        used = used_names(sql, declared)
    except SourceError as fault:
        unknown = fault.data.get("missing", [])
        for name in unknown:
            message = f"The SQL uses :{name}, but parameters does not declare it."
            faults.append({"path": f"parameters.{name}", "message": message})
        if not unknown:
            faults.append({"path": "sql", "message": fault.message})
        return
    for name in sorted(declared.difference(used)):
        faults.append({"path": f"parameters.{name}", "message": f"The SQL does not use :{name}."})
