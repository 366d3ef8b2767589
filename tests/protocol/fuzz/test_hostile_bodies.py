"""Bodies made to hurt: nested without end, of two meanings, with characters that others choke on, and too large."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from servers.endpoint.context import MAX_TOKEN_CHARACTERS
from servers.endpoint.eras import MAX_ID_CHARACTERS
from servers.endpoint.handlers.lifecycle import MAX_CAPABILITIES_BYTES
from tests.protocol.fuzz.judge import Secrets, check
from tests.protocol.fuzz.wire import Answer, Request, Target, modern_message

DEEP = 200_000
HOLE = '"@"'
ERAS = ("modern", "legacy")
CALL = {"name": "test_simple_text", "arguments": {"a": "@"}}


def post(target: Target, request: Request) -> Answer:
    with target.connect() as connection:
        answer = connection.post(target, request)
    check(request, answer, Secrets(target.key))
    return answer


def holed(target: Target, era: str, place: str) -> tuple[Request, str]:
    """A good call whose text has a hole at a place, and the headers for it."""
    params: dict[str, Any] = {**CALL, "arguments": {}}
    if place == "arguments":
        params["arguments"] = {"a": "@"}
    message: dict[str, Any] = {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params}
    request = target.legacy("tools/call", params)
    if era == "modern":
        message = modern_message("tools/call", params)
        request = target.modern("tools/call", params)
    if place == "_meta":
        message["params"].setdefault("_meta", {})["x"] = "@"
    elif place == "params":
        message["params"]["x"] = "@"
    elif place == "message":
        message["x"] = "@"
    elif place == "id":
        message["id"] = "@"
    return request, json.dumps(message)


def filled(target: Target, era: str, place: str, text: str | bytes) -> Request:
    request, body = holed(target, era, place)
    assert HOLE in body
    value = text if isinstance(text, bytes) else text.encode()
    return replace(request, body=body.encode().replace(HOLE.encode(), value))


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("place", ["message", "params", "arguments", "_meta", "id"])
@pytest.mark.parametrize(
    "text",
    [
        "[" * DEEP + "]" * DEEP,
        '{"a":' * DEEP + "1" + "}" * DEEP,
        "[" * DEEP,
        '{"a":' * DEEP,
        '[{"a":' * 300 + "1" + "}]" * 300,
        "NaN",
        "Infinity",
        "-Infinity",
        "1e999",
        "-1e999",
        "1" * 5_000,
        "-9223372036854775809",
        "18446744073709551616",
        '{"a":1,"a":1}',
        '{"a":1,"\\u0061":2}',
        '[[{"b":{"a":1,"c":2,"a":1}}]]',
        '"\\ud800"',
        '"\\udc00\\ud800"',
        '{"\\ud800":1}',
        '"\\u0000"',
        '{"a\\u0000":1}',
        b'"\x00"',
        b'"\xff"',
        b'"\xed\xa0\x80"',
        b'"\xc0\x80"',
        "'a'",
        "01",
        "+1",
        "0x1",
        "[1,]",
        "/**/1",
        "\ufeff1",
    ],
    ids=range(32),
)
def test_what_has_no_one_meaning_is_a_parse_error_wherever_it_stands(
    target: Target, era: str, place: str, text: str | bytes
) -> None:
    answer = post(target, filled(target, era, place, text))
    assert (answer.status, answer.error["code"], answer.json["id"]) == (400, -32700, None)
    assert len(answer.error["message"]) < 300


@pytest.mark.parametrize("name", ["jsonrpc", "id", "method", "params"])
@pytest.mark.parametrize("era", ERAS)
def test_doubled_members_of_the_message_are_refused_even_when_equal(
    target: Target, era: str, name: str
) -> None:
    request, body = holed(target, era, "params")
    value = json.dumps(json.loads(body)[name])
    doubled = body[:-1] + f', "{name}": {value}}}'
    assert post(target, replace(request, body=doubled.encode())).error["code"] == -32700


@pytest.mark.parametrize(
    "body",
    [b"\xef\xbb\xbf{}", "{}".encode("utf-16"), "{}".encode("utf-32"), b"\x00", b"\x1f\x8b\x08\x00" * 20],
)
def test_other_encodings_are_parse_errors(target: Target, body: bytes) -> None:
    assert post(target, Request(body, target.basic())).error["code"] == -32700


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("tools/call", {"name": "x" * 1_000_000}),
        ("resources/read", {"uri": "test://" + "x" * 1_000_000}),
        ("resources/read", {"uri": "test://template/" + "%2e" * 300_000 + "/data"}),
        ("prompts/get", {"name": "x" * 1_000_000}),
        ("tools/list", {"cursor": "x" * 1_000_000}),
        ("prompts/list", {"cursor": "%" * 1_000_000}),
        (
            "completion/complete",
            {"ref": {"type": "ref/prompt", "name": "x" * 100_000}, "argument": {"name": "a", "value": "b"}},
        ),
        ("x" * 1_000_000, {}),
        ("tools/list", {"_meta": {"progressToken": "x" * (MAX_TOKEN_CHARACTERS + 1)}}),
    ],
    ids=range(9),
)
def test_oversized_texts_are_refused_in_few_words(
    target: Target, era: str, method: str, params: dict[str, Any]
) -> None:
    request = target.legacy(method, params)
    if era == "modern":
        meta = params.get("_meta", {})
        request = target.modern(method, params, **meta)
        # A header cannot hold it; the body decides alone only where there is no header to compare.
        request = request.but(mcp_name=None, mcp_method=method[:3_000])
    answer = post(target, request)
    assert answer.status in {200, 400, 404}
    assert len(answer.error["message"]) < 1_000


@pytest.mark.parametrize("era", ERAS)
def test_id_beyond_its_bound_is_no_id(target: Target, era: str) -> None:
    request, body = holed(target, era, "id")
    long = body.replace(HOLE, json.dumps("i" * (MAX_ID_CHARACTERS + 1)))
    answer = post(target, replace(request, body=long.encode()))
    assert (answer.status, answer.error["code"], answer.json["id"]) == (400, -32600, None)
    fits = body.replace(HOLE, json.dumps("i" * MAX_ID_CHARACTERS))
    assert post(target, replace(request, body=fits.encode())).json["result"]


def test_capabilities_beyond_their_bound_begin_no_session(target: Target) -> None:
    params = {
        "protocolVersion": "2025-11-25",
        "capabilities": {"experimental": {"x": "x" * MAX_CAPABILITIES_BYTES}},
        "clientInfo": {"name": "n" * 1_000_000, "version": "v" * 1_000_000},
    }
    answer = post(target, target.legacy("initialize", params))
    assert (answer.error["code"], answer.headers["Mcp-Session-Id"]) == (-32602, None)
    answer = post(target, target.legacy("initialize", {**params, "capabilities": {}}))
    assert answer.headers["Mcp-Session-Id"]


def test_more_subscriptions_than_there_may_be_are_refused(target: Target) -> None:
    uris = [f"test://{number}" for number in range(1_001)]
    request = target.modern("subscriptions/listen", {"notifications": {"resourceSubscriptions": uris}})
    answer = post(target, request.but(accept="application/json, text/event-stream"))
    assert answer.error["code"] == -32602


def test_batch_of_many_is_refused_whole(target: Target) -> None:
    ping = {"jsonrpc": "2.0", "id": 7, "method": "ping"}
    request = target.legacy("ping", version="2025-03-26")
    answer = post(target, replace(request, body=json.dumps([ping] * 50_000).encode()))
    assert (answer.status, answer.error["data"]["code"]) == (400, "batch_size")
    nested = replace(request, body=json.dumps([[ping]]).encode())
    assert post(target, nested).json[0]["error"]["code"] == -32600
