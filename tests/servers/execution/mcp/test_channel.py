"""One line for many requests: what is remembered of those that nobody waits for any more."""

from __future__ import annotations

import asyncio

import pytest

from servers.execution.backends.mcp import channel
from servers.execution.backends.mcp.channel import Channel
from servers.execution.backends.mcp.replies import Request

pytestmark = pytest.mark.anyio


async def test_requests_that_were_given_up_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel, "LINGER_SECONDS", 0.05)

    async def send(content: bytes) -> None:
        return

    line = Channel("command://deaf", send, shared=True)
    for _ in range(20):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await line.ask(Request(rpc_id=line.next_id(), content=b"{}", most_bytes=1_000))
    assert 1 <= len(line._lingering) < 6
