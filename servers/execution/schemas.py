"""Compiles JSON Schemas, and says what can be known of values by them before there are any. Fetches no remote one.

The dialect is JSON Schema 2020-12 unless ``$schema`` names another. Patterns run on a linear-time engine.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, Final

import jsonschema_rs
from jsonschema_rs import ValidationErrorKind

from core.errors import InvalidInput

HIDDEN: Final = "the value"
"""Stands in messages for what the caller sent: a message goes into the log, and the value may be secret."""

Steps = tuple[str | int, ...]
"""The way into a value: names of members, and places in lists."""


def compile_schema(schema: Mapping[str, Any]) -> jsonschema_rs.Validator:
    """A validator for arguments or results. Raises ``InvalidInput`` when this is no valid schema."""
    try:
        return jsonschema_rs.validator_for(
            dict(schema), pattern_options=jsonschema_rs.RegexOptions(), mask=HIDDEN, offline=True
        )
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as fault:
        raise InvalidInput(
            "The schema is not valid JSON Schema 2020-12.",
            errors=[{"path": "$", "message": str(fault).partition("\n")[0][:300]}],
            code="schema_invalid",
        ) from fault


def misfits(
    tool: str, schema: Mapping[str, Any], sketch: Any, unknown: Collection[Steps]
) -> Iterator[tuple[Steps, str]]:
    """What of a tool's arguments will not fit its schema: each with its place. Raises ``InvalidInput``.

    What stands in the ``sketch`` at the ``unknown`` places says nothing: only a call will have these values.
    """
    for fault in compile_schema(schema).iter_errors(sketch):
        at = tuple(fault.instance_path)
        kind = fault.kind
        if isinstance(kind, ValidationErrorKind.Required):
            yield (*at, kind.property), "is required, but missing."
        elif isinstance(kind, ValidationErrorKind.AdditionalProperties):
            for name in kind.unexpected:
                yield (*at, name), f"{tool} has no such argument."
        elif not any(place[: len(at)] == at or at[: len(place)] == place for place in unknown):
            yield at, f"{fault.message.removeprefix(HIDDEN).strip()[:300]}."


def schema_at(schema: Mapping[str, Any] | None, place: Iterable[str | int]) -> Mapping[str, Any] | None:
    """The schema of what stands at a place, where plain properties and items lead there."""
    found: Any = schema
    for step in place:
        if not isinstance(found, Mapping) or "$ref" in found:
            return None
        if isinstance(step, int):
            found = found.get("items") if "prefixItems" not in found else None
        else:
            properties = found.get("properties")
            found = properties.get(step) if isinstance(properties, Mapping) else None
    return found if isinstance(found, Mapping) else None


def types_of(schema: Mapping[str, Any] | None) -> set[str]:
    """The types that a schema says, also in alternatives; empty where it does not say all that there may be."""
    if schema is None:
        return set()
    said = schema.get("type")
    if isinstance(said, str):
        return {said}
    if isinstance(said, list):
        return {each for each in said if isinstance(each, str)}
    ways = schema.get("anyOf", schema.get("oneOf"))
    each_way = [types_of(way) if isinstance(way, Mapping) else set() for way in ways or ()]
    return set().union(*each_way) if all(each_way) else set()
