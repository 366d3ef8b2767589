"""``filter_data`` and ``map_fields``: which rows, and what of them. Changes none of what it is given."""

from __future__ import annotations

import operator as operators
from collections.abc import Callable, Mapping
from typing import Any, Final

from servers.execution.backends.toolkit.pace import Pace
from servers.execution.backends.toolkit.values import (
    MAX_FIELDS,
    MISSING,
    Field,
    Room,
    is_absent,
    read_field,
    read_number,
    read_row,
    read_rows,
    refuse,
    refuse_unknown,
    refuse_value,
    type_name,
    unnumbered_name,
)

_ORDERS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "gt": operators.gt,
    "lt": operators.lt,
    "gte": operators.ge,
    "lte": operators.le,
}
OPERATORS: Final = ("eq", "ne", *_ORDERS, "contains")

Test = Callable[[Any, int], bool]
"""Whether a row's value passes; the row's number is for what is said when it cannot be told."""


def filter_data(arguments: Mapping[str, Any], pace: Pace) -> dict[str, Any]:
    """The rows whose field compares so with the value. Raises ``InvalidInput`` and ``SourceError``."""
    rows = read_rows(arguments)
    field = read_field(arguments.get("field"), "field")
    passes = _test_of(arguments.get("operator"), arguments.get("value"), field)
    kept: list[Mapping[str, Any]] = []
    known, room = not rows, Room()
    for number, given in pace.each(rows):
        row = read_row(given, number)
        value = field.of(row)
        if value is not MISSING:
            known = True
        if passes(None if value is MISSING else value, number):
            room.take(given)
            kept.append(row)
    if not known:
        refuse_unknown(field, "field", rows)
    return {"rows": kept, "row_count": len(kept), "total_rows": len(rows)}


def map_fields(arguments: Mapping[str, Any], pace: Pace) -> dict[str, Any]:
    """Rows of the fields that the mapping names (old name to new), and of no other."""
    rows = read_rows(arguments)
    mapping = arguments.get("field_mapping")
    if not isinstance(mapping, Mapping) or not 0 < len(mapping) <= MAX_FIELDS:
        refuse(
            "field_mapping",
            f"Give an object of 1 to {MAX_FIELDS} fields: each one's name, then its new name.",
        )
    wanted: dict[str, Field] = {}
    for name, new in mapping.items():
        path = f"field_mapping.{name[:80]}"
        if not isinstance(new, str) or not new or len(new) > 200:
            refuse(path, "Give the new name: a text of at most 200 characters.")
        if new in wanted:
            refuse(path, f"Two fields cannot both be called {new[:80]}.")
        wanted[new] = read_field(name, path)
    known: set[str] = set()
    mapped = []
    room = Room()
    for number, given in pace.each(rows):
        row = read_row(given, number)
        made: dict[str, Any] = {}
        for new, field in wanted.items():
            value = field.of(row)
            if value is MISSING:
                value = None
            else:
                known.add(new)
            room.take(new)
            room.take(value)
            made[new] = value
        mapped.append(made)
    for new, field in wanted.items():
        if rows and new not in known:
            refuse_unknown(field, f"field_mapping.{field.name[:80]}", rows)
    return {"rows": mapped, "row_count": len(mapped)}


def _test_of(operator: Any, value: Any, field: Field) -> Test:
    if operator not in OPERATORS:
        refuse("operator", f"Choose one of: {', '.join(OPERATORS)}.")
    if isinstance(value, dict | list):
        refuse("value", f"Give a text, a number, true, false or null, not {type_name(value)}.")
    if operator == "eq":
        return _equal(value)
    if operator == "ne":
        equal = _equal(value)
        return lambda given, number: not equal(given, number)
    if operator == "contains":
        return _contains(value, field)
    return _ordered(_ORDERS[operator], value, field)


def _equal(value: Any) -> Test:
    """Numbers by what they are, a text that is written as one too; two texts by their letters."""
    wanted = read_number(value)

    def equal(given: Any, number: int) -> bool:
        if given is None or value is None or isinstance(given, bool) or isinstance(value, bool):
            return given is value
        if isinstance(given, str) and isinstance(value, str):
            return given == value
        return wanted is not None and read_number(given) == wanted

    return equal


def _ordered(compare: Callable[[Any, Any], bool], value: Any, field: Field) -> Test:
    """Numbers by size, other texts letter by letter, which is right for ISO dates. What is absent passes nothing."""
    wanted = read_number(value)
    if wanted is None and (not isinstance(value, str) or not value):
        refuse("value", "Give a number or a text to compare with.")

    def ordered(given: Any, number: int) -> bool:
        if is_absent(given):
            return False
        if wanted is None:
            if not isinstance(given, str):
                refuse_value(number, field, f"{type_name(given)} cannot be compared with text.")
            return compare(given, value)
        found = read_number(given)
        if found is None:
            refuse_value(number, field, f"{unnumbered_name(given)} cannot be compared with a number.")
        return compare(found, wanted)

    return ordered


def _contains(value: Any, field: Field) -> Test:
    if value is None or isinstance(value, bool):
        refuse("value", "Give a text or a number to look for.")
    equal, text = _equal(value), str(value)

    def contains(given: Any, number: int) -> bool:
        if given is None:
            return False
        if isinstance(given, str):
            return text in given
        if not isinstance(given, list):
            refuse_value(number, field, f"{type_name(given)} contains nothing; only text and arrays do.")
        return any(equal(each, number) for each in given)

    return contains
