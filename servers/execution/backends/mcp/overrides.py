"""What a team says of an upstream's tools in place of their server: read from settings, and put onto them. Pure.

An override that does not fit a tool (any more) keeps it from being offered, with the reason: none is half overridden.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import orjson

from core.errors import InvalidInput
from servers.execution.contract import Offered, Operation
from servers.execution.hints import HINTS, is_repeatable
from servers.execution.parameters import Faults
from servers.execution.schemas import compile_schema

MAX_OVERRIDES: Final = 100
MAX_BYTES: Final = 65_536
"""Of all of them as JSON."""
MAX_TITLE: Final = 200
MAX_DESCRIPTION: Final = 7_800
MAX_ORIGINAL: Final = 1_000
"""Characters kept of a description that was overridden, to be shown beside."""

NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_PARTS: Final = frozenset({"name", "title", "description", "defaults", "hidden", "annotations"})


@dataclass(frozen=True, slots=True)
class Override:
    """Of one tool. What is ``None`` or empty stays as the server says it.

    ``defaults`` are values of arguments that are not given; ``hidden`` are arguments that nobody sees or gives.
    """

    name: str | None = None
    title: str | None = None
    description: str | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict)
    hidden: tuple[str, ...] = ()
    annotations: Mapping[str, bool] = field(default_factory=dict)


Overrides = Mapping[str, Override]
"""By the names that the server gives its tools."""


def read_overrides(given: Any, faults: Faults) -> dict[str, Override]:
    """The overrides in settings; what is wrong goes to ``faults``, each with its path."""
    if given in (None, ""):
        return {}
    if not isinstance(given, Mapping) or len(given) > MAX_OVERRIDES:
        faults.append({"path": "overrides", "message": f"It is an object of at most {MAX_OVERRIDES} tools."})
        return {}
    try:
        size = len(orjson.dumps(given))
    except TypeError:
        size = MAX_BYTES + 1
    if size > MAX_BYTES:
        faults.append({"path": "overrides", "message": f"It is JSON of at most {MAX_BYTES} bytes."})
        return {}
    found = {}
    for tool, each in given.items():
        path = f"overrides.{str(tool)[:80]}"
        if not isinstance(each, Mapping):
            faults.append({"path": path, "message": "It is an object."})
            continue
        for name in sorted(each.keys() - _PARTS):
            message = f"There is no such part. There are: {', '.join(sorted(_PARTS))}."
            faults.append({"path": f"{path}.{str(name)[:80]}", "message": message})
        found[str(tool)] = _read_one(each, path, faults)
    return found


def written(overrides: Overrides) -> dict[str, Any]:
    """The same as settings have them: without what is empty."""
    shown = {}
    for tool, each in overrides.items():
        parts: dict[str, Any] = {
            "name": each.name,
            "title": each.title,
            "description": each.description,
            "defaults": dict(each.defaults),
            "hidden": list(each.hidden),
            "annotations": dict(each.annotations),
        }
        kept = {part: value for part, value in parts.items() if value not in (None, {}, [])}
        if kept:
            shown[tool] = kept
    return shown


def overridden(offered: Offered, override: Override) -> Offered | str:
    """The tool as the team wants it; or why the override does not fit it, in a sentence."""
    schema = dict(offered.input_schema)
    properties = schema.get("properties")
    properties = dict(properties) if isinstance(properties, Mapping) else {}
    for argument in (*override.defaults, *override.hidden):
        if argument not in properties:
            return f"Its override names the argument {argument}, which it does not have."
    required = [each for each in schema.get("required", ()) if isinstance(each, str)]
    bare = [each for each in override.hidden if each in required and each not in override.defaults]
    if bare:
        return f"Its override hides the argument {bare[0]}, which is required: give it a default."
    fault = _default_fault(schema, override.defaults)
    if fault:
        return fault
    for argument, value in override.defaults.items():
        if argument not in override.hidden and isinstance(properties[argument], Mapping):
            properties[argument] = {**properties[argument], "default": value}
    for argument in override.hidden:
        del properties[argument]
    if override.defaults or override.hidden:
        schema["properties"] = properties
        left = [each for each in required if each not in override.defaults]
        if left:
            schema["required"] = left
        else:
            schema.pop("required", None)
    hints = {**offered.annotations, **override.annotations}
    definition = dict(offered.operation.definition)
    definition["repeatable"] = is_repeatable(hints)
    if override.defaults:
        definition["defaults"] = dict(override.defaults)
    if override.hidden:
        definition["hidden"] = list(override.hidden)
    return replace(
        offered,
        name=override.name or offered.name,
        title=offered.title if override.title is None else override.title,
        description=offered.description if override.description is None else override.description,
        input_schema=schema,
        annotations=hints,
        operation=Operation(offered.operation.kind, definition),
    )


def original(offered: Offered) -> dict[str, Any]:
    """What is kept of a tool as its server describes it, to be shown beside the override."""
    properties = offered.input_schema.get("properties")
    return {
        "name": offered.name,
        "title": offered.title,
        "description": offered.description[:MAX_ORIGINAL],
        "arguments": sorted(properties)[:100] if isinstance(properties, Mapping) else [],
        "annotations": dict(offered.annotations),
    }


def with_given(definition: Mapping[str, Any], arguments: Mapping[str, Any]) -> Mapping[str, Any]:
    """The arguments of a call with those that the override gives, and without those that nobody may."""
    defaults, hidden = definition.get("defaults"), definition.get("hidden")
    if not defaults and not hidden:
        return arguments
    seen = {name: value for name, value in arguments.items() if name not in (hidden or ())}
    return {**(defaults or {}), **seen}


def _read_one(given: Mapping[str, Any], path: str, faults: Faults) -> Override:
    def text(part: str, most: int) -> str | None:
        value = given.get(part)
        if value is None:
            return None
        if not isinstance(value, str) or len(value) > most or "\x00" in value:
            faults.append(
                {"path": f"{path}.{part}", "message": f"It is a text of at most {most} characters."}
            )
            return None
        return value.strip()

    name = text("name", 64)
    if name is not None and not NAME.fullmatch(name):
        message = "It has 1 to 64 letters, digits, dots, hyphens and underscores."
        faults.append({"path": f"{path}.name", "message": message})
        name = None
    defaults, hidden = given.get("defaults") or {}, given.get("hidden") or []
    annotations = given.get("annotations") or {}
    if not isinstance(defaults, Mapping):
        faults.append(
            {"path": f"{path}.defaults", "message": "It is an object of arguments and their values."}
        )
        defaults = {}
    if (
        not isinstance(hidden, Sequence)
        or isinstance(hidden, str)
        or not all(isinstance(each, str) for each in hidden)
    ):
        faults.append({"path": f"{path}.hidden", "message": "It is a list of names of arguments."})
        hidden = []
    if not isinstance(annotations, Mapping) or not all(
        each in HINTS and isinstance(value, bool) for each, value in annotations.items()
    ):
        message = f"It is an object of {', '.join(HINTS)}, each true or false."
        faults.append({"path": f"{path}.annotations", "message": message})
        annotations = {}
    return Override(
        name=name,
        title=text("title", MAX_TITLE),
        description=text("description", MAX_DESCRIPTION),
        defaults=dict(defaults),
        hidden=tuple(dict.fromkeys(hidden)),
        annotations=dict(annotations),
    )


def _default_fault(schema: Mapping[str, Any], defaults: Mapping[str, Any]) -> str:
    """Why a default is none that the argument's schema takes."""
    if not defaults:
        return ""
    try:
        validator = compile_schema({name: value for name, value in schema.items() if name != "required"})
    except InvalidInput:
        return "Its override gives defaults, and its schema cannot be checked."
    for argument, value in defaults.items():
        for error in validator.iter_errors({argument: value}):
            if list(error.instance_path)[:1] == [argument]:
                return f"Its override gives the argument {argument} a default that its schema does not take."
    return ""
