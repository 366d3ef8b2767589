"""Reading OpenAPI documents: JSON and YAML, within bounds, and nothing that is no document."""

from __future__ import annotations

import orjson
import pytest

from core.errors import InvalidInput
from servers.execution.backends.http.openapi.documents import MAX_JSON_BYTES, MAX_YAML_BYTES, read_document
from tests.servers.execution.http.openapi.shop import FASTAPI_LIKE, document

YAML = """\
# A comment
openapi: 3.0.3
info: {title: Shop, version: 1.10}
paths:
  /a:
    get:
      operationId: 'get'
      description: |
        Two
        lines
      responses:
        200: {description: "yes"}
x-values: [yes, no, on, 1, 0x10, 1.5, 2020-01-01, null, ~, true, "true", .inf, 1e400, 12345678901234567890123]
"""


def test_yaml_is_read_by_the_rules_of_1_2() -> None:
    root = read_document(YAML).root
    get = root["paths"]["/a"]["get"]
    assert (get["operationId"], get["description"]) == ("get", "Two\nlines\n")
    assert get["responses"] == {"200": {"description": "yes"}}
    assert root["info"]["version"] == 1.1
    assert root["x-values"] == [
        "yes", "no", "on", 1, "0x10", 1.5, "2020-01-01", None, None, True, "true", ".inf", "1e400",
        12345678901234567890123.0,
    ]  # fmt: skip


def test_json_is_read_as_text_bytes_or_object() -> None:
    text = orjson.dumps(FASTAPI_LIKE)
    assert read_document(text).root == read_document(text.decode()).root == read_document(FASTAPI_LIKE).root
    assert read_document(b"\xef\xbb\xbf" + text).version == "3.1"
    assert read_document("{openapi: 3.1.0, paths: {}}").version == "3.1"


def deep(levels: int) -> str:
    return '{"openapi":"3.0.0","paths":{},"x":' + "[" * levels + "]" * levels + "}"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no OpenAPI document"),
        ("hello", "no OpenAPI document"),
        ("[1]", "no OpenAPI document"),
        ("{}", "no openapi"),
        ('{"openapi": 3}', "no openapi"),
        ('{"swagger": "2.0"}', "Swagger 2.0"),
        ('{"openapi": "3.2.0"}', "3.0 or 3.1"),
        ('{"openapi": "4.0"}', "3.0 or 3.1"),
        ('{"openapi": "3.0.0", "paths": []}', "paths"),
        ('{"openapi": "3.0.0", "paths": {', "no JSON"),
        ('{"openapi": "3.0.0", "x": NaN', "no JSON"),
        ("openapi: 3.0.0\n\tpaths: {}", "no YAML"),
        ("openapi: 3.0.0\nx: \x01", "no YAML"),
        (b"openapi: 3.0.0\nx: \xff", "UTF-8"),
        ("openapi: 3.0.0\na: &a [x]\nb: *a", "alias"),
        ("openapi: 3.0.0\na: &a\n  <<: *a", "alias"),
        ("openapi: 3.0.0\n? [a]\n: b", "as a key"),
        ("[" * 100_000, "no JSON"),
        ("a: " + "[" * 100_000, "levels"),
        (deep(300), "200 levels"),
        (deep(2_000), "no JSON"),
        ("openapi: 3.0.0\nx: " + "[" * 300 + "]" * 300, "200 levels"),
        (" " * (MAX_JSON_BYTES + 1), "at most"),
        ("#" * (MAX_YAML_BYTES + 1), "as JSON"),
    ],
)
def test_what_is_no_document_is_refused_with_the_cause(text: str | bytes, words: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_document(text)
    assert words in caught.value.message
    assert caught.value.code == "openapi_invalid"
    assert caught.value.errors[0]["path"].startswith("openapi")


def test_yaml_tags_make_nothing_but_plain_values() -> None:
    root = read_document("openapi: 3.0.0\nx: !!python/object/apply:os.system [id]\ny: !!binary aGk=").root
    assert (root["x"], root["y"]) == (["id"], "aGk=")


def test_circular_object_is_refused() -> None:
    given = document()
    given["x"] = given
    with pytest.raises(InvalidInput, match="levels"):
        read_document(given)
