"""The parameters of tools that teams define: as they are written, the schema that they make, and the values of a call.

{"code": {"type": "string", "description": "…", "required": true, "enum": […], "default": …, "minLength": …}}

Kinds whose tools have such parameters share this; it knows nothing of any.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from core.errors import InvalidInput
from core.readable import told_hidden

SCALARS: Final = ("string", "integer", "number", "boolean")
MOST_ITEMS: Final = 1_000
MOST_PARAMETERS: Final = 50

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
_CONSTRAINTS: Final[Mapping[str, tuple[str, ...]]] = {
    "minimum": ("integer", "number"),
    "maximum": ("integer", "number"),
    "minLength": ("string",),
    "maxLength": ("string",),
    "maxItems": ("array",),
}
_KEYS: Final = frozenset({"type", "description", "required", "default", "enum", "items", *_CONSTRAINTS})


@dataclass(frozen=True, slots=True)
class Shapes:
    """The ``types`` that a parameter may have, and ``items`` those of what an array holds: ``item`` where none is said.

    An ``item`` of ``None`` is anything.
    """

    types: Sequence[str]
    items: Sequence[str]
    item: str | None


ANY: Final = Shapes(types=(*SCALARS, "array", "object"), items=(*SCALARS, "object"), item=None)
"""All that JSON has."""

Faults = list[dict[str, str]]
"""Each with a ``path`` below the definition and a ``message``."""

Refuse = Callable[[str, str], None]


@dataclass(frozen=True, slots=True)
class Heading:
    """What definitions of tools with parameters begin with. Who reads the rest adds to ``faults``."""

    title: str
    description: str
    parameters: Mapping[str, Mapping[str, Any]]
    input_schema: dict[str, Any]
    faults: Faults


def read_heading(
    definition: Mapping[str, Any], own: Collection[str], *, what: str, shapes: Shapes
) -> Heading:
    """Read what is alike in the definitions of all such tools; ``own`` are the keys that this one has besides.

    ``what`` it is the definition of, in words: "a SQL tool".
    """
    faults: Faults = [
        {"path": str(key), "message": f"There is no such key in the definition of {what}."}
        for key in definition.keys() - {"title", "description", "parameters", *own}
    ]
    title = read_text(definition, "title", 200, faults)
    description = read_text(definition, "description", 4_000, faults)
    parameters, schema = read_parameters(definition, faults, shapes=shapes)
    return Heading(title, description, parameters, schema, faults)


def read_parameters(
    definition: Mapping[str, Any], faults: Faults, *, shapes: Shapes
) -> tuple[Mapping[str, Mapping[str, Any]], dict[str, Any]]:
    """A definition's ``parameters``, and the input schema (JSON Schema 2020-12) that they make."""
    parameters = definition.get("parameters") or {}
    if not isinstance(parameters, Mapping) or len(parameters) > MOST_PARAMETERS:
        faults.append({"path": "parameters", "message": f"Give an object of at most {MOST_PARAMETERS}."})
        parameters = {}
    properties = {name: _read_parameter(name, spec, faults, shapes) for name, spec in parameters.items()}
    schema: dict[str, Any] = {
        "$schema": _DIALECT,
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
    }
    required = [name for name, spec in parameters.items() if isinstance(spec, Mapping) and is_required(spec)]
    if required:
        schema["required"] = required
    return parameters, schema


def values_of(parameters: Mapping[str, Mapping[str, Any]], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The value of each parameter in a call: as it was given, else its default, else ``None``."""
    return {
        name: arguments[name] if name in arguments else spec.get("default")
        for name, spec in parameters.items()
        if name in arguments or not is_required(spec)
    }


def is_name(name: object) -> bool:
    """Whether a parameter may be called so."""
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


def is_required(spec: Mapping[str, Any]) -> bool:
    """Whether a call has to give the parameter: where nothing is said, one without a default."""
    return bool(spec.get("required", "default" not in spec))


def read_text(definition: Mapping[str, Any], key: str, most: int, faults: Faults, *, prefix: str = "") -> str:
    """A text of a definition, empty where it has none."""
    value = definition.get(key) or ""
    if not isinstance(value, str) or len(value) > most:
        faults.append({"path": f"{prefix}{key}", "message": f"Give a text of at most {most} characters."})
        return ""
    if hidden := told_hidden(value, lines=True):
        faults.append({"path": f"{prefix}{key}", "message": f"It {hidden}"})
    return value


def raise_faults(faults: Faults) -> None:
    """Raise ``InvalidInput`` with all of them, where there are any."""
    if faults:
        raise InvalidInput("The definition of the tool is not valid.", errors=faults)


def _read_parameter(name: Any, spec: Any, faults: Faults, shapes: Shapes) -> dict[str, Any]:
    path = f"parameters.{name}"

    def refuse(key: str, message: str) -> None:
        faults.append({"path": f"{path}.{key}" if key else path, "message": message})

    if not is_name(name):
        refuse("", "A name has letters, digits and underscores, and starts with no digit.")
    if not isinstance(spec, Mapping):
        refuse("", "Give an object with at least a type.")
        return {}
    for key in spec.keys() - _KEYS:
        refuse(str(key), "There is no such key.")
    type_ = str(spec.get("type"))
    if type_ not in shapes.types:
        refuse("type", f"The type must be one of {', '.join(shapes.types)}.")
        return {}
    required = spec.get("required", "default" not in spec)
    if not isinstance(required, bool):
        refuse("required", "Give true or false.")
    schema: dict[str, Any] = {"type": type_ if required else [type_, "null"]}
    item: str | None = None
    if type_ == "array":
        given = spec.get("items") or {"type": shapes.item}
        item = given.get("type") if isinstance(given, Mapping) else ""
        if item not in (*shapes.items, shapes.item):
            known = " or ".join(f'{{"type": "{each}"}}' for each in shapes.items)
            refuse("items", f"Give {known}.")
        schema |= {} if item is None else {"items": {"type": item}}
        schema["maxItems"] = MOST_ITEMS
    elif "items" in spec:
        refuse("items", "Only an array has items.")
    if "description" in spec:
        schema["description"] = read_text(spec, "description", 1_000, faults, prefix=f"{path}.")
    _read_limits(spec, type_, schema, refuse)
    _read_choices(spec, type_, item, required is True, schema, refuse)
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
    spec: Mapping[str, Any],
    type_: str,
    item: str | None,
    required: bool,
    schema: dict[str, Any],
    refuse: Refuse,
) -> None:
    if "enum" in spec:
        choices = spec["enum"]
        if not isinstance(choices, list) or not 0 < len(choices) <= 500:
            refuse("enum", "Give a list of 1 to 500 values.")
        elif not all(_fits(value, type_, item) for value in choices):
            refuse("enum", f"Every value must have the type {type_}.")
        else:
            schema["enum"] = list(choices) if required else [*choices, None]
    if "default" in spec:
        default = spec["default"]
        if required:
            refuse("default", "A required parameter has no default.")
        elif default is not None and not _fits(default, type_, item):
            refuse("default", f"The default must have the type {type_}.")
        elif "enum" in schema and default not in schema["enum"]:
            refuse("default", "The default must be one of enum.")
        else:
            schema["default"] = default


def _fits(value: Any, type_: str, item: str | None = None) -> bool:
    match type_:
        case "string":
            return isinstance(value, str)
        case "integer":
            return isinstance(value, int) and not isinstance(value, bool)
        case "number":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case "boolean":
            return isinstance(value, bool)
        case "object":
            return isinstance(value, dict)
    return isinstance(value, list) and (item is None or all(_fits(each, item) for each in value))
