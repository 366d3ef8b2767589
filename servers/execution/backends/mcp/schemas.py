"""Judges the JSON Schemas of a stranger's tools: what would be large, unclear or slow to check is refused. Pure.

Checking is done for each call, on the loop that all teams share, so how long it may take is bounded beforehand.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, Final

import orjson

from core.errors import InvalidInput
from servers.execution.schemas import compile_schema

MAX_BYTES: Final = 64 * 1024
"""As JSON: it travels to every client with each list."""
MAX_DEPTH: Final = 30
MAX_VISITS: Final = 20_000
"""Parts of a schema that one value, with all that is inside of it, may be checked by."""
MAX_STEPS: Final = 400_000
"""Of finding that out."""
INSIDE: Final = 24
"""How deep the value is thought to be."""

_HERE: Final = ("not", "if", "then", "else")
_HERE_LISTS: Final = ("allOf", "anyOf", "oneOf")
_HERE_MAPS: Final = ("dependentSchemas",)
_BELOW: Final = (
    "items",
    "contains",
    "additionalProperties",
    "unevaluatedProperties",
    "unevaluatedItems",
    "propertyNames",
    "additionalItems",
)
_BELOW_LISTS: Final = ("prefixItems",)


def schema_fault(schema: Any, *, of_object: bool) -> str:
    """Why a schema is not taken, as what follows "its schema"; empty where it is. ``of_object``: of arguments."""
    if not isinstance(schema, Mapping):
        return "is no object"
    if of_object and schema.get("type") != "object":
        return "is not of the type object"
    try:
        size = len(orjson.dumps(schema))
    except (TypeError, orjson.JSONEncodeError):
        return "is not JSON"
    if size > MAX_BYTES:
        return f"is {size} bytes; at most {MAX_BYTES} are taken"
    if _depth(schema) > MAX_DEPTH:
        return f"nests deeper than {MAX_DEPTH} levels"
    if b"\\u0000" in orjson.dumps(schema):
        return "holds the character U+0000"
    try:
        if _visits(schema) > MAX_VISITS:
            return "refers to itself so often that checking a value would take too long"
    except RecursionError:
        return "refers to itself in a circle"
    except LookupError:
        return "refers to something that it does not hold"
    try:
        compile_schema(schema)
    except InvalidInput:
        return "is not valid JSON Schema 2020-12"
    return ""


def _depth(value: Any) -> int:
    depth, level = 0, [value]
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            return depth
        level = [
            below
            for each in level
            if isinstance(each, dict | list)
            for below in (each.values() if isinstance(each, dict) else each)
            if isinstance(below, dict | list)
        ]
    return depth


def _visits(root: Mapping[str, Any]) -> int:
    """How many parts of the schema check the deepest chain of values, each reference followed.

    Of parts side by side that check different properties, a chain goes through one.
    """
    parts: dict[int, Any] = {}
    steps = 0

    def name(part: Any) -> int:
        parts[id(part)] = part
        return id(part)

    @cache
    def visits(part_id: int, inside: int) -> int:
        nonlocal steps
        part = parts[part_id]
        if not isinstance(part, Mapping):
            return 1
        # What checks this very value, references followed; a circle among these never ends.
        here: list[Mapping[str, Any]] = []
        pending: list[tuple[Mapping[str, Any], tuple[int, ...]]] = [(part, ())]
        way = 0
        while pending:
            each, before = pending.pop()
            if id(each) in before:
                raise RecursionError
            way += 1
            steps += 1
            if way > MAX_VISITS or steps > MAX_STEPS:
                return MAX_VISITS + 1
            here.append(each)
            passed = (*before, id(each))
            pending.extend((below, passed) for below in _beside(each, root) if isinstance(below, Mapping))
        if not inside:
            return way
        named: dict[str, int] = {}
        everywhere = 0
        for each in here:
            for key, below in _properties(each):
                named[key] = named.get(key, 0) + visits(name(below), inside - 1)
            for below in _any_below(each):
                everywhere += visits(name(below), inside - 1)
        return min(way + everywhere + max(named.values(), default=0), MAX_VISITS + 1)

    return visits(name(root), INSIDE)


def _beside(part: Mapping[str, Any], root: Mapping[str, Any]) -> Iterator[Any]:
    """The parts that check the same value as this one."""
    for key in ("$ref", "$dynamicRef", "$recursiveRef"):
        if key in part:
            yield _target(part[key], root)
    for key in _HERE:
        yield part.get(key)
    for key in _HERE_LISTS:
        listed = part.get(key)
        yield from listed if isinstance(listed, list) else ()
    for key in _HERE_MAPS:
        mapped = part.get(key)
        yield from mapped.values() if isinstance(mapped, Mapping) else ()


def _properties(part: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    mapped = part.get("properties")
    yield from mapped.items() if isinstance(mapped, Mapping) else ()


def _any_below(part: Mapping[str, Any]) -> Iterator[Any]:
    """The parts that check what is inside of a value, whatever its name there."""
    for key in _BELOW:
        yield part.get(key)
    for key in _BELOW_LISTS:
        listed = part.get(key)
        yield from listed if isinstance(listed, list) else ()
    mapped = part.get("patternProperties")
    yield from mapped.values() if isinstance(mapped, Mapping) else ()


def _target(reference: Any, root: Mapping[str, Any]) -> Any:
    """What a reference within the schema means. Raises ``LookupError`` for any other, which is never fetched."""
    if reference == "#":
        return root
    if not isinstance(reference, str) or not reference.startswith("#/"):
        raise LookupError(reference)
    found: Any = root
    for step in reference[2:].split("/"):
        key = step.replace("~1", "/").replace("~0", "~").replace("%25", "%")
        if isinstance(found, list) and key.isdigit() and len(key) < 6:
            found = found[int(key)]
        elif isinstance(found, Mapping):
            found = found[key]
        else:
            raise LookupError(reference)
    return found
