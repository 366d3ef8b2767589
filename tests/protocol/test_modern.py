"""Revision 2026-07-28: the envelope, its headers, discovery, results."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from tests.protocol.probe import ProbeBackend
from tests.protocol.requirements import requirement
from tests.protocol.wireclient import MODERN, Endpoint, modern_meta

VERSION_KEY = "io.modelcontextprotocol/protocolVersion"
CAPABILITIES_KEY = "io.modelcontextprotocol/clientCapabilities"
SERVER_KEY = "io.modelcontextprotocol/serverInfo"


def without(key: Any) -> Any:
    return {name: value for name, value in modern_meta().items() if name != key}


@requirement("modern:envelope")
@pytest.mark.parametrize(
    "meta",
    [
        None,
        "text",
        {},
        without(VERSION_KEY),
        without(CAPABILITIES_KEY),
        {**modern_meta(), CAPABILITIES_KEY: []},
        {**modern_meta(), "io.modelcontextprotocol/clientInfo": "me"},
    ],
)
def test_incomplete_envelope_is_invalid_params(endpoint: Endpoint, meta: Any) -> None:
    answer = endpoint.modern("tools/list", meta=meta)
    assert (answer.status, answer.error["code"]) == (400, -32602)


def test_client_info_is_optional(endpoint: Endpoint) -> None:
    assert endpoint.modern("tools/list", meta=without("io.modelcontextprotocol/clientInfo")).status == 200


@requirement("modern:header-mismatch")
@pytest.mark.parametrize(
    "headers",
    [
        {"Mcp-Method": "tools/list"},
        {"Mcp-Method": None},
        {"Mcp-Name": "fail"},
        {"Mcp-Name": None},
        {"Mcp-Name": "ECHO"},
        {"MCP-Protocol-Version": None},
        {"MCP-Protocol-Version": "2025-11-25"},
        {"Mcp-Name": "=?base64?!!!?="},
    ],
)
def test_header_that_disagrees_with_the_body_is_refused_and_nothing_runs(
    endpoint: Endpoint, probe: ProbeBackend, headers: Any
) -> None:
    before = probe.executed
    answer = endpoint.call("echo", {"text": "x"}, headers=headers)
    assert (answer.status, answer.error["code"]) == (400, -32020)
    assert answer.json["id"] == 1
    assert probe.executed == before


@requirement("modern:header-base64")
def test_encoded_name_header_is_decoded(endpoint: Endpoint) -> None:
    encoded = f"=?base64?{base64.b64encode(b'echo').decode()}?="
    assert endpoint.call("echo", {"text": "x"}, headers={"Mcp-Name": encoded}).status == 200


def test_name_header_with_trailing_space_is_accepted(endpoint: Endpoint) -> None:
    assert endpoint.call("echo", {"text": "x"}, headers={"Mcp-Name": "echo  "}).status == 200


@requirement("modern:header-param")
@pytest.mark.parametrize(
    ("arguments", "header", "status"),
    [
        ({"region": "eu"}, "eu", 200),
        ({}, None, 200),
        ({"region": None}, None, 200),
        ({"region": "eu"}, "us", 400),
        ({"region": "eu"}, None, 400),
        ({}, "eu", 400),
    ],
)
def test_mirrored_parameter_must_match(endpoint: Endpoint, arguments: Any, header: Any, status: Any) -> None:
    answer = endpoint.call("routed", arguments, headers={"Mcp-Param-Region": header})
    assert answer.status == status
    if status == 400:
        assert answer.error["code"] == -32020


@requirement("modern:version")
def test_unserved_version_is_refused_with_ours(endpoint: Endpoint) -> None:
    answer = endpoint.modern(
        "tools/list",
        meta=modern_meta(**{VERSION_KEY: "2099-01-01"}),
        headers={"MCP-Protocol-Version": "2099-01-01"},
    )
    assert (answer.status, answer.error["code"]) == (400, -32022)
    assert answer.error["data"] == {"supported": [MODERN], "requested": "2099-01-01"}


@requirement("modern:unknown-method", "modern:removed-methods")
@pytest.mark.parametrize(
    "method", ["nonsense", "initialize", "ping", "resources/subscribe", "logging/setLevel"]
)
def test_unknown_method_is_404_and_names_what_is_served(endpoint: Endpoint, method: str) -> None:
    answer = endpoint.modern(method)
    assert (answer.status, answer.error["code"]) == (404, -32601)
    assert "tools/call" in answer.error["message"]


@requirement("modern:discover", "modern:identity", "modern:cache-hints", "modern:result-type")
def test_discover_names_versions_capabilities_and_identity(endpoint: Endpoint) -> None:
    result = endpoint.modern("server/discover").result
    assert result["supportedVersions"] == [MODERN]
    assert result["capabilities"] == {
        "tools": {"listChanged": True},
        "logging": {},
        "extensions": {"io.modelcontextprotocol/tasks": {}},
    }
    assert result["resultType"] == "complete"
    assert result["_meta"][SERVER_KEY]["name"] == "marina"
    assert result["ttlMs"] >= 0
    assert result["cacheScope"] == "private"


@requirement("modern:cache-hints", "modern:result-type", "modern:identity", "tools:order")
def test_list_is_complete_private_and_in_order(endpoint: Endpoint) -> None:
    first, second = endpoint.modern("tools/list"), endpoint.modern("tools/list")
    assert first.body == second.body
    result = first.result
    assert (result["resultType"], result["cacheScope"]) == ("complete", "private")
    assert result["ttlMs"] >= 0
    assert SERVER_KEY in result["_meta"]
    echo = next(tool for tool in result["tools"] if tool["name"] == "echo")
    assert set(echo) == {"name", "title", "description", "inputSchema", "outputSchema", "annotations"}


@requirement("modern:result-type", "modern:identity", "tools:structured")
def test_result_has_type_identity_and_both_contents(endpoint: Endpoint) -> None:
    result = endpoint.call("routed").result
    assert result["resultType"] == "complete"
    assert SERVER_KEY in result["_meta"]
    assert result["structuredContent"] == {"echo": {}}
    assert json.loads(result["content"][0]["text"]) == {"echo": {}}


@requirement("http:notification-202")
def test_notification_gets_202_without_a_body(endpoint: Endpoint) -> None:
    message = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}
    answer = endpoint.send(json.dumps(message).encode(), {"MCP-Protocol-Version": MODERN})
    assert (answer.status, answer.body) == (202, b"")


def test_notification_of_an_unserved_version_is_refused(endpoint: Endpoint) -> None:
    message = {"jsonrpc": "2.0", "method": "notifications/cancelled"}
    answer = endpoint.send(json.dumps(message).encode(), {"MCP-Protocol-Version": "2099-01-01"})
    assert (answer.status, answer.error["code"]) == (400, -32022)


def test_response_from_a_client_is_refused(endpoint: Endpoint) -> None:
    answer = endpoint.send(b'{"jsonrpc":"2.0","id":1,"result":{}}', {"MCP-Protocol-Version": MODERN})
    assert (answer.status, answer.error["code"]) == (400, -32600)


def test_batch_is_refused(endpoint: Endpoint) -> None:
    answer = endpoint.send(b"[]", {"MCP-Protocol-Version": MODERN})
    assert (answer.status, answer.error["code"]) == (400, -32600)
    assert answer.error["data"]["code"] == "batch_not_allowed"
