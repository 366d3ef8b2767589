"""Schemas of OpenAPI 3.0 and 3.1 become JSON Schema 2020-12: what they say, how circles end, and how large they get."""

from __future__ import annotations

from typing import Any

import jsonschema_rs
import orjson
import pytest

from servers.execution.backends.http.openapi.conversion import INPUT_BYTES, OUTPUT_BYTES
from tests.servers.execution.http.openapi.shop import answer_of, answering, schema_of, taking


def ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def body_of(schema: Any, version: str = "3.1.0", **schemas: Any) -> Any:
    return schema_of(taking(schema, version, **schemas))["properties"]["body"]


def fits(schema: Any, value: Any, version: str = "3.1.0", **schemas: Any) -> bool:
    made = schema_of(taking(schema, version, **schemas))
    return jsonschema_rs.validator_for(made).is_valid({"body": value})


@pytest.mark.parametrize(
    ("schema", "made"),
    [
        ({"type": "string", "nullable": True}, {"type": ["string", "null"]}),
        (
            {"type": "string", "nullable": True, "enum": ["a"]},
            {"type": ["string", "null"], "enum": ["a", None]},
        ),
        (
            {"type": "integer", "minimum": 1, "exclusiveMinimum": True},
            {"type": "integer", "exclusiveMinimum": 1},
        ),
        (
            {"type": "integer", "maximum": 1, "exclusiveMaximum": False},
            {"type": "integer", "maximum": 1},
        ),
        ({"type": "string", "example": "x"}, {"type": "string", "examples": ["x"]}),
        ({"type": "string", "format": "byte"}, {"type": "string", "contentEncoding": "base64"}),
        ({"type": "file"}, {}),
        ({"type": "object", "required": True, "properties": {}}, {"type": "object", "properties": {}}),
        (
            {"type": "array", "items": [{"type": "string"}]},
            {"type": "array", "prefixItems": [{"type": "string"}]},
        ),
        ({"type": "string", "pattern": "^(?=a)b"}, {"type": "string"}),
        (
            {"type": "string", "pattern": "^a+$", "maxLength": 3},
            {"type": "string", "pattern": "^a+$", "maxLength": 3},
        ),
        ({"type": "string", "pattern": "((a{99}){99}){99}"}, {"type": "string"}),
        ({"type": "string", "pattern": "a" * 2_000}, {"type": "string"}),
        ({"type": "string", "minLength": -1, "maxItems": "x"}, {"type": "string"}),
        ({"type": "string", "x-secret": "y", "xml": {}, "externalDocs": {}}, {"type": "string"}),
        ({"type": "string", "default": "d" * 5_000}, {"type": "string"}),
        ({"type": "string", "deprecated": True}, {"type": "string", "deprecated": True}),
        (3, {}),
        ([], {}),
    ],
)
def test_words_of_3_0_become_those_of_2020_12(schema: Any, made: Any) -> None:
    assert body_of(schema, "3.0.3") == made


def test_nullable_reference_takes_null() -> None:
    schema = {"nullable": True, "allOf": [ref("A")]}
    assert fits(schema, None, "3.0.3", A={"type": "object"})
    assert fits(schema, {}, "3.0.3", A={"type": "object"})
    assert not fits(schema, "x", "3.0.3", A={"type": "object"})


def test_what_stands_beside_a_reference_counts_in_3_1_only() -> None:
    beside = {**ref("A"), "maxLength": 2, "description": "Short"}
    assert fits(beside, "abc", "3.0.3", A={"type": "string"})
    assert not fits(beside, "abc", "3.1.0", A={"type": "string"})
    assert body_of(beside, "3.0.3", A={"type": "string"})["description"] == "Short"


def test_words_of_3_1_stay() -> None:
    schema = {
        "type": ["object", "null"],
        "properties": {
            "a": {"const": 1},
            "b": {"type": "array", "prefixItems": [{"type": "string"}], "items": False},
        },
        "patternProperties": {"^x-": {"type": "string"}, "(?!bad)": {}},
        "additionalProperties": False,
        "if": {"required": ["a"]},
        "then": {"required": ["b"]},
    }
    assert fits(schema, {"a": 1, "b": ["x"], "x-y": "z"})
    assert not fits(schema, {"a": 1})
    assert not fits(schema, {"c": 1})


def test_alternatives_are_kept() -> None:
    schema = {"oneOf": [ref("A"), ref("B")], "discriminator": {"propertyName": "kind"}}
    parts: dict[str, Any] = {
        "A": {"type": "object", "required": ["kind"], "properties": {"kind": {"enum": ["a"]}}},
        "B": {"type": "object", "required": ["kind"], "properties": {"kind": {"enum": ["b"]}}},
    }
    assert fits(schema, {"kind": "a"}, **parts)
    assert not fits(schema, {"kind": "c"}, **parts)


def test_extended_schema_that_was_closed_opens() -> None:
    base = {"type": "object", "properties": {"id": {}}, "additionalProperties": False}
    schema = {
        "allOf": [ref("Base"), {"type": "object", "properties": {"name": {}}, "additionalProperties": False}]
    }
    assert fits(schema, {"id": 1, "name": 2}, Base=base)


def test_references_go_anywhere_in_the_document() -> None:
    tree = {"type": "object", "properties": {"a/b": {"type": "integer"}}}
    assert fits({"$ref": "#/components/schemas/T/properties/a~1b"}, 3, T=tree)
    assert not fits({"$ref": "#/components/schemas/T/properties/a~1b"}, "x", T=tree)


