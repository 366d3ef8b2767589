"""Operations of a document become tools: their names, arguments, bodies, answers, and why some become none."""

from __future__ import annotations

import re
from typing import Any

import jsonschema_rs
import pytest

from core.errors import InvalidInput
from servers.execution.backends.http.openapi.imports import import_document, pick_operations
from servers.execution.backends.http.requests import build_request
from tests.servers.execution.http.openapi.shop import (
    FASTAPI_LIKE,
    answer_of,
    document,
    only,
    operations,
    schema_of,
)


def test_operations_of_a_fastapi_document_become_tools() -> None:
    found = operations(FASTAPI_LIKE)
    read = found["read_item_items__item_id__get"]
    assert schema_of(read)["properties"] == {
        "item_id": {"type": "integer", "title": "Item Id"},
        "q": {"anyOf": [{"type": "string", "maxLength": 50}, {"type": "null"}], "title": "Q"},
        "x-token": {"type": "string", "title": "X-Token"},
    }
    assert schema_of(read)["required"] == ["item_id", "x-token"]
    assert read.tool is not None
    assert (read.tool.title, read.tool.description) == ("Read Item", "Read Item.")
    assert read.tool.annotations["readOnlyHint"] is True
    request = build_request(
        read.tool.operation.definition,
        {"item_id": 3, "q": "a b", "x-token": "t"},
        "https://orders.example.com/api",
    )
    assert request.url == "https://orders.example.com/api/items/3?q=a%20b"
    assert request.headers == (("x-token", "t"),)


def test_what_may_only_be_read_is_no_argument_and_what_may_only_be_written_no_answer() -> None:
    found = operations(FASTAPI_LIKE)
    item = schema_of(found["update_item_items__item_id__put"])["$defs"]["Item"]
    assert set(item["properties"]) == {"name", "secret", "price", "tags", "parent"}
    assert item["required"] == ["name", "price"]
    answered = answer_of(found["read_item_items__item_id__get"])["$defs"]["Item"]
    assert set(answered["properties"]) == {"id", "name", "price", "tags", "parent"}


def test_deprecated_operations_say_so() -> None:
    update = operations(FASTAPI_LIKE)["update_item_items__item_id__put"]
    assert update.deprecated
    assert update.tool is not None
    assert update.tool.title == "Update Item (deprecated)"
    assert update.tool.description == "Deprecated. Update Item. Replaces all of it."


def test_files_are_given_by_text_or_base64() -> None:
    upload = operations(FASTAPI_LIKE)["upload_files_post"]
    body = schema_of(upload)["properties"]["body"]
    validator = jsonschema_rs.validator_for(schema_of(upload))
    assert set(body["properties"]["file"]["properties"]) == {"text", "base64", "filename", "media_type"}
    assert validator.is_valid({"body": {"file": {"text": "x"}, "more": [{"base64": "eA=="}], "note": "n"}})
    assert not validator.is_valid({"body": {"file": {}}})
    assert upload.tool is not None
    request = build_request(upload.tool.operation.definition, {"body": {"file": {"text": "x"}}}, "https://h")
    assert b'name="file"; filename="file"' in (request.body or b"")


def test_answers_are_objects_or_put_into_one() -> None:
    found = operations(FASTAPI_LIKE)
    listed = answer_of(found["login_token_post"])
    assert listed["properties"]["result"]["items"] == {"$ref": "#/$defs/Item"}
    assert jsonschema_rs.validator_for(listed).is_valid({"result": [{"id": 1, "parent": {"id": None}}]})
    assert found["upload_files_post"].tool is not None
    one = answer_of(found["read_item_items__item_id__get"])
    assert one["type"] == "object"
    assert jsonschema_rs.validator_for(one).is_valid({"name": None, "unknown": 1})
    assert not jsonschema_rs.validator_for(one).is_valid({"tags": "no list"})
    definitions = {name: each.tool.operation.definition for name, each in found.items() if each.tool}
    assert definitions["login_token_post"]["answer"] == {"media_type": "application/json", "wrap": True}
    assert definitions["read_item_items__item_id__get"]["answer"]["wrap"] is False


