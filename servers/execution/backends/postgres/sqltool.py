"""A tenant's own tool made of parameterised SQL: its definition, the schemas derived from it, and its run.

{"sql": "SELECT … WHERE iata = :code", "title": "…", "description": "…",
 "parameters": {"code": {"type": "string", "description": "…", "required": true}}}
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from core.errors import InvalidInput, SourceError
from servers.execution.backends.postgres.operations import READ_ONLY_HINTS, policy_of
from servers.execution.backends.postgres.parsing import Policy, read_statement
from servers.execution.backends.postgres.placeholders import find_placeholders
from servers.execution.backends.postgres.pools import Pool
from servers.execution.backends.postgres.queries import (
    RESULT_SCHEMA,
    bind_values,
    fetch_table,
    shape_outcome,
)
from servers.execution.backends.postgres.values import TYPE_OIDS
from servers.execution.contract import Offered, Operation, Outcome

_TYPES: Final = ("string", "integer", "number", "boolean", "array")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
_CONSTRAINTS: Final[Mapping[str, tuple[str, ...]]] = {
    "minimum": ("integer", "number"),
    "maximum": ("integer", "number"),
    "minLength": ("string",),
    "maxLength": ("string",),
    "maxItems": ("array",),
}
_KEYS: Final = frozenset({"type", "description", "required", "default", "enum", "items", *_CONSTRAINTS})
_DEFINITION_KEYS: Final = frozenset({"sql", "parameters", "description", "title"})
_MOST_PARAMETERS: Final = 50
_MOST_ITEMS: Final = 1_000

Faults = list[dict[str, str]]
Refuse = Callable[[str, str], None]


def compile_sql_tool(definition: Mapping[str, Any]) -> Offered:
    """Check a definition and derive its schemas. Raises ``InvalidInput`` with every fault at once.

    Schemas and additional functions depend on the source's settings and are checked when it runs.
    """
    faults: Faults = [
        {"path": str(key), "message": "There is no such key in the definition of a SQL tool."}
        for key in definition.keys() - _DEFINITION_KEYS
    ]
    title = _read_text(definition, "title", 200, faults)
    description = _read_text(definition, "description", 4_000, faults)
    parameters = definition.get("parameters") or {}
    if not isinstance(parameters, Mapping) or len(parameters) > _MOST_PARAMETERS:
        faults.append({"path": "parameters", "message": f"Give an object of at most {_MOST_PARAMETERS}."})
        parameters = {}
    properties = {name: _read_parameter(name, spec, faults) for name, spec in parameters.items()}
    _check_sql(definition.get("sql"), {name for name in parameters if _is_name(name)}, faults)
    if faults:
        raise InvalidInput("The definition of the tool is not valid.", errors=faults)
    input_schema: dict[str, Any] = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
    }
    required = [name for name, spec in parameters.items() if _is_required(spec)]
    if required:
        input_schema["required"] = required
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
    sql = str(definition["sql"])
    parameters: Mapping[str, Mapping[str, Any]] = definition.get("parameters") or {}
    values: dict[str | int, Any] = {}
    for name, spec in parameters.items():
        if name in arguments:
            values[name] = arguments[name]
        elif not _is_required(spec):
            values[name] = spec.get("default")
    names = tuple(parameters)
    statement = pool.keep_statement((sql, names), lambda: read_statement(sql, policy_of(pool), names=names))
    types: dict[str | int, int] = {name: TYPE_OIDS[_type_key(spec)] for name, spec in parameters.items()}
    bound = bind_values(statement, values, path="", types=types)
    settings = pool.settings
    table = await fetch_table(pool, bound, rows=settings.row_limit + 1, timeout=timeout)
    return shape_outcome(table, limit=settings.row_limit, max_bytes=settings.max_bytes)


def _is_required(spec: Mapping[str, Any]) -> bool:
    return bool(spec.get("required", "default" not in spec))


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


def _read_parameter(name: Any, spec: Any, faults: Faults) -> dict[str, Any]:
    path = f"parameters.{name}"

    def refuse(key: str, message: str) -> None:
        faults.append({"path": f"{path}.{key}" if key else path, "message": message})

    if not _is_name(name):
        refuse("", "A name has letters, digits and underscores, and starts with no digit.")
    if not isinstance(spec, Mapping):
        refuse("", "Give an object with at least a type.")
        return {}
    for key in spec.keys() - _KEYS:
        refuse(str(key), "There is no such key.")
    type_ = spec.get("type")
    if type_ not in _TYPES:
        refuse("type", f"The type must be one of {', '.join(_TYPES)}.")
        return {}
    required = spec.get("required", "default" not in spec)
    if not isinstance(required, bool):
        refuse("required", "Give true or false.")
    schema: dict[str, Any] = {"type": type_ if required else [type_, "null"]}
    if type_ == "array":
        items = (spec.get("items") or {}).get("type", "string") if _is_object(spec.get("items")) else None
        if items not in ("string", "integer"):
            refuse("items", 'Give {"type": "string"} or {"type": "integer"}.')
        schema |= {"items": {"type": items}, "maxItems": _MOST_ITEMS}
    elif "items" in spec:
        refuse("items", "Only an array has items.")
    if "description" in spec:
        schema["description"] = _read_text(spec, "description", 1_000, faults, prefix=f"{path}.")
    _read_limits(spec, type_, schema, refuse)
    _read_choices(spec, type_, required is True, schema, refuse)
    return schema


def _read_limits(spec: Mapping[str, Any], type_: str, schema: dict[str, Any], refuse: Refuse) -> None:
    for key, types in _CONSTRAINTS.items():
        if key not in spec:
            continue
        limit = spec[key]
        if type_ not in types or isinstance(limit, bool) or not isinstance(limit, int | float):
            refuse(key, f"Give a number, on a parameter of the type {' or '.join(types)}.")
        elif key.startswith(("min", "max")) and key[3:] in ("Length", "Items") and not 0 <= limit <= 100_000:
            refuse(key, "Give a number from 0 to 100000.")
        else:
            schema[key] = limit


def _read_choices(
    spec: Mapping[str, Any], type_: str, required: bool, schema: dict[str, Any], refuse: Refuse
) -> None:
    if "enum" in spec:
        choices = spec["enum"]
        if not isinstance(choices, list) or not 0 < len(choices) <= 500:
            refuse("enum", "Give a list of 1 to 500 values.")
        elif not all(_fits(value, type_) for value in choices):
            refuse("enum", f"Every value must have the type {type_}.")
        else:
            schema["enum"] = list(choices) if required else [*choices, None]
    if "default" in spec:
        default = spec["default"]
        if required:
            refuse("default", "A required parameter has no default.")
        elif default is not None and not _fits(default, type_):
            refuse("default", f"The default must have the type {type_}.")
        elif "enum" in schema and default not in schema["enum"]:
            refuse("default", "The default must be one of enum.")
        else:
            schema["default"] = default


def _is_name(name: Any) -> bool:
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


def _is_object(value: Any) -> bool:
    return value is None or isinstance(value, Mapping)


def _fits(value: Any, type_: str) -> bool:
    match type_:
        case "string":
            return isinstance(value, str)
        case "integer":
            return isinstance(value, int) and not isinstance(value, bool)
        case "number":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case "boolean":
            return isinstance(value, bool)
    return isinstance(value, list) and all(isinstance(item, str | int) for item in value)


def _read_text(spec: Mapping[str, Any], key: str, most: int, faults: Faults, *, prefix: str = "") -> str:
    value = spec.get(key) or ""
    if not isinstance(value, str) or len(value) > most:
        faults.append({"path": f"{prefix}{key}", "message": f"Give a text of at most {most} characters."})
        return ""
    return value
