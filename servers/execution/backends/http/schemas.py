"""The JSON Schemas of an HTTP source's tools: which they may be (small, of one place, cheap to check by), and the
whole that they make.

It compiles no validator. References go to the definition's own ``$defs``; a definition may refer to
itself as long as the work of checking one value stays bounded (see ``winds``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Set
from typing import Any, Final

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

MAX_DEPTH: Final = 26
"""Levels of objects and lists in one schema: what is stored may have 32, and a tool puts some around it."""

MAX_WORK: Final = 20_000
"""Schemas that may be applied on the way to one place of a value; each alternative counts."""

LOCAL: Final = "#/$defs/"

WRAP: Final = "result"
"""The property that holds an answer which is no JSON object: structured results of MCP are objects."""

_IN_PLACE_LISTS: Final = ("allOf", "anyOf", "oneOf")
_IN_PLACE: Final = ("not", "if", "then", "else")
_ONE_CHILD: Final = ("items", "additionalProperties", "unevaluatedItems", "unevaluatedProperties", "contains")
_NAMED: Final = frozenset({"properties", "patternProperties", "dependentSchemas", "$defs"})
_LISTED: Final = frozenset({*_IN_PLACE_LISTS, "prefixItems"})
_ONE: Final = frozenset({*_IN_PLACE, *_ONE_CHILD, "propertyNames"})
_ELSEWHERE: Final = ("$id", "$anchor", "$dynamicRef", "$dynamicAnchor", "$recursiveRef", "$vocabulary")
"""Keywords that make a reference mean another place than it says."""


def subschemas(schema: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The schemas directly within a schema, each with its path. Values of ``enum``, ``default`` … are none."""
    for key, value in schema.items():
        if key in _ONE:
            yield key, value
        elif key in _NAMED and isinstance(value, Mapping):
            yield from ((f"{key}.{name}", each) for name, each in value.items())
        elif key in _LISTED and isinstance(value, list):
            yield from ((f"{key}.{index}", each) for index, each in enumerate(value))


def find_faults(schema: Any, defs: Mapping[str, Any], path: str) -> list[dict[str, str]]:
    """What keeps a schema from being used, each fault with its path; at most a few."""
    faults: list[dict[str, str]] = []
    waiting: list[tuple[str, Any, int]] = [(path, schema, MAX_DEPTH)]
    while waiting and len(faults) < 10:
        at, each, left = waiting.pop()
        if isinstance(each, bool):
            continue
        if not isinstance(each, Mapping):
            faults.append({"path": at, "message": "A schema is an object, or true or false."})
            continue
        if left <= 0:
            faults.append({"path": path, "message": f"It nests deeper than {MAX_DEPTH} levels."})
            break
        message = _reference_fault(each, defs)
        if message:
            faults.append({"path": at, "message": message})
        waiting.extend(
            (f"{at}.{step}" if len(at) < 300 else at, below, left - 1 - ("." in step))
            for step, below in subschemas(each)
        )
    return faults


def weigh(schema: Any, weights: Mapping[str, int]) -> int:
    """How many schemas are applied, at worst, on the way to one place of a value. Over ``MAX_WORK``: too many.

    Alternatives multiply where they nest: thirty definitions that name the next one twice are a billion. ``weights``
    are those of the definitions (``weigh_definitions``).
    """
    if not isinstance(schema, Mapping):
        return 1
    work = 1 + sum(weigh(each, weights) for each in _in_place(schema))
    name = target_of(schema)
    if name is not None:
        work += weights.get(name, 1)
    return min(work + _most_below(schema, lambda each: weigh(each, weights)), MAX_WORK + 1)


def weigh_definitions(defs: Mapping[str, Any]) -> dict[str, int]:
    """The weight of each definition. One that leads back to itself counts as one there: see ``winds``."""
    weights: dict[str, int] = {}
    for circle in order_definitions(defs):
        weights.update({name: weigh(defs[name], weights) for name in circle})
    return weights


def winds(schema: Any, circle: Set[str]) -> bool:
    """Whether a definition of a circle leads back into it more than once for one value, or without end.

    Once is harmless, as of a tree's branches: each level of the value adds the same work. Twice doubles the work with
    each level.
    """
    if not isinstance(schema, Mapping):
        return False
    if target_of(schema) in circle or any(_returns(each, circle) for each in _in_place(schema)):
        return True
    return _most_below(schema, lambda each: _returns(each, circle)) > 1


def _returns(schema: Any, circle: Set[str]) -> int:
    """How often, at worst, one value comes to definitions of the circle."""
    if not isinstance(schema, Mapping):
        return 0
    count = int(target_of(schema) in circle) + sum(_returns(each, circle) for each in _in_place(schema))
    return count + _most_below(schema, lambda each: _returns(each, circle))


def order_definitions(defs: Mapping[str, Any]) -> list[list[str]]:
    """Definitions after all that they refer to; those that lead to each other together, in one list.

    Tarjan's algorithm, without recursion: a chain of definitions may be as long as the document.
    """
    reach = {name: sorted(names_in(each) & defs.keys()) for name, each in defs.items()}
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    standing: dict[str, None] = {}
    groups: list[list[str]] = []
    for root in defs:
        work = [] if root in index else [(root, iter(reach[root]))]
        while work:
            name, following = work[-1]
            if name not in index:
                index[name] = low[name] = len(index)
                standing[name] = None
            other = next(following, None)
            if other is None:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[name])
                if low[name] == index[name]:
                    groups.append(_taken_down_to(name, standing))
            elif other not in index:
                work.append((other, iter(reach[other])))
            elif other in standing:
                low[name] = min(low[name], index[other])
    return groups


