"""The revisions with a handshake, 2024-11-05 to 2025-11-25, served without a session."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.protocol.requirements import requirement
from tests.protocol.wireclient import Endpoint

HELLO = {"capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}


@requirement("legacy:negotiate")
@pytest.mark.parametrize("wanted", ["2026-07-28", "1999-01-01", "zzz"])
def test_unserved_version_is_answered_with_our_latest(endpoint: Endpoint, wanted: str) -> None:
    answer = endpoint.legacy("initialize", {"protocolVersion": wanted, **HELLO}, version=None)
    assert answer.result["protocolVersion"] == "2025-11-25"
    assert answer.result["capabilities"] == {"tools": {"listChanged": True}, "logging": {}}
    assert answer.result["serverInfo"]["name"] == "marina"


@pytest.mark.parametrize(
    ("params", "named"),
    [
        (HELLO, "protocolVersion"),
        ({"protocolVersion": 5, **HELLO}, "protocolVersion"),
        ({"protocolVersion": "2025-11-25", "clientInfo": {}}, "capabilities"),
        ({"protocolVersion": "2025-11-25", "capabilities": {}}, "clientInfo"),
    ],
)
def test_incomplete_initialize_names_what_is_missing(endpoint: Endpoint, params: Any, named: str) -> None:
    answer = endpoint.legacy("initialize", params, version=None)
    assert answer.error["code"] == -32602
    assert named in answer.error["message"]


@requirement("legacy:header")
@pytest.mark.parametrize("version", ["1999-01-01", "latest", ""])
def test_unsupported_version_header_gets_400(endpoint: Endpoint, version: str) -> None:
    answer = endpoint.legacy("tools/list", version=version)
    assert answer.status == 400
    assert answer.error["code"] == -32022


@requirement("legacy:no-header")
def test_missing_version_header_counts_as_2025_03_26(endpoint: Endpoint) -> None:
    tools = endpoint.legacy("tools/list", version=None).result["tools"]
    echo = next(tool for tool in tools if tool["name"] == "echo")
    assert "outputSchema" not in echo
    assert "title" not in echo
    assert echo["annotations"] == {"readOnlyHint": True, "title": "Echo"}
    result = endpoint.legacy("tools/call", {"name": "echo", "arguments": {"text": "x"}}, version=None).result
    assert "structuredContent" not in result


@pytest.mark.parametrize("version", ["2025-11-25", "2025-06-18"])
def test_later_legacy_versions_have_titles_and_structured_content(endpoint: Endpoint, version: str) -> None:
    result = endpoint.legacy("tools/list", version=version).result
    assert set(result) == {"tools"}
    assert next(tool for tool in result["tools"] if tool["name"] == "echo")["title"] == "Echo"
    called = endpoint.legacy(
        "tools/call", {"name": "echo", "arguments": {"text": "x"}}, version=version
    ).result
    assert called == {
        "structuredContent": {"echo": {"text": "x"}},
        "content": [{"type": "text", "text": "x"}],
        "isError": False,
    }


@requirement("legacy:ping")
def test_ping_is_answered(endpoint: Endpoint) -> None:
    assert endpoint.legacy("ping").result == {}


@requirement("http:notification-202")
@pytest.mark.parametrize(
    "message",
    [
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 5}},
        {"jsonrpc": "2.0", "id": 5, "result": {}},
        {"jsonrpc": "2.0", "id": 5, "error": {"code": 1, "message": "no"}},
    ],
)
def test_notification_and_response_get_202(endpoint: Endpoint, message: Any) -> None:
    answer = endpoint.send(json.dumps(message).encode(), {"MCP-Protocol-Version": "2025-11-25"})
    assert (answer.status, answer.body) == (202, b"")


@pytest.mark.parametrize("method", ["nonsense", "server/discover", "subscriptions/listen"])
def test_unknown_method_is_a_protocol_error(endpoint: Endpoint, method: str) -> None:
    answer = endpoint.legacy(method)
    assert (answer.status, answer.error["code"]) == (200, -32601)
    assert "initialize" in answer.error["message"]


@requirement("legacy:batch", "legacy:batch-initialize")
def test_batch_is_answered_with_a_batch(endpoint: Endpoint) -> None:
    batch = [
        {"jsonrpc": "2.0", "id": 1, "method": "ping"},
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "id": 2, "method": "nonsense"},
        {"jsonrpc": "2.0", "id": 3, "method": "initialize", "params": {}},
        7,
        {
            "jsonrpc": "2.0",
            "id": 4,
            "method": "tools/call",
            "params": {"name": "echo", "arguments": {"text": "x"}},
        },
    ]
    answer = endpoint.send(json.dumps(batch).encode())
    assert answer.status == 200
    found = [(each["id"], each.get("error", {}).get("code")) for each in answer.json]
    assert found == [(1, None), (2, -32601), (3, -32600), (None, -32600), (4, None)]


def test_batch_of_notifications_gets_202(endpoint: Endpoint) -> None:
    batch = [{"jsonrpc": "2.0", "method": "notifications/initialized"}]
    assert endpoint.send(json.dumps(batch).encode(), {"MCP-Protocol-Version": "2025-03-26"}).status == 202


@requirement("legacy:no-batch")
@pytest.mark.parametrize("version", ["2025-11-25", "2025-06-18", "2024-11-05"])
def test_batch_elsewhere_is_refused(endpoint: Endpoint, version: str) -> None:
    answer = endpoint.send(b'[{"jsonrpc":"2.0","id":1,"method":"ping"}]', {"MCP-Protocol-Version": version})
    assert (answer.status, answer.error["code"]) == (400, -32600)
    assert "request of its own" in answer.error["message"]


@pytest.mark.parametrize("length", [0, 51])
def test_batch_is_bounded(endpoint: Endpoint, length: Any) -> None:
    batch = [{"jsonrpc": "2.0", "id": n, "method": "ping"} for n in range(length)]
    answer = endpoint.send(json.dumps(batch).encode())
    assert (answer.status, answer.error["code"]) == (400, -32600)
