"""Each era lists the tools and calls one, and the call is in the log."""

from __future__ import annotations

import pytest

from tests.factories import Team
from tests.protocol.conftest import Records
from tests.protocol.wireclient import LEGACY, Endpoint


def test_modern_client_lists_tools_in_order(endpoint: Endpoint) -> None:
    answer = endpoint.modern("tools/list")
    assert answer.status == 200, answer.body
    assert [tool["name"] for tool in answer.result["tools"]] == ["crash", "echo", "fail", "routed", "wait"]


def test_modern_call_is_answered_and_recorded(endpoint: Endpoint, team: Team, records: Records) -> None:
    answer = endpoint.call("echo", {"text": "hello"})
    assert answer.status == 200, answer.body
    assert answer.result["structuredContent"] == {"echo": {"text": "hello"}}
    (record,) = records(team)
    assert record["outcome"] == "ok"
    assert record["arguments"] == {"text": "hello"}
    assert record["client"] == "wire-test 1.2"
    assert record["request_id"] == answer.headers["X-Request-ID"]
    assert (record["server"], record["tool"], record["tool_version"]) == ("default", "echo", 1)


@pytest.mark.parametrize("version", LEGACY)
def test_legacy_client_initializes_lists_and_calls(endpoint: Endpoint, version: str) -> None:
    params = {"protocolVersion": version, "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
    begun = endpoint.legacy("initialize", params, version=None)
    assert begun.status == 200, begun.body
    assert begun.result["protocolVersion"] == version
    assert begun.headers["Mcp-Session-Id"]
    listed = endpoint.legacy("tools/list", version=version)
    assert "echo" in [tool["name"] for tool in listed.result["tools"]]
    called = endpoint.legacy("tools/call", {"name": "echo", "arguments": {"text": "x"}}, version=version)
    assert called.result["content"] == [{"type": "text", "text": "x"}]
    assert called.result["isError"] is False
