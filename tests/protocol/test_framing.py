"""HTTP around a message: methods, paths, headers, sizes, JSON. Each refusal says what is wrong and what to do."""

from __future__ import annotations

import http.client
import json
import re
import socket
from typing import Any

import pytest

from tests.protocol.requirements import requirement
from tests.protocol.wireclient import Endpoint

PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}


@requirement("http:post-only")
@pytest.mark.parametrize("method", ["GET", "DELETE", "PUT", "OPTIONS"])
def test_other_methods_get_405_with_allow(endpoint: Endpoint, method: str) -> None:
    answer = endpoint.send(None, method=method)
    assert answer.status == 405
    assert answer.headers["Allow"] == "GET, POST, DELETE"
    assert answer.error["data"]["code"] == "method_not_allowed"
    assert answer.json["id"] is None


@pytest.mark.parametrize("path", ["/mcp", "/mcp/", "/mcp/a/b/c", "/mcp//b", "/mcp/a/"])
def test_other_paths_get_404_that_says_where_mcp_is(endpoint: Endpoint, path: str) -> None:
    answer = endpoint.at(path).send(json.dumps(PING).encode())
    assert answer.status == 404
    assert "/mcp/<team>" in answer.error["message"]


@pytest.mark.parametrize(
    "path", ["/mcp/{team}%2Fdefault", "/%6dcp/{team}", "/mcp/{team}/%64efault", "/mcp/%00"]
)
def test_path_that_needs_decoding_is_nowhere(endpoint: Endpoint, path: str) -> None:
    team = endpoint.path.removeprefix("/mcp/")
    for key in (endpoint.key, None):
        answer = endpoint.at(path.replace("{team}", team)).with_key(key).legacy("ping")
        assert (answer.status, answer.error["data"]["code"]) == (404, "path_unknown")


@requirement("http:origin")
@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"Origin": "https://evil.example"}, "origin_not_allowed"),
        ({"Origin": "null"}, "origin_not_allowed"),
        ({"Host": "evil.example"}, "host_not_allowed"),
        ({"Host": "127.0.0.1:1"}, "host_not_allowed"),
        ({"Host": None}, "host_not_allowed"),
    ],
)
def test_foreign_host_or_origin_gets_403(endpoint: Endpoint, headers: Any, code: str) -> None:
    if headers == {"Host": None}:
        with socket.create_connection(("127.0.0.1", endpoint.port), timeout=10) as raw:
            raw.sendall(b"POST /mcp/x HTTP/1.0\r\nContent-Length: 0\r\n\r\n")
            reply = http.client.HTTPResponse(raw)
            reply.begin()
            assert reply.status == 403
            return
    answer = endpoint.legacy("ping", headers=headers)
    assert answer.status == 403
    assert answer.error["data"]["code"] == code
    assert "MARINA_ALLOWED_" in answer.error["message"]


def test_own_origin_is_let_through(endpoint: Endpoint) -> None:
    assert endpoint.legacy("ping", headers={"Origin": "https://app.example.com"}).status == 200


@pytest.mark.parametrize(
    "content_type", [None, "text/plain", "application/x-www-form-urlencoded", "application/jsonx"]
)
def test_wrong_content_type_gets_415(endpoint: Endpoint, content_type: str) -> None:
    answer = endpoint.legacy("ping", headers={"Content-Type": content_type})
    assert answer.status == 415
    assert "application/json" in answer.error["message"]


@pytest.mark.parametrize(
    ("accept", "status"),
    [
        ("application/json, text/event-stream", 200),
        ("application/json", 200),
        ("*/*", 200),
        ("application/*;q=0.5", 200),
        (None, 200),
        ("text/event-stream", 406),
        ("text/html", 406),
        ("application/json;q=0, text/html", 406),
    ],
)
def test_accept_must_leave_room_for_json(endpoint: Endpoint, accept: str, status: Any) -> None:
    assert endpoint.legacy("ping", headers={"Accept": accept}).status == status


def test_body_of_5_mb_gets_413_that_names_the_limit(endpoint: Endpoint) -> None:
    message = {**PING, "params": {"filler": "x" * 5_000_000}}
    answer = endpoint.send(json.dumps(message).encode())
    assert answer.status == 413
    assert answer.error["data"] == {"code": "body_too_large", "max_bytes": 4 * 1024 * 1024}


def test_body_of_5_mb_in_chunks_gets_413(endpoint: Endpoint) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", endpoint.port, timeout=30)
    try:
        connection.request(
            "POST",
            endpoint.path,
            iter([b'"' + b"x" * 1_000_000] * 5),
            {"Content-Type": "application/json", "Authorization": f"Bearer {endpoint.key}"},
            encode_chunked=True,
        )
        assert connection.getresponse().status == 413
    finally:
        connection.close()


