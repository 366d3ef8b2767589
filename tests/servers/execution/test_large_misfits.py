"""What is wrong with a large value is told without looking for everything that is, and never of what is right."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from servers.execution.schemas import compile_schema, faults_of
from servers.services.schemas import MAX_FAULTS, check_arguments

NUMBERS = {"type": "array", "items": {"type": "integer"}}
MANY = list(range(60_000))


def taking(data: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    properties = {"data": data, "name": {"type": "string"}}
    return {"type": "object", "properties": properties, "additionalProperties": False, **more}


def told(schema: Mapping[str, Any], arguments: dict[str, Any]) -> list[tuple[str, str]]:
    fault = check_arguments(compile_schema(schema), arguments)
    assert fault is not None
    return [(each["path"], each["message"]) for each in fault.errors]


@pytest.mark.parametrize("count", [3, 3_000, 60_000])
def test_faults_near_the_beginning_are_told_however_many_there_are(count: int) -> None:
    found = told(taking(NUMBERS), {"data": ["a"] * count})
    assert len(found) == min(count, MAX_FAULTS)
    assert found[0] == ("$.data[0]", "must be of type integer, not string")


@pytest.mark.parametrize(
    ("arguments", "place", "words"),
    [
        ({"data": MANY, "other": MANY}, "$.other", "is not an argument of this tool"),
        ({"data": MANY, "name": MANY}, "$.name", "must be of type string, not array"),
        ({"data": MANY}, "$.name", "is required, but missing"),
        ({"data": {str(number): 1 for number in MANY}, "name": "n"}, "$.data", "must be of type array"),
        ({"data": [*MANY[:3000], "a"], "name": "n"}, "$.data[3000]", "must be of type integer"),
    ],
    ids=["unknown", "of another type", "missing", "an object", "at the end"],
)
def test_a_fault_of_something_large_has_its_place(arguments: dict[str, Any], place: str, words: str) -> None:
    found = dict(told(taking(NUMBERS, required=["name"]), arguments))
    assert words in found[place]


@pytest.mark.parametrize(
    ("data", "given"),
    [
        ({"maxItems": 30_000}, MANY),
        (NUMBERS, [*MANY, "a"]),
        ({"anyOf": [{"type": "string"}, {"maxItems": 100}]}, MANY),
        ({"contains": {"const": "a"}, "type": "array"}, MANY),
    ],
    ids=["too many", "the last", "none of several", "without what is needed"],
)
def test_what_would_take_long_to_find_is_refused_without_its_place(
    data: Mapping[str, Any], given: Any
) -> None:
    ((place, words),) = told(taking(data), {"data": given})
    assert place == "$"
    assert "too large to say where" in words


@pytest.mark.parametrize(
    ("data", "given"),
    [
        ({"minItems": 50_000}, MANY),
        ({"contains": {"const": 59_999}}, MANY),
        ({"minProperties": 2_000}, {str(number): 1 for number in MANY}),
        ({"required": ["59999"]}, {str(number): 1 for number in MANY}),
        ({"not": {"maxItems": 100}}, MANY),
        ({"const": MANY}, MANY),
        ({"items": {"minItems": 25}}, [list(range(30))] * 3_000),
    ],
)
def test_what_only_its_beginning_lacks_is_no_fault(data: Mapping[str, Any], given: Any) -> None:
    validator = compile_schema(taking(data))
    assert validator.is_valid({"data": given})
    assert faults_of(validator, {"data": given}) == []
    assert [place for place, _ in told(taking(data), {"data": given, "x": 1})] == ["$.x"]


def test_a_deep_value_has_its_fault_told_too() -> None:
    nested: Any = MANY[:2_000]
    for _ in range(200):
        nested = [nested]
    assert told(taking({"type": "array"}), {"data": nested, "x": 1})[0][0] == "$.x"
