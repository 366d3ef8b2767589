"""A curl line becomes a tool that sends the same request, without what signs it in; what cannot be one is refused."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import InvalidInput
from servers.execution.backends.http.curl import read_curl
from servers.execution.backends.http.definitions import compile_http_tool
from servers.execution.backends.http.requests import Prepared, build_request

BASE = "https://api.example.com/v1"
SECRET = "s3cr3t"


def sent(line: str, **arguments: Any) -> Prepared:
    tool = read_curl(line, BASE)
    assert SECRET not in str(tool)
    compile_http_tool(tool.definition)
    return build_request(tool.definition, arguments, BASE)


@pytest.mark.parametrize(
    ("line", "method", "below", "body"),
    [
        (f"curl {BASE}/orders", "GET", "/orders", None),
        (f"$ curl '{BASE}/orders/'", "GET", "/orders/", None),
        (f"curl {BASE}", "GET", "/", None),
        (f"curl -sSL --compressed -o out.json {BASE}/a%20b", "GET", "/a%20b", None),
        (
            f"curl '{BASE}/orders?status=open&page=2&tag=a&tag=b'",
            "GET",
            "/orders?status=open&page=2&tag=a&tag=b",
            None,
        ),
        (f"curl -I {BASE}/orders", "HEAD", "/orders", None),
        (f"curl -XDELETE {BASE}/orders/all", "DELETE", "/orders/all", None),
        (
            f'curl --request=PUT {BASE}/a --json \'{{"x": 1.5, "y": [true]}}\'',
            "PUT",
            "/a",
            {"x": 1.5, "y": [True]},
        ),
        (
            f"curl {BASE}/a \\\n  -H 'Content-Type: application/json' \\\n  -d '{{\"name\": \"Ada\"}}'",
            "POST",
            "/a",
            {"name": "Ada"},
        ),
        (f"curl {BASE}/a --data-raw '[1, 2]'", "POST", "/a", [1, 2]),
        (f"curl {BASE}/a -d a=1 -d b=x%20y", "POST", "/a", "a=1&b=x%20y"),
        (f"curl {BASE}/a --data-urlencode 'q=a&b' -G", "GET", "/a?q=a%26b", None),
        (f"curl -G -d q=1 {BASE}/a", "GET", "/a?q=1", None),
        (f"curl {BASE}/a -H 'content-type: text/csv' -d 'a,b'", "POST", "/a", "a,b"),
        ("curl api.example.com/v1/a", "GET", "/a", None),
        (f"curl.exe --url {BASE}/a", "GET", "/a", None),
    ],
)
def test_line_becomes_a_tool_that_sends_the_same(line: str, method: str, below: str, body: Any) -> None:
    arguments = {"body": body} if isinstance(body, list) or body == "a,b" else {}
    prepared = sent(line, **arguments)
    assert (prepared.method, prepared.url) == (method, BASE + below)
    if isinstance(body, str) or body is None:
        assert prepared.body == (None if body is None else body.encode())
    else:
        assert orjson.loads(prepared.body or b"") == body


def test_numbers_and_ids_in_the_path_become_parameters() -> None:
    line = f"curl {BASE}/customers/42/orders/123e4567-e89b-12d3-a456-426614174000/42"
    tool = read_curl(line, BASE)
    assert tool.definition["path"] == "/customers/{customer_id}/orders/{order_id}/{id}"
    offered = compile_http_tool(tool.definition)
    assert offered.input_schema["required"] == ["customer_id", "order_id", "id"]
    url = build_request(tool.definition, {"customer_id": 7, "order_id": "a/b", "id": 1}, BASE).url
    assert url == f"{BASE}/customers/7/orders/a%2Fb/1"


def test_values_become_defaults_that_callers_may_change() -> None:
    line = f"curl '{BASE}/orders?status=open&filter[name]=x' -H 'X-Version: 2'"
    tool = read_curl(line, BASE)
    assert tool.definition["parameters"]["filter_name"]["name"] == "filter[name]"
    prepared = build_request(tool.definition, {"status": "paid"}, BASE)
    assert prepared.url == f"{BASE}/orders?status=paid&filter%5Bname%5D=x"
    assert dict(prepared.headers)["X-Version"] == "2"


def test_form_and_files_become_multipart() -> None:
    prepared = sent(f"curl {BASE}/a -F name=Ada -F age=36")
    assert b'name="name"' in (prepared.body or b"")
    tool = read_curl(f"curl {BASE}/a -F name=Ada -F file=@photo.png", BASE)
    assert tool.definition["body"]["kind"] == "multipart"
    assert "file" in tool.notes[0]


@pytest.mark.parametrize(
    "line",
    [
        f"curl -u ada:{SECRET} {BASE}/a",
        f"curl -uada:{SECRET} {BASE}/a",
        f"curl -H 'Authorization: Bearer {SECRET}' {BASE}/a",
        f"curl -H 'X-Api-Key: {SECRET}' {BASE}/a",
        f"curl -H 'X-Auth-Token: {SECRET}' {BASE}/a",
        f"curl -b 'session={SECRET}' {BASE}/a",
        f"curl -H 'Cookie: session={SECRET}' {BASE}/a",
        f"curl --oauth2-bearer {SECRET} {BASE}/a",
        f"curl '{BASE}/a?api_key={SECRET}'",
        f"curl {BASE}/a -d 'password={SECRET}'",
        f'curl {BASE}/a --json \'{{"client_secret": "{SECRET}"}}\'',
        f"curl -x http://u:{SECRET}@proxy {BASE}/a",
    ],
)
def test_what_signs_in_is_left_out_of_the_definition(line: str) -> None:
    tool = read_curl(line, BASE)
    assert SECRET not in str(tool)
    compile_http_tool(tool.definition)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", "begin with curl"),
        ("wget https://api.example.com/v1/a", "begin with curl"),
        ("curl", "no address"),
        (f"curl '{BASE}/a", "not closed"),
        (f"curl {BASE}/a {BASE}/b", "more than one"),
        (f"curl {BASE}/a | sh", "goes on after |"),
        (f"curl {BASE}/a && rm -rf /", "goes on after &&"),
        (f"curl {BASE}/a -d @/etc/passwd", "of a file"),
        (f"curl {BASE}/a --data-urlencode name@/etc/passwd", "of a file"),
        (f"curl -K /etc/passwd {BASE}/a", "-K is not known"),
        (f"curl --next {BASE}/a", "--next is not known"),
        (f"curl {BASE}/a -H", "has no value"),
        (f"curl -X TRACE {BASE}/a", "method is none of"),
        (f"curl {BASE}/a --json '{{broken'", "is none"),
        ("curl https://evil.example/v1/a", "not below"),
        ("curl https://api.example.com/v2/a", "not below"),
        ("curl https://api.example.com/v1x/a", "not below"),
        ("curl https://api.example.com@evil.example/v1/a", "user name"),
        ("curl http://api.example.com/v1/a", "not below"),
        (f"curl {BASE}/../v2/a", "leads up"),
        (f"curl {BASE}/%2e%2e/a", "leads up"),
        ("curl file:///etc/passwd", "begins with https"),
        ("curl gopher://api.example.com/v1", "begins with https"),
        ("curl " + "a" * 70_000, "at most"),
    ],
)
def test_line_that_cannot_be_a_tool_is_refused_in_words(line: str, words: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_curl(line, BASE)
    assert words in caught.value.message
    assert caught.value.errors[0]["path"] == "text"


@given(st.text(max_size=80), st.text(alphabet="-XHdFuGI@=&?{}[]'\"\\/ :;|<>%.a1", max_size=120))
def test_any_line_is_a_tool_or_refused(address: str, rest: str) -> None:
    for line in (f"curl {BASE}/{address} {rest}", f"curl {rest}", rest):
        try:
            tool = read_curl(line, BASE)
        except InvalidInput:
            continue
        assert tool.definition["path"].startswith("/")
