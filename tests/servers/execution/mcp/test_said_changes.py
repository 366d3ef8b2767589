"""Servers that say in a caller's own conversation that their lists changed: within a call, or outside of one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from uuid import uuid4

import pytest
from mcp.server.mcpserver import Context, MCPServer
from mcp_types import ToolListChangedNotification

from config.local.ports import LOOPBACK
from servers.execution.contract import Source
from servers.execution.engine import Engine
from tests.hosted.commands import command, packages
from tests.marina.harbour import Harbour, serve
from tests.servers.execution.mcp.conftest import Ask
from tests.servers.execution.mcp.shipyard import OfOneEra

pytestmark = pytest.mark.anyio

SAYING = """
import sys, threading
say = lambda: print('{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}', file=sys.__stdout__, flush=True)
threading.Timer(0.1, say).start()
"""


class Noting:
    """An engine, and the sources of which it noted that they changed."""

    def __init__(self) -> None:
        self.noted: list[Source] = []
        self._news = asyncio.Event()
        self.engine = Engine(
            allow_address=lambda *_: True,
            hosted_commands=[command("odd", arguments=True, memory=256, disk=4, processes=24)],
            note_changed=self._note,
        )
        self.ask = Ask(self.engine)

    def _note(self, source: Source) -> None:
        self.noted.append(source)
        self._news.set()

    async def next(self) -> Source:
        """The source that is noted next, or was last."""
        async with asyncio.timeout(30):
            await self._news.wait()
        self._news.clear()
        return self.noted[-1]


@pytest.fixture
async def noting() -> AsyncIterator[Noting]:
    noting = Noting()
    yield noting
    await noting.engine.close()


@contextmanager
def growing(*, sse: bool = False) -> Iterator[str]:
    """A server of before 2026-07-28 that offers more from time to time, and says so to whoever had it grow."""
    server = MCPServer("growing")
    later: set[asyncio.Task[None]] = set()

    @server.tool()
    async def grow(ctx: Context) -> str:
        await ctx.session.send_notification(ToolListChangedNotification(), related_request_id=ctx.request_id)
        return "grown"

    @server.tool()
    async def grow_later(ctx: Context) -> str:
        async def say() -> None:
            await asyncio.sleep(0.2)
            await ctx.session.send_notification(ToolListChangedNotification())

        later.add(asyncio.get_running_loop().create_task(say()))
        return "growing"

    harbour = Harbour()
    app = server.sse_app() if sse else OfOneEra(server.streamable_http_app(), "legacy")
    with serve(app, harbour.port):
        yield f"http://{LOOPBACK}:{harbour.port}/{'sse' if sse else 'mcp'}"


async def test_it_is_heard_in_the_middle_of_a_call(noting: Noting) -> None:
    with growing() as url:
        await noting.ask.call(url, "grow", settings={"transport": "http"})
        assert await noting.next() == noting.ask.source(url, transport="http")
        # A look at the server is no reason for another one.
        await noting.ask.backend.check(noting.ask.source(url, transport="http"))
        await noting.engine.close()
        assert len(noting.noted) == 1


async def test_what_is_said_while_a_call_waits_on_the_stream_of_http_sse_is_heard_once(
    noting: Noting,
) -> None:
    with growing(sse=True) as url:
        await noting.ask.call(url, "grow")
        assert await noting.next() == noting.ask.source(url)
        await noting.engine.close()
        assert len(noting.noted) == 1


async def test_it_is_heard_on_the_stream_of_http_sse_outside_of_calls(noting: Noting) -> None:
    with growing(sse=True) as url:
        await noting.ask.call(url, "grow_later")
        assert await noting.next() == noting.ask.source(url)
        # Streams that the server would have to break off leave parts of it unclosed.
        await noting.engine.close()


async def test_it_is_heard_of_a_command_outside_of_calls(noting: Noting) -> None:
    source = Source(uuid4(), 1, "odd", "mcp", 1, {"command": "odd", "env": packages()})
    await noting.ask.backend.check(source)
    assert not noting.noted
    noting.ask.sources[repr(("", {}))] = source
    await noting.ask.call("", "run", {"code": SAYING})
    assert await noting.next() == source
