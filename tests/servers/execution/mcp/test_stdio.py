"""The transport stdio over pipes of this process: what holds whatever the program at their other end does."""

from __future__ import annotations

import asyncio
import os

import pytest

from core.outbound_http import OutboundRefused
from servers.execution.backends.mcp import stdio
from servers.execution.backends.mcp.lines import WritingPace
from servers.execution.backends.mcp.stdio import StdioWay

pytestmark = pytest.mark.anyio


async def test_who_does_not_read_its_input_keeps_nobody_who_only_tells_it_something(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stdio, "ASIDE_SECONDS", 0.2)
    reading, writing = os.pipe()
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.connect_write_pipe(
        asyncio.streams.FlowControlMixin, os.fdopen(writing, "wb")
    )
    writer = asyncio.StreamWriter(transport, protocol, None, loop)
    way = StdioWay(
        "command://deaf",
        stdin=writer,
        stdout=asyncio.StreamReader(),
        note=lambda line: None,
        pace=WritingPace(),
    )
    try:
        with pytest.raises(OutboundRefused, match="does not read"):
            async with asyncio.timeout(60):
                await way.tell(b"x" * 1_000_000)
    finally:
        transport.abort()
        os.close(reading)
        await asyncio.sleep(0)