@pytest.mark.parametrize(
    ("operation_id", "path", "name"),
    [
        ("repos/list-for-org", "/a", "repos_list-for-org"),
        ("Get  the thing!", "/a", "Get_the_thing"),
        (None, "/pets/{petId}/toys", "get_pets_petId_toys"),
        ("", "/", "get"),
        ("日本", "/x", "get_x"),
        ("\uff47\uff45\uff54", "/x", "get"),
        (3, "/x", "get_x"),
        ("\u202eevil\x00", "/x", "evil"),
        ("pay__ment", "/x", "pay__ment"),
    ],
)
def test_tools_are_named_by_their_operations(operation_id: Any, path: str, name: str) -> None:
    assert only(document(paths={path: {"get": {"operationId": operation_id}}})).name == name


def test_names_are_unique_whatever_their_case_and_at_most_52_long() -> None:
    long = "x" * 10_000
    paths = {
        f"/{n}": {"get": {"operationId": each}}
        for n, each in enumerate(["a", "A", "a", "a!", long, long, f"{long}y"])
    }
    names = list(operations(document(paths=paths)))
    assert names[:4] == ["a", "A_2", "a_3", "a_4"]
    assert len({name.lower() for name in names}) == 7
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]{1,52}", name) for name in names)


def test_thousands_of_one_name_are_told_apart() -> None:
    paths = {f"/{n}": {"get": {"operationId": "same"}} for n in range(4_000)}
    assert list(operations(document(paths=paths)))[-1] == "same_4000"


def test_more_operations_than_can_be_held_are_refused() -> None:
    paths: dict[str, Any] = {f"/{n}": {"get": {}} for n in range(5_001)}
    with pytest.raises(InvalidInput, match="more than 5000 operations"):
        operations(document(paths=paths))


def test_operation_of_too_many_parameters_is_no_tool() -> None:
    parameters = [{"name": f"p{n}", "in": "query"} for n in range(201)]
    found = only(document(paths={"/a": {"get": {"parameters": parameters}}}))
    assert (found.tool, "at most 200" in found.problem) == (None, True)


def test_arguments_are_named_by_their_parameters() -> None:
    parameters = [
        {"name": name, "in": where, "schema": {"type": "string"}}
        for name, where in (
            ("id", "path"),
            ("id", "query"),
            ("ID", "header"),
            ("filter[name]", "query"),
            ("$top", "query"),
            ("sid", "cookie"),
            ("Authorization", "header"),
            ("Accept", "header"),
            ("Content-Type", "header"),
            ("Host", "header"),
        )
    ]
    tool = only(document(paths={"/{id}": {"get": {"parameters": parameters}}}))
    assert schema_of(tool)["properties"].keys() == {
        "id", "query_id", "header_ID", "filter_name", "top", "sid",
    }  # fmt: skip
    assert tool.tool is not None
    arguments = {"id": "1", "query_id": "2", "header_ID": "3", "filter_name": "n", "top": "5", "sid": "s"}
    request = build_request(tool.tool.operation.definition, arguments, "https://h")
    assert request.url == "https://h/1?id=2&filter%5Bname%5D=n&%24top=5"
    assert request.headers == (("ID", "3"), ("Cookie", "sid=s"))


def test_parameters_of_the_path_are_shared_and_may_be_overridden() -> None:
    item = {
        "parameters": [
            {"$ref": "#/components/parameters/Q"},
            {"name": "lang", "in": "query", "schema": {"type": "string"}},
        ],
        "get": {
            "parameters": [{"name": "lang", "in": "query", "required": True, "schema": {"type": "integer"}}]
        },
    }
    q = {"name": "q", "in": "query", "description": "What to find", "schema": {"type": "string"}}
    schema = schema_of(only(document(paths={"/a": item}, components={"parameters": {"Q": q}})))
    assert schema["properties"] == {
        "q": {"type": "string", "description": "What to find"},
        "lang": {"type": "integer"},
    }
    assert schema["required"] == ["lang"]


