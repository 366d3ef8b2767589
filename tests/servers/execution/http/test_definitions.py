"""The definition of an HTTP tool: what it must hold, and the schemas and hints that it gives."""

from __future__ import annotations

from typing import Any

import jsonschema_rs
import pytest

from core.errors import InvalidInput
from servers.execution.backends.http.definitions import answer_is_wrapped, compile_http_tool
from servers.execution.backends.http.schemas import MAX_WORK, weigh, weigh_definitions

STRING = {"type": "string"}
BODY = {"kind": "json", "schema": {"type": "object"}}


def get(**more: Any) -> dict[str, Any]:
    return {"method": "GET", "path": "/a", **more}


def post(**more: Any) -> dict[str, Any]:
    return {"method": "POST", "path": "/a", **more}


def faults_of(definition: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(InvalidInput) as caught:
        compile_http_tool(definition)
    return {fault["path"]: fault["message"] for fault in caught.value.errors}


def test_definition_becomes_schemas_and_hints() -> None:
    offered = compile_http_tool(
        {
            "method": "POST",
            "path": "/teams/{team}/orders",
            "title": "Order",
            "description": "Orders it.",
            "parameters": {
                "team": {"type": "integer", "description": "Whose"},
                "tags": {"type": "array", "items": STRING, "required": False},
                "units": {"type": "string", "default": "metric"},
                "version": {"in": "header", "name": "X-Version", "schema": {"$ref": "#/$defs/Version"}},
            },
            "body": {"kind": "json", "description": "The order", "schema": {"$ref": "#/$defs/Order"}},
            "answer": {"schema": {"$ref": "#/$defs/Order"}},
            "$defs": {
                "Version": {"enum": ["1", "2"]},
                "Order": {"type": "object", "properties": {"parts": {"items": {"$ref": "#/$defs/Order"}}}},
                "Unused": {},
            },
        }
    )
    assert (offered.title, offered.description, offered.operation.kind) == ("Order", "Orders it.", "http")
    assert offered.input_schema["required"] == ["team", "version", "body"]
    assert offered.input_schema["additionalProperties"] is False
    assert offered.input_schema["properties"] == {
        "team": {"type": "integer", "description": "Whose"},
        "tags": {"type": "array", "items": STRING},
        "units": {"type": "string", "default": "metric"},
        "version": {"$ref": "#/$defs/Version"},
        "body": {"$ref": "#/$defs/Order", "description": "The order"},
    }
    assert set(offered.input_schema["$defs"]) == {"Version", "Order"}
    assert offered.output_schema is not None
    assert (offered.output_schema["type"], set(offered.output_schema["$defs"])) == ("object", {"Order"})
    assert (offered.annotations["readOnlyHint"], offered.annotations["idempotentHint"]) == (False, False)
    validator = jsonschema_rs.validator_for(dict(offered.input_schema))
    assert validator.is_valid({"team": 1, "version": "2", "body": {"parts": [{}]}})
    assert not validator.is_valid({"team": 1, "version": "2", "body": {"parts": [3]}})


@pytest.mark.parametrize(
    ("method", "reads", "idempotent"),
    [
        ("GET", True, True),
        ("HEAD", True, True),
        ("OPTIONS", True, True),
        ("PUT", False, True),
        ("DELETE", False, True),
        ("POST", False, False),
        ("PATCH", False, False),
    ],
)
def test_methods_give_the_hints(method: str, reads: bool, idempotent: bool) -> None:
    hints = compile_http_tool({"method": method, "path": "/a"}).annotations
    assert (hints["readOnlyHint"], hints["destructiveHint"]) == (reads, not reads)
    assert hints["idempotentHint"] is idempotent


def test_search_by_post_may_say_that_it_only_reads() -> None:
    hints = compile_http_tool(post(annotations={"readOnlyHint": True, "destructiveHint": False})).annotations
    assert (hints["readOnlyHint"], hints["destructiveHint"], hints["idempotentHint"]) == (True, False, False)


def test_parameters_of_the_body_stand_beside_the_others() -> None:
    offered = compile_http_tool(
        post(
            body={"kind": "form"},
            parameters={"name": {"in": "body", **STRING}, "q": {"in": "query", **STRING}},
        )
    )
    assert list(offered.input_schema["properties"]) == ["name", "q"]


@pytest.mark.parametrize(
    ("schema", "wrapped"),
    [
        ({"type": "object"}, False),
        ({"properties": {}}, False),
        ({"$ref": "#/$defs/A"}, False),
        ({"allOf": [{}, {"$ref": "#/$defs/A"}]}, False),
        ({"oneOf": [{"$ref": "#/$defs/A"}, {"type": "object"}]}, False),
        ({"oneOf": [{"$ref": "#/$defs/A"}, {"type": "array"}]}, True),
        ({"type": ["object", "null"]}, True),
        ({"type": "array", "items": {"$ref": "#/$defs/A"}}, True),
        ({}, True),
    ],
)
def test_answers_that_may_be_no_object_are_put_into_one(schema: dict[str, Any], wrapped: bool) -> None:
    definition = get(answer={"schema": schema}, **{"$defs": {"A": {"type": "object"}}})
    offered = compile_http_tool(definition)
    assert answer_is_wrapped(definition) is wrapped
    assert offered.output_schema is not None
    assert offered.output_schema["type"] == "object"
    assert ("result" in offered.output_schema.get("properties", {})) is wrapped
    jsonschema_rs.validator_for(dict(offered.output_schema))


def test_without_a_known_answer_there_is_no_output_schema() -> None:
    assert compile_http_tool(get()).output_schema is None
    assert answer_is_wrapped(get()) is None
    assert answer_is_wrapped(get(answer={"wrap": True})) is True


@pytest.mark.parametrize(
    ("definition", "path", "words"),
    [
        ({}, "method", "one of GET"),
        ({"method": "TRACE", "path": "/"}, "method", "one of GET"),
        ({"method": "CONNECT", "path": "/"}, "method", "one of GET"),
        ({"method": ["GET"], "path": "/"}, "method", "one of GET"),
        ({"method": "GET"}, "path", "begins with /"),
        (get(path="//evil.example/a"), "path", "two slashes"),
        (get(path="https://evil.example/"), "path", "begins with /"),
        (get(path="/a/../b"), "path", "leads up"),
        (get(path="/a/%2e%2e/b"), "path", "leads up"),
        (get(path="/a%2fb"), "path", "encoded slash"),
        (get(path="/a%00b"), "path", "invisible"),
        (get(path="/a\\b"), "path", "may hold"),
        (get(path="/a b"), "path", "may hold"),
        (get(path="/a\r\nX: y"), "path", "may hold"),
        (get(path="/a?b=1"), "path", "query"),
        (get(path="/a#b"), "path", "before ? and #"),
        (get(path="/{}"), "path", "1 to 64"),
        (get(path="/{a}/{a}", parameters={"a": STRING}), "path", "once"),
        (get(path="/{a"), "path", "may hold"),
        (get(path="/{a}"), "parameters.a", "no parameter says"),
        (get(path="/" + "a" * 3000), "path", "2048"),
        (get(sql="x"), "sql", "no such key"),
        (get(title="x" * 201), "title", "at most 200"),
        (get(parameters=[]), None, None),
        (get(parameters=[1]), "parameters", "object"),
        (get(parameters={"a": 1}), "parameters.a", "object"),
        (get(parameters={"a b": STRING}), "parameters.a b", "letters"),
        (get(parameters={"a" * 10_000: STRING}), "parameters." + "a" * 80, "letters"),
        (get(parameters={"а": STRING}), "parameters.а", "letters"),  # noqa: RUF001 (Cyrillic)
        (get(parameters={"a": {"in": "where"}}), "parameters.a.in", "one of path"),
        (get(parameters={"a": {"in": "path", **STRING}}), "parameters.a.in", "no {a}"),
        (get(parameters={"a": {"style": "deep"}}), "parameters.a.style", "styles are"),
        (get(parameters={"a": {"explode": 1}}), "parameters.a.explode", "true or false"),
        (get(parameters={"a": {"in": "header", "reserved": True}}), "parameters.a.reserved", "query"),
        (get(parameters={"a": {"name": "a\r\nb"}}), "parameters.a.name", "invisible"),
        (get(parameters={"a": {"name": 3}}), "parameters.a.name", "text"),
        (get(parameters={"a": {"in": "header", "name": "a b"}}), "parameters.a.name", "letters"),
        (get(parameters={"Host": {"in": "header"}}), "parameters.Host.name", "itself"),
        (get(parameters={"a": {"in": "header", "name": "Authorization"}}), "parameters.a.name", "setting"),
        (get(parameters={"a": {"in": "cookie", "name": "a=b"}}), "parameters.a.name", "cookie"),
        (get(parameters={"a": {"type": "string", "schema": {}}}), "parameters.a.schema", "Put type"),
        (get(parameters={"a": {"name": "b"}, "b": {}}), "parameters.b", "same place"),
        (get(parameters={"a": {"what": 1}}), "parameters.a.what", "no such key"),
        (get(path="/{a}", parameters={"a": {"required": False}}), "parameters.a.required", "always"),
        (get(body=BODY), "body", "no body"),
        (post(body=3), "body", "kind"),
        (post(body={"kind": "xml"}), "body.kind", "one of json"),
        (post(body={"kind": "json", "media_type": "a\r\nb"}), "body.media_type", "media type"),
        (post(body=BODY, parameters={"body": STRING}), "body.argument", "no parameter has"),
        (post(body={"kind": "json", "fields": {"a": {}}}), "body.fields", "form or multipart"),
        (post(parameters={"a": {"in": "body"}}), "parameters.a.in", "which kind"),
        (post(parameters={"a": {"in": "body"}}, body=BODY), "body", "part of the body"),
        (get(headers={"Host": "evil"}), "headers.Host", "itself"),
        (get(headers={"Authorization": "Bearer x"}), "headers.Authorization", "setting"),
        (get(headers={"X": "a\r\nY: b"}), "headers.X", "line breaks"),
        (get(query={"a": 1}), "query.a", "text"),
        (get(answer=3), "answer", "object"),
        (get(annotations={"readOnlyHint": "yes"}), "annotations", "true or false"),
        (get(parameters={"a": {"$ref": "#/$defs/B"}}), "parameters.a", "There is no #/$defs/B"),
        (get(parameters={"a": {"$ref": "https://x/y"}}), "parameters.a", "nowhere else"),
        (get(parameters={"a": {"$ref": "file:///etc/passwd"}}), "parameters.a", "nowhere else"),
        (get(parameters={"a": {"$ref": "#/properties/b"}}), "parameters.a", "nowhere else"),
        (get(parameters={"a": {"schema": {"$dynamicRef": "#a"}}}), "parameters.a", "not supported"),
        (get(parameters={"a": {"schema": {"properties": {"x": 3}}}}), "parameters.a.properties.x", "object"),
        (
            post(body={**BODY, "schema": {"$defs": {"A": {}}}}, **{"$defs": {"A": {"type": "string"}}}),
            "body.schema.$defs.A",
            "this name",
        ),
    ],
)
def test_faults_are_named_with_their_place(
    definition: dict[str, Any], path: str | None, words: str | None
) -> None:
    if path is None or words is None:
        compile_http_tool(definition)
        return
    assert words in faults_of(definition)[path]


def test_all_faults_are_told_at_once() -> None:
    definition = get(path="/{a}", headers={"Host": "x"}, parameters={"b": {"in": "where"}})
    assert set(faults_of(definition)) == {"parameters.a", "parameters.b.in", "headers.Host"}


def test_deep_schema_is_refused() -> None:
    schema: dict[str, Any] = {}
    for _ in range(5_000):
        schema = {"items": schema}
    assert "nests deeper" in faults_of(get(parameters={"a": {"schema": schema}}))["parameters.a"]


def test_definitions_that_double_each_other_are_refused() -> None:
    defs: dict[str, Any] = {
        f"D{n}": {"allOf": [{"$ref": f"#/$defs/D{n + 1}"}, {"$ref": f"#/$defs/D{n + 1}"}]} for n in range(30)
    }
    defs["D30"] = {}
    assert (
        "too long"
        in faults_of(get(parameters={"a": {"$ref": "#/$defs/D0"}}, **{"$defs": defs}))["parameters.a"]
    )


def test_doubling_on_the_way_down_into_a_value_is_refused() -> None:
    defs: dict[str, Any] = {
        f"D{n}": {"items": {"anyOf": [{"$ref": f"#/$defs/D{n + 1}"}, {"$ref": f"#/$defs/D{n + 1}"}]}}
        for n in range(30)
    }
    defs["D30"] = {}
    assert weigh({"$ref": "#/$defs/D0"}, weigh_definitions(defs)) > MAX_WORK


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#/$defs/A"},
        {"allOf": [{"$ref": "#/$defs/A"}]},
        {"not": {"$ref": "#/$defs/A"}},
        {"items": {"allOf": [{"$ref": "#/$defs/A"}, {"items": {"$ref": "#/$defs/A"}}]}},
        {"properties": {"a": {"$ref": "#/$defs/A"}}, "patternProperties": {".": {"$ref": "#/$defs/A"}}},
        {"items": {"$ref": "#/$defs/A"}, "contains": {"$ref": "#/$defs/A"}},
        {"oneOf": [{"items": {"$ref": "#/$defs/A"}}, {"items": {"$ref": "#/$defs/A"}}]},
    ],
)
def test_definition_that_winds_back_to_itself_is_refused(schema: dict[str, Any]) -> None:
    definition = get(parameters={"a": {"$ref": "#/$defs/A"}}, **{"$defs": {"A": schema}})
    assert "back to itself" in faults_of(definition)["$defs.A"]


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"left": {"$ref": "#/$defs/A"}, "right": {"$ref": "#/$defs/A"}}},
        {"items": {"anyOf": [{"$ref": "#/$defs/A"}, {"type": "null"}]}},
        {"additionalProperties": {"$ref": "#/$defs/A"}},
    ],
)
def test_trees_are_no_trouble(schema: dict[str, Any]) -> None:
    offered = compile_http_tool(get(parameters={"a": {"$ref": "#/$defs/A"}}, **{"$defs": {"A": schema}}))
    assert jsonschema_rs.validator_for(dict(offered.input_schema)).is_valid({"a": {}})


def test_long_chain_of_definitions_is_judged_without_deep_recursion() -> None:
    defs: dict[str, Any] = {f"D{n}": {"items": {"$ref": f"#/$defs/D{n + 1}"}} for n in range(499)}
    defs["D499"] = {"type": "string"}
    compile_http_tool(get(parameters={"a": {"$ref": "#/$defs/D0"}}, **{"$defs": defs}))
