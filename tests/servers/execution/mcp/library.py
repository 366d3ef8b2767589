"""A real MCP server of the official SDK on loopback whose resources change, and which tells those who subscribed."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mcp.server.mcpserver import MCPServer
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler, ResourceUpdated
from mcp.shared.exceptions import MCPError
from mcp_types import (
    EmptyResult,
    SubscribeRequestParams,
    SubscriptionsListenRequestParams,
    SubscriptionsListenResult,
    UnsubscribeRequestParams,
)

from config.local.ports import LOOPBACK
from tests.marina.harbour import Harbour, Recorder, serve
from tests.servers.execution.mcp.shipyard import Era, OfOneEra

NEWS = "library://news"
OTHER = "library://other"


class Library:
    """``texts`` are its pages by URI. Anything below ``library://pages/`` is one, too."""

    def __init__(self, harbour: Harbour, *, path: str = "/mcp") -> None:
        self.harbour = harbour
        self.url = f"http://{LOOPBACK}:{harbour.port}{path}"
        self.refused: set[str] = set()
        self.refuses_all = False
        """Subscriptions, of these or of any."""
        self.texts = {NEWS: "nothing new", OTHER: "other"}
        self._bus = InMemorySubscriptionBus()
        self._sessions: dict[str, list[Any]] = {}
        self._open: Counter[str] = Counter()
        self._loop: asyncio.AbstractEventLoop | None = None
        self.server = self._make()

    def listened(self) -> set[str]:
        """The resources that somebody is subscribed to now."""
        return {uri for uri, sessions in self._sessions.items() if sessions} | set(+self._open)

    def write(self, uri: str, text: str) -> None:
        """Change a page, and tell whoever subscribed to it."""
        self.texts[uri] = text
        self.tell(uri)

    def tell(self, uri: str, *, to: str = "", times: int = 1) -> None:
        """Say that a resource changed, to those who subscribed to it, or to this one."""
        assert self._loop is not None
        telling = self._tell(uri, to or uri, times)
        asyncio.run_coroutine_threadsafe(telling, self._loop).result(60)

    async def _tell(self, uri: str, to: str, times: int) -> None:
        for _ in range(times):
            for session in list(self._sessions.get(to, ())):
                await session.send_resource_updated(uri)
            await self._bus.publish(ResourceUpdated(uri=uri))

    def _make(self) -> MCPServer:
        server = MCPServer("library", subscriptions=self._bus)

        @server.tool()
        def shelves() -> int:
            return 2

        @server.resource(NEWS)
        def news() -> str:
            return self.texts[NEWS]

        @server.resource(OTHER)
        def other() -> str:
            return self.texts[OTHER]

        @server.resource("library://pages/{number}")
        def page(number: str) -> str:
            return self.texts.get(f"library://pages/{number}", "empty")

        lowlevel = server._lowlevel_server
        lowlevel.add_request_handler("resources/subscribe", SubscribeRequestParams, self._subscribe)
        lowlevel.add_request_handler("resources/unsubscribe", UnsubscribeRequestParams, self._unsubscribe)
        lowlevel.add_request_handler("subscriptions/listen", SubscriptionsListenRequestParams, self._listen)
        return server

    async def _subscribe(self, context: Any, params: SubscribeRequestParams) -> EmptyResult:
        self._loop = asyncio.get_running_loop()
        if self.refuses_all or str(params.uri) in self.refused:
            raise MCPError(-32602, "There is no listening to that.")
        self._sessions.setdefault(str(params.uri), []).append(context.session)
        return EmptyResult()

    async def _unsubscribe(self, context: Any, params: UnsubscribeRequestParams) -> EmptyResult:
        self._sessions.pop(str(params.uri), None)
        return EmptyResult()

    async def _listen(
        self, context: Any, params: SubscriptionsListenRequestParams
    ) -> SubscriptionsListenResult:
        self._loop = asyncio.get_running_loop()
        wanted = params.notifications
        if self.refuses_all and wanted.resource_subscriptions:
            raise MCPError(-32602, "There is no listening to that.")
        uris = [uri for uri in wanted.resource_subscriptions or [] if uri not in self.refused]
        honoured = wanted.model_copy(update={"resource_subscriptions": uris})
        params = params.model_copy(update={"notifications": honoured})
        self._open.update(uris)
        try:
            return await ListenHandler(self._bus)(context, params)
        finally:
            self._open.subtract(uris)


@contextmanager
def open_library(era: Era, *, sse: bool = False, harbour: Harbour | None = None) -> Iterator[Library]:
    """A server of its own, by streamable HTTP, or by HTTP+SSE alone."""
    harbour = harbour or Harbour()
    library = Library(harbour, path="/sse" if sse else "/mcp")
    app = library.server.sse_app() if sse else OfOneEra(library.server.streamable_http_app(), era)
    with serve(Recorder(app, harbour), harbour.port):
        yield library
