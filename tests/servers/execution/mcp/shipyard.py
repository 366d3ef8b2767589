"""A real MCP server of the official SDK on loopback, of one era or of both, with a tool for whatever can cross."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Literal

import orjson
from mcp.server.mcpserver import (
    AcceptedElicitation,
    Context,
    Elicit,
    ElicitationResult,
    Image,
    MCPServer,
    Resolve,
    Sample,
)
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import (
    Annotations,
    CallToolResult,
    CreateMessageResult,
    EmbeddedResource,
    Icon,
    ImageContent,
    ResourceLink,
    SamplingMessage,
    TextContent,
    TextResourceContents,
    ToolAnnotations,
)
from pydantic import BaseModel, Field
from starlette.types import ASGIApp, Receive, Scope, Send

from tests.marina.harbour import Events, Harbour, Recorder, serve

Era = Literal["legacy", "modern"]
PIXEL = base64.b64encode(b"\x89PNG pixel").decode()
ICON = Icon(src="https://example.com/ship.png", mime_type="image/png", sizes=["48x48"])


class Ship(BaseModel):
    """A structured result."""

    name: str
    masts: int


class Named(BaseModel):
    """What the server asks for."""

    name: str


async def ask_name() -> Elicit[Named]:
    """What ``name_it`` needs to know first."""
    return Elicit("What is she called?", Named)


async def ask_song() -> Sample:
    """What ``sing`` needs to have first."""
    message = SamplingMessage(role="user", content=TextContent(text="A song, please."))
    return Sample([message], max_tokens=20)


def make_server(harbour: Harbour) -> MCPServer:
    """The server and all that it offers."""
    server = MCPServer("shipyard", version="3.1", instructions="Ask for ships.")
    _add_plain_tools(server)
    _add_slow_tools(server, harbour)
    _add_asking_tools(server, harbour)
    _add_tools_that_ask_aside(server, harbour)
    _add_words(server)

    @server.tool()
    async def build(ctx: Context) -> str:
        """Offers one tool more from now on, and says so."""
        server.add_tool(lambda: "ahoy", name="hail", description="Hails.")
        await ctx.notify_tools_changed()
        return "built"

    return server


def _add_plain_tools(server: MCPServer) -> None:
    @server.tool(
        title="Add",
        annotations=ToolAnnotations(read_only_hint=True, idempotent_hint=True),
        icons=[ICON],
    )
    def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    @server.tool()
    def launch(name: str) -> Ship:
        """Launch a ship."""
        return Ship(name=name, masts=3)

    @server.tool(structured_output=False)
    def everything() -> CallToolResult:
        """Every type of content."""
        held = TextResourceContents(uri="ship://log", mime_type="text/plain", text="calm")
        return CallToolResult(
            content=[
                TextContent(text="words", annotations=Annotations(audience=["user"])),
                ImageContent(data=PIXEL, mime_type="image/png"),
                EmbeddedResource(resource=held),
                ResourceLink(uri="ship://log", name="log"),
            ],
            _meta={"example.com/trip": 7},
        )

    @server.tool()
    def picture() -> Image:
        return Image(data=b"\x89PNG pixel", format="png")

    @server.tool()
    def sink() -> str:
        raise ToolError("the hull has a hole")

    @server.tool()
    def berth(harbour: Annotated[str, Field(json_schema_extra={"x-mcp-header": "Harbour"})]) -> str:
        return f"a berth in {harbour}"

    @server.tool()
    def who(ctx: Context) -> str:
        request: Any = ctx.request_context.request
        return str(orjson.dumps(dict(request.headers)).decode())


def _add_slow_tools(server: MCPServer, harbour: Harbour) -> None:
    @server.tool()
    async def sail(ctx: Context) -> str:
        for mile in (1, 2, 3):
            await ctx.report_progress(mile, 3, f"mile {mile}")
        return "arrived"

    @server.tool()
    async def talk(ctx: Context) -> str:
        await ctx.info("land in sight")
        return "told"

    @server.tool()
    async def drift(ctx: Context) -> str:
        # Before it, the stream may not have begun: then there is no event to take it up from.
        await ctx.report_progress(1, 2)
        await ctx.close_sse_stream()
        return "found again"

    @server.tool()
    async def moor() -> str:
        return await stay(harbour)


def _add_asking_tools(server: MCPServer, harbour: Harbour) -> None:
    @server.tool()
    async def name_it(name: Annotated[ElicitationResult[Named], Resolve(ask_name)]) -> str:
        return f"named {name.data.name}" if isinstance(name, AcceptedElicitation) else "no name"

    @server.tool()
    async def ask_twice(ctx: Context) -> str:
        names = []
        for question in ("Which first?", "Which second?"):
            answer = await ctx.elicit(question, Named)
            names.append(answer.data.name if isinstance(answer, AcceptedElicitation) else answer.action)
        return " and ".join(names)

    @server.tool()
    async def weigh(ctx: Context, ballast: str) -> str:
        answer = await ctx.elicit("Which first?", Named)
        name = answer.data.name if isinstance(answer, AcceptedElicitation) else "nobody"
        return f"{name} carries {len(ballast)}"

    @server.tool()
    async def sing(song: Annotated[CreateMessageResult, Resolve(ask_song)]) -> str:
        return song.content.text if isinstance(song.content, TextContent) else "no words"

    @server.tool()
    async def compose(ctx: Context) -> str:
        message = SamplingMessage(role="user", content=TextContent(text="A song, please."))
        sung = await ctx.session.create_message([message], max_tokens=20, related_request_id=ctx.request_id)
        return sung.content.text if isinstance(sung.content, TextContent) else "no words"

    @server.tool()
    async def ask_and_moor(ctx: Context) -> str:
        await ctx.elicit("Which first?", Named)
        return await stay(harbour)

    @server.tool()
    async def ask_and_sail(ctx: Context) -> str:
        answer = await ctx.elicit("Which first?", Named)
        await ctx.info("land in sight")
        await ctx.report_progress(1, 3, "mile 1")
        if not isinstance(answer, AcceptedElicitation):
            raise ToolError("nobody sails")
        return f"{answer.data.name} arrived"


def _add_tools_that_ask_aside(server: MCPServer, harbour: Harbour) -> None:
    """What these say is about a request and does not say so: it goes out on the session's own stream."""

    @server.tool()
    async def name_aside(ctx: Context) -> str:
        names = []
        for question in ("Which first?", "Which second?"):
            answer = await ctx.session.elicit_form(question, Named.model_json_schema())
            names.append((answer.content or {}).get("name", answer.action))
        return " and ".join(map(str, names))

    @server.tool()
    async def compose_aside(ctx: Context) -> str:
        message = SamplingMessage(role="user", content=TextContent(text="A song, please."))
        sung = await ctx.session.create_message([message], max_tokens=20)
        return sung.content.text if isinstance(sung.content, TextContent) else "no words"

    @server.tool()
    async def survey(ctx: Context) -> str:
        return ", ".join(str(root.uri) for root in (await ctx.session.list_roots()).roots)

    @server.tool()
    async def shout(ctx: Context) -> str:
        await ctx.session.send_log_message("info", "land in sight")
        # On another stream than the answer, it may come later than that.
        await asyncio.to_thread(harbour.heard.wait, 30)
        return "told"


