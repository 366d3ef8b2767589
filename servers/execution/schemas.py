"""Compiles JSON Schemas, and says what can be known of values by them before there are any. Fetches no remote one.

The dialect is JSON Schema 2020-12 unless ``$schema`` names another. Patterns run on a linear-time engine.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, Final

import jsonschema_rs
from jsonschema_rs import ValidationErrorKind

from core.errors import InvalidInput
from servers.execution.amounts import holds_more

HIDDEN: Final = "the value"
"""Stands in messages for what the caller sent: a message goes into the log, and the value may be secret."""

Steps = tuple[str | int, ...]
"""The way into a value: names of members, and places in lists."""

_MOST_SEARCHED: Final = 1_000
"""Values in what is searched for every fault. The validator finds all of them before it tells the first, and each
takes it 13 µs: a list of 400,000 wrong items would take five seconds."""
_MOST_LOOKED_AT: Final = 50_000
"""Values in what is looked at until the first fault, which comes with a copy of what does not fit: 0.2 µs each."""
_MOST_ITEMS: Final = 20
_MOST_MEMBERS: Final = 100
"""Of one list or object, in the beginning of something large."""

_SURE: Final = (ValidationErrorKind.Type, ValidationErrorKind.AdditionalProperties)
"""What a beginning has of these, the whole has too: unless a condition was met, or not, by what was left out."""
_CONDITIONAL: Final = frozenset({"then", "else"})
_NAMED: Final = frozenset({"properties", "patternProperties", "dependentSchemas", "dependencies"})
"""Keywords after which a name follows, which may be that of a keyword."""


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


def faults_of(validator: jsonschema_rs.Validator, value: Any) -> list[jsonschema_rs.ValidationError]:
    """Where a value does not fit. Of something large: what is wrong near its beginning, or else the first fault; or
    nothing, where even that would take long. Of a value that fits there is none.
    """
    if not holds_more(value, _MOST_SEARCHED):
        return list(validator.iter_errors(value))
    if validator.is_valid(value):
        return []
    beginning = _Beginning()
    taken = beginning.of(value, ())
    faults = [fault for fault in validator.iter_errors(taken) if beginning.tells(fault)]
    if not faults and not holds_more(value, _MOST_LOOKED_AT):
        try:
            validator.validate(value)
        except jsonschema_rs.ValidationError as first:
            faults.append(first)
    return faults


class _Beginning:
    """The beginning of something large: the first members of its lists and objects."""

    def __init__(self) -> None:
        self._left = _MOST_SEARCHED
        self._cut: set[Steps] = set()

    def of(self, value: Any, at: Steps) -> Any:
        """What is taken of a value that stands there."""
        self._left -= 1
        if not isinstance(value, dict | list):
            return value
        most = 0 if self._left <= 0 else _MOST_MEMBERS if isinstance(value, dict) else _MOST_ITEMS
        if len(value) > most:
            self._cut.add(at)
        if isinstance(value, dict):
            return {name: self.of(item, (*at, name)) for name, item in islice(value.items(), most)}
        return [self.of(item, (*at, number)) for number, item in enumerate(islice(value, most))]

    def tells(self, fault: jsonschema_rs.ValidationError) -> bool:
        """Whether the whole has this fault too: what it judges was taken whole, or it judges less than that."""
        if self._cut and _is_conditional(fault.evaluation_path):
            return False
        at = tuple(fault.instance_path)
        if isinstance(fault.kind, _SURE):
            return True
        if isinstance(fault.kind, ValidationErrorKind.Required):
            return at not in self._cut
        return not any(place[: len(at)] == at for place in self._cut)


def _is_conditional(path: Iterable[str | int]) -> bool:
    """Whether a schema's part on this way is applied or not as something else of the value is."""
    steps = iter(path)
    for step in steps:
        if step in _CONDITIONAL:
            return True
        if step in _NAMED:
            next(steps, None)
    return False


def misfits(
    tool: str, schema: Mapping[str, Any], sketch: Any, unknown: Collection[Steps]
) -> Iterator[tuple[Steps, str]]:
    """What of a tool's arguments will not fit its schema: each with its place. Raises ``InvalidInput``.

    What stands in the ``sketch`` at the ``unknown`` places says nothing: only a call will have these values.
    """
    for fault in faults_of(compile_schema(schema), sketch):
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
