"""Requests made of definitions and arguments: where they go, whatever the arguments hold, and what they carry."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from email import message_from_bytes
from email.policy import HTTP
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import httpx2
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import InvalidInput
from servers.execution.backends.http.definitions import compile_http_tool
from servers.execution.backends.http.paths import BadAddress, read_base_url
from servers.execution.backends.http.requests import Prepared, build_request

BASE = "https://api.example.com/v1"
ITEM = {"method": "GET", "path": "/users/{id}/items", "parameters": {"id": {"type": "string"}}}

LEADING_OUT = [
    ".", "..", "../", "../..", "../admin", "a/../..", "a/../../b", "/..", "/../x", "..;", "..;/", "..;x=1/admin",
    "%2e", "%2e%2e", "%2E%2E", "%2e%2e/", "%2e%2e%2f", "..%2f", "..%2F..%2Fadmin", ".%2e", "%2e.", "%252e%252e",
    "%252e%252e%252f", "%25252e%25252e", "..%5c", "..\\", "..\\..\\x", "a\\..\\..", "%2e%2e%5c", "\\..", ".\\",
    "a/./b", "./", "a/.", "\r\nX-Evil: 1", "a\rb", "a\nb", "%0d%0aSet-Cookie: a=b", "%0a", "%00", "a\x00", "\x00",
    "\x1b[2J", "\x7f", "\x85", "%250d%250a", "%2500", " ..", ".. ", "..%20", "x/..;/y", "%2f..%2f", "%2e%2e;/",
    "\t", "a/..", "%5c..%5c", "%25252525252e",
]  # fmt: skip
"""Values that some reader of the address could take for a way up, out, or into a header."""

STAYING = [
    "//evil.example", "/evil", "https://evil.example/", "//evil.example/..x", "@evil.example", "user:pw@evil.example",
    "?admin=1", "#fragment", "a?b#c", "a&b=c", "a;b=1", ":8080", ":@", "evil.example:443", "\\\\evil.example",
    "\\evil", "a b", "a%20b", "%", "%zz", "100%", "%2f", "%2Fetc%2Fpasswd", "%3f", "%23", "%40evil", "...", "..a",
    "a..b", "\u2026", "\u2025", "\uff0e\uff0e", "\uff0fetc",
    "\uff45vil", "é", "日本", "\u202egnp", "\ud83d\ude00",
    "{id}", "{base}", "${x}",
    "<script>", '"', "'", "|", "^", "`", "~", "*", "$(id)", "a" * 2_000, "http:", "javascript:alert(1)", "1/2",
]  # fmt: skip
"""Values that look as if they led elsewhere, and are sent as part of their own segment."""


def built(definition: Mapping[str, Any], base: str = BASE, **arguments: Any) -> Prepared:
    compile_http_tool(definition)
    return build_request(definition, arguments, base)


def assert_below_base(url: str, base: str = BASE) -> None:
    """As Python, and as the client that sends it, read the address: its host, below its path, nothing walked up."""
    expected = urlsplit(base)
    read = urlsplit(url)
    client = httpx2.URL(url)
    assert (read.scheme, read.netloc, read.fragment) == (expected.scheme, expected.netloc, "")
    assert client.host == expected.hostname
    assert client.raw_path.decode().startswith(f"{expected.path}/users/")
    assert client.raw_path.decode().partition("?")[0] == read.path
    assert read.path.startswith(f"{expected.path}/users/")
    assert read.path.count("/") == expected.path.count("/") + 3
    assert url.isascii()
    assert url.isprintable()


@pytest.mark.parametrize("value", LEADING_OUT)
def test_value_that_leads_out_of_its_segment_is_refused(value: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        built(ITEM, id=value)
    assert caught.value.errors[0]["path"] == "id"
    assert value not in caught.value.message or len(value) < 4


@pytest.mark.parametrize(
    "value", [text.encode("utf-16", "surrogatepass").decode("utf-16") for text in STAYING]
)
def test_value_stays_in_its_segment(value: str) -> None:
    url = built(ITEM, id=value).url
    assert_below_base(url)
    assert unquote(urlsplit(url).path.split("/")[3]) == value


@pytest.mark.parametrize("value", [*LEADING_OUT, *(text for text in STAYING if "\ud83d" not in text)])
@pytest.mark.parametrize("where", ["query", "cookie"])
def test_value_in_query_or_cookie_changes_no_place(where: str, value: str) -> None:
    definition = {
        "method": "GET",
        "path": "/users/1/items",
        "parameters": {"q": {"in": where, "type": "string"}},
    }
    prepared = built(definition, q=value)
    assert_below_base(prepared.url)
    if where == "query":
        assert parse_qsl(urlsplit(prepared.url).query, keep_blank_values=True) == [("q", value)]
    else:
        ((name, cookie),) = prepared.headers
        assert name == "Cookie"
        assert unquote(cookie.removeprefix("q=")) == value
        assert cookie.isprintable()
        assert ";" not in cookie


@given(value=st.text(max_size=40), other=st.text(max_size=40))
def test_no_text_leads_elsewhere(value: str, other: str) -> None:
    definition = {
        "method": "GET",
        "path": "/users/{a}{b}/items",
        "parameters": {"a": {"type": "string"}, "b": {"type": "string"}, "q": {"type": "string"}},
    }
    try:
        url = build_request(definition, {"a": value, "b": other, "q": value}, BASE).url
    except InvalidInput:
        return
    assert_below_base(url)


def test_dots_put_together_of_two_arguments_are_refused() -> None:
    definition = {"method": "GET", "path": "/u/{a}{b}", "parameters": {"a": {}, "b": {}}}
    with pytest.raises(InvalidInput, match="elsewhere"):
        built(definition, a="%2", b="e.")


@pytest.mark.parametrize("value", ["", None, [], {}])
def test_empty_segment_is_refused(value: Any) -> None:
    with pytest.raises(InvalidInput) as caught:
        built(ITEM, id=value)
    assert caught.value.errors[0]["path"] == "id"


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\nb", "\x00", "é", "日本", "x" * 9_000])
def test_value_that_cannot_be_a_header_is_refused(value: str) -> None:
    definition = {"method": "GET", "path": "/a", "parameters": {"X-A": {"in": "header", "type": "string"}}}
    with pytest.raises(InvalidInput) as caught:
        built(definition, **{"X-A": value})
    assert caught.value.errors[0]["path"] == "X-A"


@pytest.mark.parametrize("where", ["path", "query", "cookie", "header", "body"])
def test_lone_surrogate_is_refused(where: str) -> None:
    definition: dict[str, Any] = {"method": "POST", "path": "/a", "parameters": {"x": {"in": where}}}
    if where == "path":
        definition["path"] = "/{x}"
    if where == "body":
        definition["body"] = {"kind": "json"}
    with pytest.raises(InvalidInput):
        built(definition, x="\ud800")


ARRAY = ["blue", "black,x", "brown"]
OBJECT = {"R": 100, "G": 200}


@pytest.mark.parametrize(
    ("where", "style", "explode", "value", "expected"),
    [
        ("path", None, None, 5, "/5"),
        ("path", None, None, True, "/true"),
        ("path", "simple", False, ARRAY, "/blue,black%2Cx,brown"),
        ("path", "simple", False, OBJECT, "/R,100,G,200"),
        ("path", "simple", True, OBJECT, "/R=100,G=200"),
        ("path", "label", False, "a", "/.a"),
        ("path", "label", False, ARRAY, "/.blue,black%2Cx,brown"),
        ("path", "label", True, ARRAY, "/.blue.black%2Cx.brown"),
        ("path", "matrix", False, "a", "/;c=a"),
        ("path", "matrix", False, ARRAY, "/;c=blue,black%2Cx,brown"),
        ("path", "matrix", True, ARRAY, "/;c=blue;c=black%2Cx;c=brown"),
        ("path", "matrix", True, OBJECT, "/;R=100;G=200"),
        ("path", "json", None, OBJECT, "/%7B%22R%22%3A100%2C%22G%22%3A200%7D"),
        ("query", None, None, "a b&c=d", "?c=a%20b%26c%3Dd"),
        ("query", None, None, "", "?c="),
        ("query", None, None, 1.5, "?c=1.5"),
        ("query", "form", True, ARRAY, "?c=blue&c=black%2Cx&c=brown"),
        ("query", "form", False, ARRAY, "?c=blue,black%2Cx,brown"),
        ("query", "form", True, OBJECT, "?R=100&G=200"),
        ("query", "form", False, OBJECT, "?c=R,100,G,200"),
        ("query", "form", True, [], ""),
        ("query", "form", False, [], ""),
        ("query", "spaceDelimited", False, ARRAY, "?c=blue%20black%2Cx%20brown"),
        ("query", "pipeDelimited", False, ARRAY, "?c=blue%7Cblack%2Cx%7Cbrown"),
        ("query", "deepObject", True, OBJECT, "?c%5BR%5D=100&c%5BG%5D=200"),
        ("query", "deepObject", True, {"a": {"b": [1]}}, "?c%5Ba%5D%5Bb%5D%5B0%5D=1"),
        ("query", "json", None, {"a": "b c"}, "?c=%7B%22a%22%3A%22b%20c%22%7D"),
        ("header", None, None, ARRAY[:1], "blue"),
        ("header", "simple", False, OBJECT, "R,100,G,200"),
        ("header", "simple", True, OBJECT, "R=100,G=200"),
        ("cookie", None, None, "a;b", "c=a%3Bb"),
        ("cookie", "form", False, [1, 2], "c=1,2"),
    ],
)
def test_values_are_written_in_their_style(
    where: str, style: str | None, explode: bool | None, value: Any, expected: str
) -> None:
    spec = {"in": where}
    spec |= {} if style is None else {"style": style}
    definition = {
        "method": "GET",
        "path": "/{c}" if where == "path" else "/",
        "parameters": {"c": spec if explode is None else {**spec, "explode": explode}},
    }
    prepared = built(definition, "https://h", c=value)
    found = prepared.url.removeprefix("https://h")
    assert (
        found.removeprefix("/" if where == "query" else "") == expected
        if where in ("path", "query")
        else (prepared.headers[0][1] == expected)
    )


def test_reserved_characters_stay_where_the_definition_says_so_but_part_nothing() -> None:
    definition = {"method": "GET", "path": "/a", "parameters": {"q": {"reserved": True}}}
    assert built(definition, "https://h", q="a/b:c&d=e#f+g").url == "https://h/a?q=a/b:c%26d%3De%23f%2Bg"


def test_what_is_not_given_is_left_out_or_its_default() -> None:
    definition = {
        "method": "GET",
        "path": "/a",
        "query": {"format": "json"},
        "headers": {"X-Fixed": "1"},
        "parameters": {
            "a": {"type": "string", "required": False},
            "b": {"type": ["string", "null"], "required": False},
            "units": {"type": "string", "default": "metric"},
        },
    }
    prepared = built(definition, "https://h", b=None)
    assert prepared.url == "https://h/a?format=json&units=metric"
    assert (prepared.headers, prepared.body) == ((("X-Fixed", "1"),), None)


def body_of(body: dict[str, Any], value: Any, **more: Any) -> Prepared:
    return built({"method": "POST", "path": "/a", "body": body, **more}, body=value)


def test_json_body() -> None:
    prepared = body_of({"kind": "json"}, {"a": [1, None, "é"]})
    assert orjson.loads(prepared.body or b"") == {"a": [1, None, "é"]}
    assert prepared.headers == (("Content-Type", "application/json"),)
    assert body_of({"kind": "json", "media_type": "application/merge-patch+json"}, None).body == b"null"


def test_form_body() -> None:
    fields = {"c": {"style": "deepObject", "explode": True}, "d": {"explode": False}}
    prepared = body_of(
        {"kind": "form", "fields": fields},
        {"a": "x y&z", "b": [1, 2], "c": {"k": {"m": 1}}, "d": ["p", "q"], "e": None, "f": {"o": 1}},
    )
    assert prepared.body == b"a=x%20y%26z&b=1&b=2&c%5Bk%5D%5Bm%5D=1&d=p,q&f=%7B%22o%22%3A1%7D"
    assert prepared.headers == (("Content-Type", "application/x-www-form-urlencoded"),)


def test_multipart_body_is_read_back_as_it_was_given() -> None:
    name = 'n"\r\nX: y'
    prepared = body_of(
        {"kind": "multipart", "fields": {"meta": {"media_type": "application/json"}}},
        {
            "title": "té",
            "meta": {"a": 1},
            "tags": ["x", "y"],
            "file": {
                "base64": b64encode(b"\x00\r\n--x").decode(),
                "filename": name,
                "media_type": "image/png",
            },
            "text": {"text": "plain"},
            "none": None,
        },
    )
    ((_, media_type),) = prepared.headers
    message = message_from_bytes(
        b"Content-Type: " + media_type.encode() + b"\r\n\r\n" + (prepared.body or b""), policy=HTTP
    )
    parts = [
        (
            part.get_param("name", header="content-disposition"),
            part.get_filename(),
            part.get_content_type(),
            part.get_payload(decode=True),
        )
        for part in message.iter_parts()
    ]
    assert parts == [
        ("title", None, "text/plain", "té".encode()),
        ("meta", None, "application/json", b'{"a":1}'),
        ("tags", None, "text/plain", b"x"),
        ("tags", None, "text/plain", b"y"),
        ("file", "n%22%0D%0AX: y", "image/png", b"\x00\r\n--x"),
        ("text", "file", "application/octet-stream", b"plain"),
    ]


def test_text_and_binary_bodies() -> None:
    assert body_of({"kind": "text"}, "té").body == "té".encode()
    prepared = body_of({"kind": "binary", "media_type": "image/png"}, b64encode(b"\x89PNG").decode())
    assert (prepared.body, prepared.headers) == (b"\x89PNG", (("Content-Type", "image/png"),))


def test_body_made_of_parameters() -> None:
    definition = {
        "method": "POST",
        "path": "/a",
        "body": {"kind": "json"},
        "parameters": {"first": {"in": "body", "name": "first-name"}, "b": {"in": "body", "required": False}},
    }
    assert built(definition, first="x").body == b'{"first-name":"x"}'


def test_body_that_is_not_required_may_be_left_out() -> None:
    definition = {"method": "DELETE", "path": "/a", "body": {"kind": "json", "required": False}}
    prepared = built(definition)
    assert (prepared.body, prepared.headers) == (None, ())
    with pytest.raises(InvalidInput, match="required"):
        built({**definition, "body": {"kind": "json"}})


@pytest.mark.parametrize(
    ("body", "value"),
    [
        ({"kind": "text"}, 3),
        ({"kind": "binary"}, "no base64!"),
        ({"kind": "form"}, [1]),
        ({"kind": "multipart"}, "x"),
        ({"kind": "multipart"}, {"f": {"base64": "%%"}}),
        ({"kind": "multipart"}, {"f": {"text": "x", "media_type": "a\r\nX: y"}}),
        ({"kind": "json"}, 2**70),
        ({"kind": "text"}, "x" * (16 * 1024 * 1024 + 1)),
    ],
)
def test_value_that_is_no_such_body_is_refused(body: dict[str, Any], value: Any) -> None:
    with pytest.raises(InvalidInput):
        body_of(body, value)


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("https://API.example.com/v1/", "https://api.example.com/v1"),
        (" http://127.0.0.1:8080 ", "http://127.0.0.1:8080"),
        ("https://[2001:db8::1]/a", "https://[2001:db8::1]/a"),
        ("https://h/a%20b", "https://h/a%20b"),
    ],
)
def test_base_address_is_read(given: str, read: str) -> None:
    assert read_base_url(given) == read


@pytest.mark.parametrize(
    "text",
    [
        None, 3, "", "h", "/v1", "//h/v1", "ftp://h", "file:///etc/passwd", "javascript:alert(1)", "https://",
        "https://u:p@h/", "https://u@h", "https://h?x=1", "https://h#x", "https://h/a/../b", "https://h/%2e%2e/b",
        "https://h/a//b", "https://h\\@evil/", "https://h/a\\b", "https://h\r\nX: y/", "https://h/a b", "https://h:0",
        "https://h:99999", "https://h:x", "https://h/{v}", "https://éxample.com", "https://h\x00", "https://h/%00",
        "https://" + "a" * 3000, "https://[::1", "https://a_b..c/", "https://h/%2f",
    ],
)  # fmt: skip
def test_what_is_no_base_address_is_refused(text: Any) -> None:
    with pytest.raises(BadAddress):
        read_base_url(text)