def test_styles_of_parameters_are_kept() -> None:
    parameters = [
        {"name": "a", "in": "query", "style": "deepObject", "explode": True, "schema": {"type": "object"}},
        {"name": "b", "in": "query", "explode": False, "schema": {"type": "array"}},
        {"name": "c", "in": "query", "content": {"application/json": {"schema": {"type": "object"}}}},
        {"name": "d", "in": "query", "allowReserved": True, "style": "nonsense"},
    ]
    tool = only(document(paths={"/a": {"get": {"parameters": parameters}}})).tool
    assert tool is not None
    arguments = {"a": {"k": 1}, "b": [1, 2], "c": {"x": 1}, "d": "p/q"}
    url = build_request(tool.operation.definition, arguments, "https://h").url
    assert url == "https://h/a?a%5Bk%5D=1&b=1,2&c=%7B%22x%22%3A1%7D&d=p/q"


def test_placeholder_that_the_document_forgot_is_an_argument() -> None:
    schema = schema_of(only(document(paths={"/a/{b}": {"get": {}}})))
    assert (schema["properties"], schema["required"]) == ({"b": {"type": "string"}}, ["b"])


def test_query_in_a_path_is_always_sent() -> None:
    tool = only(document(paths={"/a?action=go&x=1#note": {"get": {}}})).tool
    assert tool is not None
    assert build_request(tool.operation.definition, {}, "https://h").url == "https://h/a?action=go&x=1"


@pytest.mark.parametrize(
    ("content", "kind", "media_type"),
    [
        (["application/xml", "application/json"], "json", None),
        (["application/vnd.api+json"], "json", "application/vnd.api+json"),
        (["multipart/form-data", "application/x-www-form-urlencoded"], "form", None),
        (["multipart/form-data"], "multipart", None),
        (["text/csv"], "text", "text/csv"),
        (["application/xml"], "text", "application/xml"),
        (["image/png"], "binary", "image/png"),
        (["application/octet-stream"], "binary", None),
        (["*/*"], "json", None),
        (["nonsense\r\nX: y"], "binary", None),
    ],
)
def test_the_kind_of_body_follows_its_media_type(
    content: list[str], kind: str, media_type: str | None
) -> None:
    body = {"content": {each: {"schema": {"type": "object"}} for each in content}}
    tool = only(document(paths={"/a": {"post": {"requestBody": body}}})).tool
    assert tool is not None
    written = tool.operation.definition["body"]
    assert (written["kind"], written.get("media_type"), written["required"]) == (kind, media_type, False)


def test_form_fields_keep_their_encoding() -> None:
    encoding = {
        "meta": {"style": "deepObject", "explode": True},
        "list": {"explode": False},
        "x": {"style": 3},
    }
    body = {
        "content": {"application/x-www-form-urlencoded": {"schema": {"type": "object"}, "encoding": encoding}}
    }
    tool = only(document(paths={"/a": {"post": {"requestBody": body}}})).tool
    assert tool is not None
    value = {"body": {"meta": {"a": {"b": 1}}, "list": [1, 2]}}
    assert (
        build_request(tool.operation.definition, value, "https://h").body == b"meta%5Ba%5D%5Bb%5D=1&list=1,2"
    )


def test_body_argument_gives_way_to_a_parameter_of_that_name() -> None:
    parameters = [{"name": "body", "in": "query", "schema": {"type": "string"}}]
    body = {"required": True, "content": {"application/json": {}}}
    tool = only(document(paths={"/a": {"post": {"parameters": parameters, "requestBody": body}}})).tool
    assert tool is not None
    assert set(tool.input_schema["properties"]) == {"body", "request_body"}
    request = build_request(tool.operation.definition, {"body": "q", "request_body": 1}, "https://h")
    assert (request.url, request.body) == ("https://h/a?body=q", b"1")


