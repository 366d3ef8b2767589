"""What is wrong with a large value is told without looking for everything that is, and never of what is right."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from servers.execution.schemas import compile_schema, faults_of, misfits
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
        (
            {"if": {"required": ["59999"]}, "else": {"additionalProperties": {"type": "string"}}},
            {str(number): 1 for number in MANY},
        ),
        ({"if": {"contains": {"const": 59_999}}, "else": {"items": {"type": "string"}}}, MANY),
        ({"if": {"maxItems": 100}, "then": {"items": {"type": "string"}}}, MANY),
    ],
)
def test_what_only_its_beginning_lacks_is_no_fault(data: Mapping[str, Any], given: Any) -> None:
    validator = compile_schema(taking(data))
    assert validator.is_valid({"data": given})
    assert faults_of(validator, {"data": given}) == []
    assert [place for place, _ in told(taking(data), {"data": given, "x": 1})] == ["$.x"]


@pytest.mark.parametrize(
    "schema",
    [
        {"if": {"contains": {"const": 59_999}}, "else": {"items": {"type": "string"}}},
        {"if": {"maxItems": 100}, "then": {"items": {"type": "string"}}},
        {"if": {"not": {"contains": {"const": 59_999}}}, "then": {"items": {"$ref": "#/$defs/text"}}},
        {"allOf": [{"$ref": "#/$defs/short"}]},
        {"anyOf": [{"items": {"type": "string"}}, {"contains": {"const": 59_999}}]},
    ],
    ids=["else", "then", "of a reference", "in a reference", "one of several"],
)
def test_what_only_its_beginning_lacks_is_not_told_beside_a_fault_either(schema: Mapping[str, Any]) -> None:
    defs = {
        "text": {"type": "string"},
        "short": {"if": {"maxItems": 100}, "then": {"items": {"type": "string"}}},
    }
    validator = compile_schema(taking(schema, **{"$defs": defs}))
    found = [list(fault.instance_path) for fault in faults_of(validator, {"data": MANY, "name": 1})]
    assert found == [["name"]]


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"then": {"properties": {"else": {"items": {"type": "string"}}}}}},
        {"dependentSchemas": {"then": {"properties": {"then": {"required": ["none"]}}}}},
    ],
    ids=["names of keywords", "what there is"],
)
def test_a_fault_below_members_called_as_conditions_are_is_told(schema: Mapping[str, Any]) -> None:
    faults = faults_of(compile_schema(taking(schema)), {"data": {"then": {"else": MANY}}})
    assert {tuple(fault.instance_path)[:2] for fault in faults} == {("data", "then")}


def test_nothing_of_a_large_value_that_fits_is_a_misfit() -> None:
    members = {"type": "object", "additionalProperties": {"type": "string"}}
    schema = {"if": {"required": ["mode"]}, "else": members}
    value = {**{f"k{number}": 1 for number in range(1_201)}, "mode": 1}
    assert list(misfits("tool", schema, value, ())) == []
    assert list(misfits("tool", schema, {"k": 1}, ())) != []


def test_a_deep_value_has_its_fault_told_too() -> None:
    nested: Any = MANY[:2_000]
    for _ in range(200):
        nested = [nested]
    assert told(taking({"type": "array"}), {"data": nested, "x": 1})[0][0] == "$.x"
