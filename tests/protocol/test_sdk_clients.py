"""The official Python client, unmodified, in both eras."""

from __future__ import annotations

import pytest

from tests.protocol.officialclient import connected
from tests.protocol.wireclient import Endpoint

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("mode", "version"), [("auto", "2026-07-28"), ("2026-07-28", "2026-07-28"), ("legacy", "2025-11-25")]
)
async def test_client_lists_and_calls(endpoint: Endpoint, mode: str, version: str) -> None:
    async with connected(endpoint, mode) as client:
        assert client.protocol_version == version
        listed = await client.list_tools()
        assert [tool.name for tool in listed.tools] == ["crash", "echo", "fail", "routed", "wait"]
        called = await client.call_tool("echo", {"text": "hello"})
        assert called.structured_content == {"echo": {"text": "hello"}}
        routed = await client.call_tool("routed", {"region": "eu"})
        assert not routed.is_error
        wrong = await client.call_tool("echo", {"text": 5})
        assert wrong.is_error
        assert "$.text" in str(wrong.content[0])
