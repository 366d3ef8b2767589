"""A small real MCP server of the official SDK on loopback: sessions, streams, questions, subscriptions.

It keeps what reached it, so that a test can say what the bridge sent.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Annotated, Any

import uvicorn
from mcp.server.mcpserver import AcceptedElicitation, Context, Elicit, ElicitationResult, MCPServer, Resolve
from mcp.server.streamable_http import EventCallback, EventMessage, EventStore
from mcp_types import JSONRPCMessage
from pydantic import BaseModel, Field
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from config.local.ports import LOOPBACK, find_free_port


class Skipper(BaseModel):
    """What the server asks for."""

    name: str


@dataclass
class Seen:
    """One HTTP request as it reached the server."""

    verb: str
    path: str
    headers: dict[str, str]
    body: Any = None

    @property
    def method(self) -> str | None:
        """The JSON-RPC method of the body."""
        return self.body.get("method") if isinstance(self.body, dict) else None


@dataclass
class Harbour:
    """What the server saw, and what a test waits for or changes."""

    port: int = field(default_factory=find_free_port)
    seen: list[Seen] = field(default_factory=list)
    forgotten: set[str] = field(default_factory=set)
    listening: threading.Event = field(default_factory=threading.Event)
    waiting: threading.Event = field(default_factory=threading.Event)
    cancelled: threading.Event = field(default_factory=threading.Event)
    heard: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        """The MCP endpoint."""
        return f"http://{LOOPBACK}:{self.port}/mcp"

    def of(self, method: str) -> list[Seen]:
        """The requests that carried ``method``."""
        return [seen for seen in self.seen if seen.method == method]

    def verbs(self, verb: str) -> list[Seen]:
        """The requests of an HTTP method."""
        return [seen for seen in self.seen if seen.verb == verb]

    def forget_sessions(self) -> None:
        """Answer 404 to each session there has been."""
        self.forgotten |= {
            seen.headers["mcp-session-id"] for seen in self.seen if "mcp-session-id" in seen.headers
        }


class Events(EventStore):
    """Keeps all events, for streams that are taken up again."""

    def __init__(self) -> None:
        self._events: list[tuple[str, JSONRPCMessage | None]] = []

    async def store_event(self, stream_id: str, message: JSONRPCMessage | None) -> str:
        self._events.append((stream_id, message))
        return str(len(self._events))

    async def replay_events_after(self, last_event_id: str, send_callback: EventCallback) -> str | None:
        last = int(last_event_id)
        stream_id = self._events[last - 1][0]
        for number, (stream, message) in enumerate(self._events[last:], last + 1):
            if stream == stream_id and message is not None:
                await send_callback(EventMessage(message, str(number)))
        return stream_id


async def ask_name() -> Elicit[Skipper]:
    """What ``hail`` needs to know first."""
    return Elicit("Who is at the helm?", Skipper)


def make_server(harbour: Harbour) -> MCPServer:
    """The server and its tools."""
    server = MCPServer("harbour")

    @server.tool()
    def add(a: int, b: int) -> int:
        return a + b

    @server.tool()
    def berth(harbour: Annotated[str, Field(json_schema_extra={"x-mcp-header": "Harbour"})]) -> str:
        return f"a berth in {harbour}"

    @server.tool()
    async def hail(skipper: Annotated[ElicitationResult[Skipper], Resolve(ask_name)]) -> str:
        return f"ahoy {skipper.data.name}" if isinstance(skipper, AcceptedElicitation) else "no answer"

    @server.tool()
    async def sail(ctx: Context) -> str:
        for mile in (1, 2, 3):
            await ctx.report_progress(mile, 3, f"mile {mile}")
        return "arrived"

    @server.tool()
    async def drift(ctx: Context) -> str:
        await ctx.report_progress(1, 2)
        await ctx.close_sse_stream()
        await ctx.report_progress(2, 2)
        return "found again"

    @server.tool()
    async def moor() -> str:
        harbour.waiting.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            harbour.cancelled.set()
            raise
        return "never"

    @server.tool()
    async def dredge(ctx: Context) -> str:
        await ctx.notify_tools_changed()
        if ctx.protocol_version and ctx.protocol_version < "2026":
            await ctx.session.send_tool_list_changed()
        return "deeper"

    return server


class Recorder:
    """Keeps each request, and makes sessions unknown that a test had forgotten."""

    def __init__(self, app: ASGIApp, harbour: Harbour) -> None:
        self._app = app
        self._harbour = harbour

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        seen = Seen(scope["method"], scope["path"], headers)
        self._harbour.seen.append(seen)
        if headers.get("mcp-session-id") in self._harbour.forgotten:
            headers["mcp-session-id"] = "unknown"
            scope["headers"] = [(name.encode(), value.encode()) for name, value in headers.items()]

        body = bytearray()

        async def keep() -> Message:
            message = await receive()
            if message["type"] == "http.request":
                body.extend(message.get("body", b""))
                if body and not message.get("more_body"):
                    seen.body = json.loads(body)
                    body.clear()
            return message

        async def tell(message: Message) -> None:
            await send(message)
            if seen.verb == "GET" and message["type"] == "http.response.start":
                self._harbour.listening.set()

        await self._app(scope, keep, tell)


@contextmanager
def serve(app: Any, port: int) -> Iterator[None]:
    """Serve an ASGI application in a thread until the end of the block."""
    config = uvicorn.Config(
        app,
        host=LOOPBACK,
        port=port,
        log_level="error",
        timeout_graceful_shutdown=1,
        ws="none",
        lifespan="auto",
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        wait_for_port(port)
        yield
    finally:
        server.should_exit = True
        thread.join(10)


def wait_for_port(port: int) -> None:
    """Return once somebody accepts connections there."""
    import socket
    import time

    deadline = time.monotonic() + 60
    while True:
        try:
            socket.create_connection((LOOPBACK, port), timeout=1).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return


@contextmanager
def open_harbour() -> Iterator[Harbour]:
    """A server of its own for one test."""
    harbour = Harbour()
    app = make_server(harbour).streamable_http_app(event_store=Events(), retry_interval=20)
    with serve(Recorder(app, harbour), harbour.port):
        yield harbour
