"""MCP over a WebSocket at ``/mcp/{tenant}/ws``: one message a text frame, everything on one connection.

No revision of the specification defines it; messages are those of stdio, in either era. What holds for a POST holds for
each message: the credential is looked at anew, the same table serves it, the same decision path decides.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final

from channels.generic.websocket import AsyncWebsocketConsumer

from core.errors import MarinaError, RateLimited
from servers.endpoint.app import EndpointApp
from servers.endpoint.exchange import Exchange
from servers.endpoint.handlers.answers import client_of
from servers.endpoint.handlers.lifecycle import offered_to
from servers.endpoint.handlers.subscriptions import CHECK_SECONDS
from servers.endpoint.headers import fold, refuse_doubled, request_id_of
from servers.endpoint.notices import request_name
from servers.endpoint.questions import LocalQuestions
from servers.endpoint.routes import find_socket
from servers.endpoint.sessions import Session, principal_of
from servers.endpoint.subscribers import Subscriber, change_bytes
from servers.endpoint.wire import INVALID_REQUEST, RpcError

MAX_IN_FLIGHT: Final = 64
"""Messages of one connection that are being served at once; more wait in the socket."""

GOING_AWAY: Final = 1001
POLICY: Final = 1008
PROTOCOL: Final = "mcp"

logger = logging.getLogger(__name__)


class SocketChannel:
    """A way back to the client of a WebSocket: implements ``channel.Channel``."""

    carries = True

    def __init__(self, consumer: McpConsumer) -> None:
        self._consumer = consumer

    async def send(self, message: bytes) -> None:
        """See ``Channel``."""
        await self._consumer.send(text_data=message.decode())

    async def release(self) -> None:
        """See ``Channel``. The connection carries more than this request."""


class McpConsumer(AsyncWebsocketConsumer):  # type: ignore[misc]  # Channels has no types
    """One connection."""

    def __init__(self, *, endpoint: EndpointApp) -> None:
        """``endpoint`` is the process's, with what it keeps for all requests."""
        super().__init__()
        self.endpoint = endpoint

    async def connect(self) -> None:
        """Admit the caller, or refuse with the HTTP status that a POST would get."""
        self.visit = self._exchange()
        self.requests: dict[bytes, asyncio.Task[None]] = {}
        self.room = asyncio.Semaphore(MAX_IN_FLIGHT)
        self.counted = False
        visit = self.visit
        try:
            headers, doubled = fold(self.scope["headers"])
            visit.scope = self.scope
            visit.headers = headers
            visit.request_id = request_id_of(headers)
            refuse_doubled(doubled)
            self.endpoint.gate.check(headers)
            visit.tenant_slug, visit.server_slug, _ = find_socket(self.scope)
            await visit.admit()
            visit.parts.hub.admit(visit.caller)
            self.counted = True
        except (RpcError, MarinaError) as error:
            reply = await visit.refuse(error)
            await self._refuse(reply.status, reply.body, reply.headers)
            return
        caller = visit.caller
        self.session = Session(
            id="",
            tenant_id=caller.tenant_id,
            server=visit.server_slug,
            principal=principal_of(caller),
            version="",
            client=client_of(visit.headers),
        )
        self.questions = LocalQuestions()
        self.subscriber = Subscriber(caller, visit.surface.slug)
        self.session.uris = self.subscriber.uris
        visit.parts.hub.join(self.subscriber, visit.parts.views.of(visit.surface).digests)
        self.telling = asyncio.create_task(self._tell())
        await self.accept(PROTOCOL if PROTOCOL in self.scope.get("subprotocols", ()) else None)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Serve a message beside those that are being served."""
        await self.room.acquire()
        body = None if text_data is None else text_data.encode("utf-8", "surrogatepass")
        task = asyncio.create_task(self._serve(body))
        task.add_done_callback(self._served)

    async def disconnect(self, code: int) -> None:
        """Cancel what is being served: nobody can hear of it any more."""
        if not self.counted:
            return
        hub = self.visit.parts.hub
        self.counted = False
        hub.leave(self.subscriber)
        hub.dismiss(self.visit.caller)
        self.telling.cancel()
        for task in list(self.requests.values()):
            task.cancel()

    def notice(self, message: dict[str, Any]) -> None:
        """Take a notification, or a response to a question."""
        if "method" not in message:
            self.questions.answer(message)
        elif message["method"] == "notifications/cancelled":
            params = message.get("params") or {}
            task = self.requests.get(request_name(params.get("requestId")) or b"")
            if task is not None:
                task.cancel()

    async def _serve(self, body: bytes | None) -> None:
        visit = self.visit
        exchange = self._exchange()
        exchange.scope = visit.scope
        exchange.headers = visit.headers
        exchange.request_id = request_id_of({})
        exchange.tenant_slug, exchange.server_slug = visit.tenant_slug, visit.server_slug
        exchange.use(SocketChannel(self), self.session, self.questions, self.notice, self._began)
        try:
            await exchange.admit()
        except MarinaError as error:
            reply = await exchange.refuse(error)
            await self.send(text_data=reply.body.decode())
            if not isinstance(error, RateLimited):
                await self.close(POLICY)
            return
        if body is None:
            fault = RpcError(
                INVALID_REQUEST, "A message is a text frame with JSON in it, and this one is binary."
            )
            reply = await exchange.refuse(fault)
        else:
            reply = await exchange.answer(body)
        if reply.body:
            await self.send(text_data=reply.body.decode())

    def _began(self, rpc_id: object) -> None:
        """A request is being served by the current task: it can be cancelled by its id."""
        task = asyncio.current_task()
        name = request_name(rpc_id)
        if task is None or name is None:
            return
        self.requests[name] = task
        task.add_done_callback(lambda _: self.requests.pop(name, None))

    def _served(self, task: asyncio.Task[None]) -> None:
        self.room.release()
        if not task.cancelled() and task.exception() is not None:
            logger.error("a message was not served", exc_info=task.exception())

    async def _tell(self) -> None:
        """Tell a legacy client of changes, and end the connection with its credential."""
        subscriber = self.subscriber
        while not subscriber.ended:
            if self.session.version:
                subscriber.lists = offered_to(self.visit.caller)
            for kind, uri in subscriber.take():
                await self.send(text_data=change_bytes(kind, uri).decode())
            try:
                async with asyncio.timeout(CHECK_SECONDS):
                    await subscriber.woken.wait()
            except TimeoutError:
                try:
                    await self.visit.admit(again=True)
                except MarinaError:
                    await self.close(POLICY)
                    return
        await self.close(GOING_AWAY)

    async def _refuse(self, status: int, body: bytes, headers: Any) -> None:
        if "websocket.http.response" not in self.scope.get("extensions", {}):
            await self.close(POLICY)
            return
        request_id = (b"x-request-id", self.visit.request_id.encode("ascii"))
        content = [
            request_id,
            *headers,
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
        ]
        await self.base_send({"type": "websocket.http.response.start", "status": status, "headers": content})
        await self.base_send({"type": "websocket.http.response.body", "body": body})

    def _exchange(self) -> Exchange:
        return Exchange(self.endpoint.parts(), _nowhere)


async def _nowhere(message: Any) -> None:
    """There is no HTTP answer to send."""
    raise RuntimeError("a message of a WebSocket was answered over HTTP")