@requirement("rpc:parse-error")
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"not json",
        b'{"jsonrpc":"2.0","id":1,"method":"ping","x":NaN}',
        b'{"jsonrpc":"2.0","id":1,"method":"ping","x":1e999}',
        b'{"jsonrpc":"2.0","id":1,"method":"ping","x":"\\ud800"}',
        b'{"jsonrpc":"2.0","id":1,"method":"ping","x":"\xff"}',
        b'{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/list"}',
        b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":{"b":1,"b":2}}}',
        b'{"jsonrpc":"2.0","id":1,"method":"ping","x":"\\u0000"}',
        b'{"jsonrpc":"2.0","id":1,"method":"ping","x":123456789012345678901234567890}',
        b'{"jsonrpc":"2.0","id":1,"method":"ping","x":' + b"[" * 300 + b"]" * 300 + b"}",
        b"[" * 200_000,
    ],
)
def test_body_without_one_meaning_is_a_parse_error(endpoint: Endpoint, body: Any) -> None:
    answer = endpoint.send(body)
    assert answer.status == 400
    assert answer.error["code"] == -32700
    assert answer.json["id"] is None


def test_white_space_and_key_order_do_not_matter(endpoint: Endpoint) -> None:
    assert endpoint.send(b' {"method" : "ping", "id" : 1,\n "jsonrpc": "2.0"} ').result == {}


@requirement("rpc:id")
@pytest.mark.parametrize("rpc_id", [0, -5, 2**53, "a", "", "\u00e9", '"'])
def test_id_is_echoed(endpoint: Endpoint, rpc_id: Any) -> None:
    answer = endpoint.legacy("ping", rpc_id=rpc_id)
    assert answer.json == {"jsonrpc": "2.0", "id": rpc_id, "result": {}}


@requirement("rpc:id")
@pytest.mark.parametrize(
    "message",
    [
        {**PING, "id": None},
        {**PING, "id": 1.5},
        {**PING, "id": True},
        {**PING, "id": [1]},
        {**PING, "jsonrpc": "1.0"},
        {"id": 1, "method": "ping"},
        {"jsonrpc": "2.0", "id": 1},
        {**PING, "method": 5},
        {**PING, "params": [1]},
        {**PING, "params": []},
        {**PING, "params": ""},
        {**PING, "params": 0},
        {**PING, "params": False},
        5,
        "ping",
        None,
    ],
)
def test_malformed_message_is_an_invalid_request(endpoint: Endpoint, message: Any) -> None:
    answer = endpoint.send(json.dumps(message).encode())
    assert (answer.status, answer.error["code"]) == (400, -32600)


def test_params_that_are_null_count_as_none(endpoint: Endpoint) -> None:
    assert endpoint.send(json.dumps({**PING, "params": None}).encode()).result == {}


def test_doubled_routing_header_is_refused(endpoint: Endpoint) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", endpoint.port, timeout=10)
    try:
        connection.putrequest("POST", endpoint.path)
        for name, value in (
            ("Content-Type", "application/json"),
            ("Mcp-Method", "tools/list"),
            ("Mcp-Method", "tools/call"),
            ("Content-Length", "2"),
        ):
            connection.putheader(name, value)
        connection.endheaders(b"{}")
        answer = connection.getresponse()
        assert answer.status == 400
        assert json.loads(answer.read())["error"]["code"] == -32020
    finally:
        connection.close()


def test_every_answer_carries_a_request_id(endpoint: Endpoint) -> None:
    answers = [
        endpoint.legacy("ping"),
        endpoint.send(b"{"),
        endpoint.send(None, method="GET"),
        endpoint.with_key(None).legacy("ping"),
        endpoint.legacy("ping", headers={"Origin": "https://evil.example"}),
    ]
    ids = [answer.headers["X-Request-ID"] for answer in answers]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[A-Za-z0-9._-]{8,64}", each) for each in ids)


def test_well_formed_request_id_of_a_proxy_is_kept_and_another_is_not(endpoint: Endpoint) -> None:
    assert (
        endpoint.legacy("ping", headers={"X-Request-ID": "proxy-12345678"}).headers["X-Request-ID"]
        == "proxy-12345678"
    )
    assert endpoint.legacy("ping", headers={"X-Request-ID": "a b"}).headers["X-Request-ID"] != "a b"


@requirement("http:no-session")
def test_session_is_not_needed_and_an_unknown_one_is_not_found(endpoint: Endpoint) -> None:
    assert endpoint.legacy("ping").status == 200
    answer = endpoint.legacy("ping", headers={"Mcp-Session-Id": "whatever"})
    assert (answer.status, answer.error["data"]["code"]) == (404, "session_unknown")
    # The modern era has no sessions: the header means nothing there.
    answer = endpoint.modern("server/discover", headers={"Mcp-Session-Id": "whatever"})
    assert answer.status == 200
    assert answer.headers["Mcp-Session-Id"] is None