def test_body_of_a_get_is_left_out_and_noted() -> None:
    body: dict[str, Any] = {"content": {"application/json": {"schema": {}}}}
    found = only(document(paths={"/a": {"get": {"requestBody": body}}}))
    assert found.tool is not None
    assert "left out" in found.notes[0]


REMOTE = "https://evil.example/x.json#/y"


@pytest.mark.parametrize(
    ("paths", "words"),
    [
        ({"/a/../b": {"get": {}}}, "leads up"),
        ({"/%2e%2e/b": {"get": {}}}, "leads up"),
        ({"//evil.example/b": {"get": {}}}, "two slashes"),
        ({"https://evil.example/b": {"get": {}}}, "begins with /"),
        ({"/a\\b": {"get": {}}}, "encoded slash"),
        ({"/a%2fb": {"get": {}}}, "encoded slash"),
        ({"/a\r\nb": {"get": {}}}, "encoded slash"),
        ({"/{a}/{a}": {"get": {}}}, "once"),
        ({"/{?a*}": {"get": {"parameters": [{"name": "?a*", "in": "path"}]}}}, ""),
        ({"/a": {"servers": [{"url": "https://other.example"}], "get": {}}}, "a server of its own"),
        ({"/a": {"get": {"parameters": [{"$ref": REMOTE}]}}}, "evil.example"),
        ({"/a": {"get": {"parameters": [{"$ref": "#/nowhere"}]}}}, "which is not in the document"),
        (
            {"/a": {"get": {"parameters": [{"name": "a", "in": "query", "schema": {"$ref": REMOTE}}]}}},
            "#/paths",
        ),
        ({"/a": {"post": {"requestBody": {"$ref": "file:///etc/passwd"}}}}, "outside the document"),
        (
            {
                "/a": {
                    "post": {
                        "requestBody": {"content": {"application/json": {"schema": {"$ref": "other.yaml"}}}}
                    }
                }
            },
            "requestBody",
        ),
        ({"/a": {"get": {"responses": {"200": {"$ref": "#/paths/~1a/get/responses/200"}}}}}, "without end"),
    ],
)
def test_operation_that_can_be_no_tool_says_why(paths: dict[str, Any], words: str) -> None:
    found = only(document(paths=paths, servers=[{"url": "https://api.example.com"}]))
    if not words:
        assert found.tool is not None
        return
    assert found.tool is None
    assert words in found.problem