def _taken_down_to(name: str, standing: dict[str, None]) -> list[str]:
    taken = []
    while True:
        last, _ = standing.popitem()
        taken.append(last)
        if last == name:
            return taken


def names_in(schema: Any) -> set[str]:
    """The definitions that a schema refers to directly."""
    found = set()
    waiting = [schema]
    while waiting:
        each = waiting.pop()
        if not isinstance(each, dict):
            continue
        for key, value in each.items():
            if key in _ONE:
                waiting.append(value)
            elif key in _NAMED and isinstance(value, dict):
                waiting.extend(value.values())
            elif key in _LISTED and isinstance(value, list):
                waiting.extend(value)
            elif key == "$ref" and isinstance(value, str) and value.startswith(LOCAL):
                found.add(value[len(LOCAL) :])
    return found


def target_of(schema: Mapping[str, Any]) -> str | None:
    """The name of the definition that a schema refers to."""
    reference = schema.get("$ref")
    if isinstance(reference, str) and reference.startswith(LOCAL):
        return reference[len(LOCAL) :]
    return None


def _in_place(schema: Mapping[str, Any]) -> Iterator[Any]:
    for key in _IN_PLACE_LISTS:
        yield from _list(schema.get(key))
    for key in _IN_PLACE:
        if key in schema:
            yield schema[key]
    yield from _mapping(schema.get("dependentSchemas")).values()


def _most_below(schema: Mapping[str, Any], measure: Callable[[Any], int]) -> int:
    """What the schemas that meet one and the same value below come to together, of the value where it is most."""
    items = [*_list(schema.get("prefixItems")), *_present(schema, "items")]
    properties = [*_mapping(schema.get("properties")).values(), *_present(schema, "additionalProperties")]
    shared_items = _present(schema, "contains", "unevaluatedItems")
    shared_properties = [
        *_mapping(schema.get("patternProperties")).values(),
        *_present(schema, "unevaluatedProperties"),
    ]
    return max(
        max(map(measure, alone), default=0) + sum(map(measure, shared))
        for alone, shared in ((items, shared_items), (properties, shared_properties))
    )


def _present(schema: Mapping[str, Any], *keys: str) -> list[Any]:
    return [schema[key] for key in keys if key in schema]


def input_schema(arguments: Mapping[str, tuple[Any, bool]], defs: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of a tool with these arguments: of each its schema, and whether it is required."""
    schema: dict[str, Any] = {
        "$schema": DIALECT,
        "type": "object",
        "properties": {name: each for name, (each, _) in arguments.items()},
        "additionalProperties": False,
    }
    required = [name for name, (_, needed) in arguments.items() if needed]
    if required:
        schema["required"] = required
    return _with_definitions(schema, defs)


def output_schema(answer: Any, defs: Mapping[str, Any], *, wrap: bool | None = None) -> dict[str, Any]:
    """The schema of the structured result: of the answer where that is an object, else of the object around it."""
    if wraps(answer, defs) if wrap is None else wrap:
        schema = {"type": "object", "properties": {WRAP: answer}, "required": [WRAP]}
    else:
        # 2025-11-25, schema, Tool: "outputSchema … type: "object"" at its root, whatever it refers to.
        schema = {**answer, "type": "object"}
    return _with_definitions({"$schema": DIALECT, **schema}, defs)


def wraps(answer: Any, defs: Mapping[str, Any], *, nullable: bool = False) -> bool:
    """Whether an answer of this schema may be something else than a JSON object; with ``nullable``, than null too."""
    return not _is_object(answer, defs, nullable, [200])


def _is_object(schema: Any, defs: Mapping[str, Any], nullable: bool, left: list[int]) -> bool:
    """``left`` bounds the schemas looked at: alternatives within alternatives would be many."""
    left[0] -= 1
    if not isinstance(schema, Mapping) or left[0] < 0:
        return False
    if "type" in schema:
        types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        return "object" in types and all(each == "object" or (nullable and each == "null") for each in types)
    reference = schema.get("$ref")
    if isinstance(reference, str):
        return _is_object(defs.get(reference.removeprefix(LOCAL)), defs, nullable, left)
    if "properties" in schema:
        return True
    if schema.get("allOf"):
        return any(_is_object(each, defs, nullable, left) for each in _list(schema["allOf"]))
    for key in ("oneOf", "anyOf"):
        if _list(schema.get(key)):
            return all(_is_object(each, defs, nullable, left) for each in schema[key])
    return False


def _with_definitions(schema: dict[str, Any], defs: Mapping[str, Any]) -> dict[str, Any]:
    """The schema with the definitions that it needs, and those that they need."""
    used: dict[str, Any] = {}
    waiting = sorted(names_in(schema))
    while waiting:
        name = waiting.pop()
        if name in defs and name not in used:
            used[name] = defs[name]
            waiting.extend(names_in(defs[name]))
    return {**schema, "$defs": dict(sorted(used.items()))} if used else schema


def _reference_fault(schema: Mapping[str, Any], defs: Mapping[str, Any]) -> str:
    for key in _ELSEWHERE:
        if isinstance(schema.get(key), str):
            return f"{key} is not supported here. Refer to {LOCAL}…."
    if "$ref" not in schema:
        return ""
    name = target_of(schema)
    if name is None:
        return f"A reference leads to {LOCAL}… of this definition, and nowhere else."
    return "" if name in defs else f"There is no {LOCAL}{name[:80]}."


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
