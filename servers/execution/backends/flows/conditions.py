"""Conditions of workflows: {"left": "$total", "operator": "gt", "right": 100}, and all, any, not. Calls nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from servers.execution.backends.flows.references import (
    BadReference,
    Missing,
    Reference,
    Value,
    fill,
    place_below,
    read_value,
    references_in,
)

MAX_DEPTH: Final = 8


class Incomparable(Exception):
    """Two values have no order."""


def _ordered(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def decide(left: Any, right: Any) -> bool:
        numbers = all(isinstance(each, int | float) and not isinstance(each, bool) for each in (left, right))
        if not numbers and not (isinstance(left, str) and isinstance(right, str)):
            raise Incomparable
        return compare(left, right)

    return decide


def _same(left: Any, right: Any) -> bool:
    # In JSON true is not 1.
    return isinstance(left, bool) == isinstance(right, bool) and bool(left == right)


def _contains(left: Any, right: Any) -> bool:
    if isinstance(left, str):
        return isinstance(right, str) and right in left
    if isinstance(left, Mapping):
        return isinstance(right, str) and right in left
    return isinstance(left, list) and any(_same(each, right) for each in left)


_TWO: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "eq": _same,
    "ne": lambda left, right: not _same(left, right),
    "gt": _ordered(lambda left, right: left > right),
    "lt": _ordered(lambda left, right: left < right),
    "gte": _ordered(lambda left, right: left >= right),
    "lte": _ordered(lambda left, right: left <= right),
    "contains": _contains,
}
_ONE: Final = ("exists", "empty")
OPERATORS: Final = (*_TWO, *_ONE)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two values and how they are compared; of ``exists`` and ``empty``, the left one."""

    left: Value
    operator: str
    right: Value = None


@dataclass(frozen=True, slots=True)
class Several:
    """All of some conditions, or any of them."""

    conditions: tuple[Condition, ...]
    needs_all: bool


@dataclass(frozen=True, slots=True)
class Negation:
    """Not the condition."""

    condition: Condition


Condition = Comparison | Several | Negation


def read_condition(written: Any, *, place: str = "", depth: int = 0) -> Condition:
    """A condition as it is written. Raises ``BadReference`` with its place."""
    if depth > MAX_DEPTH:
        raise BadReference(f"Conditions may be {MAX_DEPTH} levels deep.", place)
    if not isinstance(written, Mapping) or not written:
        raise BadReference(
            'Give {"left": …, "operator": …, "right": …}, or {"all": […]}, {"any": […]}, {"not": …}.', place
        )
    if len(written) == 1:
        key, inner = next(iter(written.items()))
        if key == "not":
            return Negation(read_condition(inner, place=f"{place}.not", depth=depth + 1))
        if key in ("all", "any"):
            if not isinstance(inner, list) or not 0 < len(inner) <= 20:
                raise BadReference("Give a list of 1 to 20 conditions.", f"{place}.{key}")
            each = tuple(
                read_condition(one, place=f"{place}.{key}[{number}]", depth=depth + 1)
                for number, one in enumerate(inner)
            )
            return Several(each, key == "all")
    unknown = next((key for key in written if key not in ("left", "operator", "right")), None)
    if unknown is not None:
        raise BadReference("There is no such key in a condition.", f"{place}.{unknown}")
    operator = written.get("operator")
    if operator not in OPERATORS:
        raise BadReference(f"The operator must be one of {', '.join(OPERATORS)}.", f"{place}.operator")
    for key in ("left",) if operator in _ONE else ("left", "right"):
        if key not in written:
            raise BadReference("is required, but missing.", f"{place}.{key}")
    if operator in _ONE and "right" in written:
        raise BadReference(f"{operator} compares with nothing.", f"{place}.right")
    left = read_value(written["left"], place=f"{place}.left")
    return Comparison(left, operator, read_value(written.get("right"), place=f"{place}.right"))


def holds(condition: Condition, variables: Mapping[str, Any]) -> bool:
    """Whether it is so. Raises ``Missing``, and ``Incomparable`` for values that have no order."""
    match condition:
        case Negation():
            return not holds(condition.condition, variables)
        case Several():
            each = (holds(one, variables) for one in condition.conditions)
            return all(each) if condition.needs_all else any(each)
    if condition.operator in _ONE:
        try:
            value = fill(condition.left, variables)
        except Missing:
            value = None
        return value is not None if condition.operator == "exists" else value in (None, "", [], {})
    return _TWO[condition.operator](fill(condition.left, variables), fill(condition.right, variables))


def references_of(condition: Condition, place: str = "") -> Iterator[tuple[str, Reference]]:
    """Every reference in it with its place, but for those that ``exists`` and ``empty`` ask for."""
    match condition:
        case Negation():
            yield from references_of(condition.condition, f"{place}.not")
        case Several():
            for number, each in enumerate(condition.conditions):
                word = "all" if condition.needs_all else "any"
                yield from references_of(each, f"{place}.{word}[{number}]")
        case Comparison():
            if condition.operator not in _ONE:
                for side, value in (("left", condition.left), ("right", condition.right)):
                    for at, found in references_in(value):
                        yield place_below(f"{place}.{side}", at), found