def test_answer_that_cannot_be_had_does_not_keep_a_tool_from_being() -> None:
    schemas = {"A": {"type": "object", "properties": {"b": {"$ref": REMOTE}}}}
    answer = {"200": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/A"}}}}}
    found = only(document(paths={"/a": {"get": {"responses": answer}}}, components={"schemas": schemas}))
    assert found.tool is not None
    assert found.tool.output_schema is None
    assert REMOTE in found.notes[0]


def test_one_bad_operation_leaves_the_others() -> None:
    paths = {
        "/a/../b": {"get": {}},
        "/c": {"get": {}},
        "/d": {"$ref": "other.yaml"},
        "/e": 3,
        "/f": {"get": 4},
    }
    found = operations(document(paths=paths))
    assert {each.key: each.tool is not None for each in found.values()} == {
        "GET /a/../b": False,
        "GET /c": True,
        "/d": False,
    }


def test_operations_are_picked_by_id_name_path_or_tag() -> None:
    everything = import_document(FASTAPI_LIKE).operations
    assert len(pick_operations(everything, None)) == 4

    def picked(*wanted: str) -> list[str]:
        return [each.key for each in pick_operations(everything, wanted)]

    assert picked("upload_files_post", "GET /items/{item_id}") == ["POST /files", "GET /items/{item_id}"]
    assert picked("tag:items", "get  /items/{item_id}") == ["GET /items/{item_id}", "PUT /items/{item_id}"]
    assert picked() == []


def test_pick_of_what_is_not_there_is_refused_with_its_place() -> None:
    everything = import_document(FASTAPI_LIKE).operations
    with pytest.raises(InvalidInput) as caught:
        pick_operations(everything, ["upload_files_post", "uplaod_files_post", 3])
    places = {fault["path"]: fault["message"] for fault in caught.value.errors}
    assert "upload_files_post" in places["operations.1"]
    assert "no such operation" in places["operations.2"]


def test_pick_of_what_can_be_no_tool_is_refused_with_its_reason() -> None:
    found = import_document(document(paths={"/a/../b": {"get": {"operationId": "up"}}})).operations
    with pytest.raises(InvalidInput, match="leads up"):
        pick_operations(found, ["up"])


@pytest.mark.parametrize(
    ("servers", "fetched_from", "base_url"),
    [
        ([{"url": "https://api.example.com/v1/"}], "", "https://api.example.com/v1"),
        (
            [{"url": "https://{region}.example.com", "variables": {"region": {"default": "eu"}}}],
            "",
            "https://eu.example.com",
        ),
        ([{"url": "/v2"}], "https://h.example/docs/openapi.json", "https://h.example/v2"),
        ([], "https://h.example/docs/openapi.json", "https://h.example"),
        ([{"url": "/v2"}], "", ""),
        ([{"url": "https://{nowhere}.example.com"}], "", ""),
        ([{"url": "https://user:pw@h"}], "", ""),
        ([{"url": "file:///etc"}], "", ""),
        ([{"url": "https://h/../x"}], "", ""),
        ([{"url": 3}], "", ""),
        ([3], "", ""),
        ("x", "", ""),
    ],
)
def test_base_address_is_that_of_the_first_server(servers: Any, fetched_from: str, base_url: str) -> None:
    assert import_document(document(servers=servers), fetched_from=fetched_from).base_url == base_url


@pytest.mark.parametrize(
    ("scheme", "settings"),
    [
        ({"type": "http", "scheme": "bearer"}, {"auth": "bearer"}),
        ({"type": "http", "scheme": "Basic"}, {"auth": "basic"}),
        ({"type": "apiKey", "in": "header", "name": "X-Key"}, {"auth": "api_key", "key_header": "X-Key"}),
        ({"type": "apiKey", "in": "header", "name": "Authorization"}, {"auth": "bearer"}),
        ({"type": "apiKey", "in": "query", "name": "key"}, {}),
        ({"type": "apiKey", "in": "header", "name": "a\r\nb"}, {}),
        (
            {
                "type": "oauth2",
                "flows": {
                    "clientCredentials": {"tokenUrl": "https://i/token", "scopes": {"read": "", "write": ""}}
                },
            },
            {"auth": "oauth", "token_url": "https://i/token", "scope": "read write"},
        ),
        ({"type": "oauth2", "flows": {"password": {"tokenUrl": "token"}}}, {"auth": "bearer"}),
        ({"type": "openIdConnect", "openIdConnectUrl": "https://i"}, {"auth": "bearer"}),
        ({"type": "mutualTLS"}, {}),
        ({"$ref": REMOTE}, {}),
        ([], {}),
    ],
)
def test_security_schemes_say_how_to_sign_in(scheme: Any, settings: dict[str, Any]) -> None:
    imported = import_document(document(components={"securitySchemes": {"s": scheme}}))
    assert imported.sign_ins[0].settings() == settings


def test_the_scheme_that_the_document_asks_for_comes_first() -> None:
    schemes = {"a": {"type": "http", "scheme": "basic"}, "b": {"type": "http", "scheme": "bearer"}}
    given = document(components={"securitySchemes": schemes}, security=[{"b": []}])
    assert [each.scheme for each in import_document(given).sign_ins] == ["b", "a"]
    assert [each.kind for each in import_document(document()).sign_ins] == ["none"]