async def stay(harbour: Harbour) -> str:
    """Until nobody waits for it any more."""
    harbour.waiting.set()
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        harbour.cancelled.set()
        raise
    return "never"


def _add_words(server: MCPServer) -> None:
    @server.resource("ship://log", mime_type="text/plain", icons=[ICON])
    def log() -> str:
        """What happened."""
        return "calm"

    @server.resource("ship://deck/{number}")
    def deck(number: str) -> str:
        """One deck."""
        return f"deck {number}"

    @server.prompt(title="Greet")
    def greet(name: str, tone: str = "warm") -> str:
        """Say hello."""
        return f"Greet {name} in a {tone} way."


class OfOneEra:
    """Answers requests of the other era as a server does that has never heard of it."""

    def __init__(self, app: ASGIApp, era: Era) -> None:
        self._app = app
        self._era = era

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope.get("headers", ()))
        if scope["type"] == "http" and (headers.get(b"mcp-protocol-version") == b"2026-07-28") != (
            self._era == "modern"
        ):
            await send({"type": "http.response.start", "status": 400, "headers": []})
            await send({"type": "http.response.body", "body": b"Bad Request: unsupported version"})
            return
        await self._app(scope, receive, send)


@contextmanager
def open_shipyard(
    era: Era, *, json_response: bool = False, path: str = "/mcp", stateless: bool = False
) -> Iterator[Harbour]:
    """A server of its own."""
    harbour = Harbour()
    app = make_server(harbour).streamable_http_app(
        streamable_http_path=path,
        json_response=json_response,
        stateless_http=stateless,
        event_store=None if json_response else Events(),
        retry_interval=20,
    )
    with serve(OfOneEra(Recorder(app, harbour), era), harbour.port):
        yield harbour
