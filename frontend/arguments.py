"""Describes a form for a tool's arguments from its input schema. Pure; the JSON beside it can say the rest."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

_PLAIN: Final = ("string", "integer", "number", "boolean")


@dataclass(frozen=True, slots=True)
class ArgumentField:
    """One control. ``type`` is a JSON Schema type, or ``json`` for what only JSON can express."""

    name: str
    label: str
    type: str
    help: str
    required: bool
    default: str
    choices: tuple[str, ...]
    long: bool


def argument_fields(schema: Mapping[str, Any]) -> list[ArgumentField]:
    """A control for each property of an object schema, in its order."""
    properties = schema.get("properties")
    if not isinstance(properties, Mapping):
        return []
    required = schema.get("required", [])
    return [
        _field(name, rule, name in required) for name, rule in properties.items() if isinstance(rule, Mapping)
    ]


def _field(name: str, rule: Mapping[str, Any], required: bool) -> ArgumentField:
    kind = rule.get("type")
    choices = rule.get("enum") if isinstance(rule.get("enum"), list) else None
    if isinstance(kind, list):
        # ["string", "null"]: leaving it out says null.
        plain = [each for each in kind if each != "null"]
        kind = plain[0] if len(plain) == 1 else None
    strings = choices is not None and all(isinstance(choice, str) for choice in choices)
    default = rule.get("default")
    return ArgumentField(
        name=name,
        label=str(rule.get("title") or name),
        type=kind if kind in _PLAIN and (choices is None or strings) else "json",
        help=str(rule.get("description", "")),
        required=required,
        default="" if default is None else default if isinstance(default, str) else json.dumps(default),
        choices=tuple(choices or ()) if strings else (),
        long=name in {"sql", "query", "text", "body"} and kind == "string",
    )
