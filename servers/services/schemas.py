"""Says, value by value, what of arguments and results does not fit a tool's JSON Schema."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import jsonschema_rs
import orjson
from jsonschema_rs import ValidationErrorKind as Kind

from core.errors import InvalidInput, SourceError
from servers.execution.schemas import HIDDEN, faults_of

MAX_FAULTS: Final = 10
"""Faults named in one answer. More would not help whoever mends them one by one."""

_TOO_LARGE: Final = (
    "does not fit, and is too large to say where: it is not within the first members of its lists. Give less"
)

_PLAIN: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def check_arguments(validator: jsonschema_rs.Validator, arguments: Mapping[str, Any]) -> InvalidInput | None:
    """What is wrong with the arguments, each fault with its JSON path and what was expected; or ``None``."""
    if validator.is_valid(arguments):
        return None
    errors = _faults(validator, dict(arguments), "is not an argument of this tool")
    return InvalidInput(
        f"The arguments do not fit the tool's input schema: {_listed(errors)}. Mend them and call again.",
        errors=errors,
        code="arguments_invalid",
    )


def check_result(validator: jsonschema_rs.Validator, structured: Any) -> SourceError | None:
    """What keeps a structured result from fitting its tool's output schema; or ``None``.

    MCP 2025-06-18 and later, server/tools: "Servers MUST provide structured results that conform to this schema."
    """
    try:
        if validator.is_valid(structured):
            return None
    except (TypeError, ValueError):
        # Dates, decimals and the like are written as text: judge what clients will be sent.
        structured = orjson.loads(orjson.dumps(structured, default=str))
        if validator.is_valid(structured):
            return None
    if structured is None:
        problem = "it has none, though the tool has an output schema"
    else:
        problem = _listed(_faults(validator, structured, "is not in the schema"))
    return SourceError(
        f"The tool ran, but its structured result does not fit its own output schema: {problem}. The result is "
        "withheld. Tell whoever keeps the tool; the same call would end the same way.",
        code="result_invalid",
    )


def check_prompt_arguments(
    declared: Sequence[Mapping[str, Any]], arguments: Mapping[str, Any]
) -> InvalidInput | None:
    """What is wrong with a prompt's arguments, each fault with its name; or ``None``. All values are text."""
    known = {str(each["name"]): each for each in declared}
    errors = [
        {"path": "$" + _step(name), "message": "is required, but missing"}
        for name, each in known.items()
        if each.get("required") is True and name not in arguments
    ]
    for name, value in arguments.items():
        if name not in known:
            errors.append({"path": "$" + _step(name), "message": "is not an argument of this prompt"})
        elif not isinstance(value, str):
            message = f"must be of type string, not {_type_name(value)}"
            errors.append({"path": "$" + _step(name), "message": message})
    if not errors:
        return None
    errors = errors[:MAX_FAULTS]
    return InvalidInput(
        f"The arguments do not fit the prompt: {_listed(errors)}. Mend them and ask again.",
        errors=errors,
        code="arguments_invalid",
    )


def _faults(validator: jsonschema_rs.Validator, value: Any, unexpected: str) -> list[dict[str, str]]:
    errors: list[dict[str, str]] = []
    for fault in faults_of(validator, value):
        errors.extend(
            {"path": _path(steps), "message": message} for steps, message in describe_fault(fault, unexpected)
        )
        if len(errors) >= MAX_FAULTS:
            break
    return errors or [{"path": "$", "message": _TOO_LARGE}]


def _listed(errors: list[dict[str, str]]) -> str:
    return "; ".join(f"{error['path']} {error['message']}" for error in errors)


def describe_fault(
    fault: jsonschema_rs.ValidationError, unexpected: str
) -> list[tuple[list[str | int], str]]:
    """Where a value does not fit a schema, step by step, and what is wrong there: of ``unexpected`` members, each."""
    steps, kind = list(fault.instance_path), fault.kind
    if isinstance(kind, Kind.Required):
        return [([*steps, kind.property], "is required, but missing")]
    if isinstance(kind, Kind.AdditionalProperties):
        return [([*steps, name], unexpected) for name in kind.unexpected[:MAX_FAULTS]]
    if isinstance(kind, Kind.Type):
        expected = " or ".join(kind.types)
        return [(steps, f"must be of type {expected}, not {_type_name(fault.instance)}")]
    if isinstance(kind, Kind.Enum):
        allowed = ", ".join(orjson.dumps(option).decode()[:60] for option in list(kind.options)[:20])
        return [(steps, f"must be one of: {allowed}")]
    return [(steps, fault.message.removeprefix(HIDDEN).strip()[:300])]


def _path(steps: list[str | int]) -> str:
    return "$" + "".join(_step(step) for step in steps)


def _step(step: str | int) -> str:
    if isinstance(step, int):
        return f"[{step}]"
    shown = step[:80]
    return f".{shown}" if _PLAIN.fullmatch(shown) else f"[{shown!r}]"


def _type_name(value: Any) -> str:
    if value is None:
        return "null"
    for types, name in (
        (bool, "boolean"),
        (int, "integer"),
        (float, "number"),
        (str, "string"),
        (list, "array"),
    ):
        if isinstance(value, types):
            return name
    return "object"