def test_tree_is_kept_as_it_is() -> None:
    node = {
        "type": "object",
        "properties": {"name": {"type": "string"}, "parts": {"type": "array", "items": ref("N")}},
    }
    assert fits(ref("N"), {"parts": [{"parts": [{"name": "x"}]}]}, N=node)
    assert not fits(ref("N"), {"parts": [{"parts": [{"name": 3}]}]}, N=node)


def test_circle_of_alternatives_is_cut_where_it_goes_on() -> None:
    schemas: dict[str, Any] = {
        "Filter": {"oneOf": [ref("And"), ref("Or"), ref("Leaf")]},
        "And": {
            "type": "object",
            "required": ["and"],
            "properties": {"and": {"type": "array", "items": ref("Filter")}},
        },
        "Or": {
            "type": "object",
            "required": ["or"],
            "properties": {"or": {"type": "array", "items": ref("Filter")}},
        },
        "Leaf": {"type": "object", "required": ["field"]},
    }
    assert fits(ref("Filter"), {"and": [{"anything": 1}]}, **schemas)
    assert not fits(ref("Filter"), {"and": 3}, **schemas)


@pytest.mark.parametrize(
    "schemas",
    [
        {"A": {"$ref": "#/components/schemas/A"}},
        {"A": {"$ref": "#/components/schemas/B"}, "B": {"$ref": "#/components/schemas/A"}},
        {"A": {"allOf": [ref("A"), {"type": "object"}]}},
        {"A": {"anyOf": [ref("B"), ref("A")]}, "B": {"not": ref("A")}},
        {"A": {"items": {"allOf": [ref("A"), ref("A")]}, "contains": ref("A")}},
    ],
)
def test_circle_without_end_is_cut(schemas: dict[str, Any]) -> None:
    for made in (schema_of(taking(ref("A"), **schemas)), answer_of(answering(ref("A"), **schemas))):
        validator = jsonschema_rs.validator_for(made)
        value: Any = []
        for _ in range(100):
            value = [value, value]
        validator.is_valid({"body": 1, "result": 1})


def test_doubling_references_are_left_open_or_refused() -> None:
    schemas: dict[str, Any] = {f"D{n}": {"allOf": [ref(f"D{n + 1}"), ref(f"D{n + 1}")]} for n in range(40)}
    schemas["D40"] = {"type": "object"}
    imported = taking(ref("D0"), **schemas)
    assert imported.tool is None
    assert "too long" in imported.problem
    assert answering(ref("D0"), **schemas).tool is not None


def test_large_schemas_are_left_open_far_from_their_root() -> None:
    schemas: dict[str, Any] = {
        f"S{n}": {
            "type": "object",
            "properties": {
                **{f"p{i}": {"type": "string", "description": "d" * 400} for i in range(20)},
                "next": ref(f"S{n + 1}"),
            },
        }
        for n in range(30)
    }
    schemas["S30"] = {"type": "string"}
    made = schema_of(taking(ref("S0"), **schemas))
    assert made["$defs"]["S0"]["properties"]["p1"]["description"] == "d" * 400
    assert len(orjson.dumps(made)) < INPUT_BYTES * 1.2
    assert any("Left open" in each.get("description", "") for each in made["$defs"].values())
    answered = answer_of(answering(ref("S0"), **schemas))
    assert len(orjson.dumps(answered)) < OUTPUT_BYTES * 1.5
    jsonschema_rs.validator_for(made)
    jsonschema_rs.validator_for(answered)


def test_large_schema_in_place_is_shrunk() -> None:
    schema: dict[str, Any] = {"type": "object", "properties": {}}
    for outer in range(100):
        schema["properties"][f"o{outer}"] = {
            "type": "object",
            "description": "x" * 300,
            "properties": {f"i{inner}": {"type": "string", "description": "y" * 100} for inner in range(10)},
        }
    made = schema_of(taking(schema))
    assert len(orjson.dumps(made)) < INPUT_BYTES * 1.2
    assert made["properties"]["body"]["properties"]["o99"]["type"] == "object"


def test_deep_schema_is_left_open_below() -> None:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(90):
        schema = {"type": "object", "properties": {"a": schema}}
    made = schema_of(taking(schema))
    depth, at = 0, made["properties"]["body"]
    while "properties" in at:
        depth, at = depth + 1, at["properties"]["a"]
    assert depth < 30


def test_texts_are_bounded_and_visible() -> None:
    made = body_of({"type": "string", "description": "a\u202eb\x00\u2028c\n" + "d" * 10_000})
    assert made["description"].startswith("ab c ddd")
    assert len(made["description"]) == 500


def test_answers_say_types_and_properties_and_nothing_strict() -> None:
    schema = {
        "type": "object",
        "required": ["id", "kind"],
        "additionalProperties": False,
        "properties": {
            "id": {"type": "integer", "minimum": 1},
            "kind": {"type": "string", "enum": ["a"], "pattern": "^a$"},
            "either": {"oneOf": [{"type": "string"}, {"type": "string", "format": "date"}]},
        },
    }
    made = answer_of(answering(schema))
    validator = jsonschema_rs.validator_for(made)
    assert validator.is_valid({"kind": "zzz", "more": 1, "id": None, "either": "2020-01-01"})
    assert not validator.is_valid({"id": "three"})
    assert made["properties"]["id"] == {"type": ["integer", "null"]}
