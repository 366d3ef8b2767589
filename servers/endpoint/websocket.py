"""MCP over a WebSocket at ``/mcp/{tenant}/ws``: one message a text frame, everything on one connection.

No revision of the specification defines it; messages are those of stdio, in either era. What holds for a POST holds for
each message: the credential is looked at anew, the same table serves it, the same decision path decides.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Any, Final

from django.conf import settings

from core.errors import Forbidden, MarinaError, NotFound, Unauthenticated, Unavailable
from servers.endpoint.app import EndpointApp, Receive, Scope, send_reply
from servers.endpoint.channel import Send
from servers.endpoint.exchange import Exchange
from servers.endpoint.handlers.answers import client_of
from servers.endpoint.handlers.lifecycle import offered_to
from servers.endpoint.headers import fold, refuse_doubled, request_id_of
from servers.endpoint.notices import request_name
from servers.endpoint.questions import LocalQuestions
from servers.endpoint.routes import find_socket
from servers.endpoint.sessions import Session, principal_of
from servers.endpoint.subscribers import Subscriber, change_bytes
from servers.endpoint.tenure import Tenure
from servers.endpoint.wire import Reply, RpcError, error_bytes, glance

MAX_IN_FLIGHT: Final = 64
"""Requests of one connection that are being served at once. More wait; what is no request never does."""

MAX_WAITING: Final = 256
"""Requests of one connection that wait. Beyond it they are refused."""

MAX_WAITING_BYTES: Final = 1024 * 1024
"""Of requests that wait. Beyond it they are refused."""

READ_BYTES: Final = 64 * 1024
"""A larger message is taken for a request while there is room for one."""

REFUSAL_SECONDS: Final = 1.0
"""How long a refusal may take to be sent."""

GOING_AWAY: Final = 1001
UNSUPPORTED: Final = 1003
POLICY: Final = 1008
TOO_BIG: Final = 1009
TRY_AGAIN_LATER: Final = 1013
PROTOCOL: Final = "mcp"

logger = logging.getLogger(__name__)


class SocketChannel:
    """A way back to the client of a WebSocket: implements ``channel.Channel``."""

    carries = True

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def send(self, message: bytes) -> None:
        """See ``Channel``."""
        await self._connection.send(message)

    async def release(self) -> None:
        """See ``Channel``. The connection carries more than this request."""


class SocketApp:
    """The ASGI object for WebSockets below ``/mcp``. ``endpoint`` is the process's, with what it keeps."""

    def __init__(self, endpoint: EndpointApp) -> None:
        self._endpoint = endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await Connection(self._endpoint, scope, send).serve(receive)


class Connection:
    """One connection."""

    def __init__(self, endpoint: EndpointApp, scope: Scope, send: Send) -> None:
        self.endpoint = endpoint
        self.scope = scope
        self.base_send = send
        self.closed = False
        self.ended: MarinaError | None = None
        """The refusal that ended it, if one did."""
        self.visit = self._exchange()
        self.requests: dict[bytes, asyncio.Task[None]] = {}
        self.tasks: set[asyncio.Task[None]] = set()
        self.waiting = 0
        self.room = asyncio.Semaphore(MAX_IN_FLIGHT)

    async def serve(self, receive: Receive) -> None:
        """Serve until one side ends it."""
        await receive()
        hub = self.visit.parts.hub
        if not await self.connect():
            # uvicorn says twice that it is over, and takes the handshake for unfinished until the second time.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(REFUSAL_SECONDS):
                    await receive()
                    await receive()
            return
        try:
            while (message := await receive())["type"] == "websocket.receive":
                if not self.closed:
                    await self.receive(message.get("text"))
        finally:
            # What is being served is cancelled: nobody can hear of it any more.
            self.closed = True
            hub.leave(self.subscriber)
            hub.dismiss(self.visit.caller)
            self.telling.cancel()
            for task in list(self.tasks):
                # What is being run records the refusal as its end.
                task.cancel(self.ended)

    async def connect(self) -> bool:
        """Admit the caller, or refuse with the HTTP status that a POST would get."""
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
        except (RpcError, MarinaError) as error:
            await self._refuse(await visit.refuse(error))
            return False
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
        visit.parts.hub.join(self.subscriber, visit.surface)
        self.telling = asyncio.create_task(self._tell())
        protocol = PROTOCOL if PROTOCOL in self.scope.get("subprotocols", ()) else None
        await self._put({"type": "websocket.accept", "subprotocol": protocol})
        return True

    async def send(self, message: bytes) -> None:
        """Send a message: JSON."""
        await self._put({"type": "websocket.send", "text": message.decode()})

    async def close(self, code: int, ended: MarinaError | None = None) -> None:
        """Close the connection, and name the refusal that ended it, if one did. What is sent afterwards is dropped."""
        self.ended = self.ended or ended
        reason = "" if ended is None else ended.code
        await self._put({"type": "websocket.close", "code": code, "reason": reason})
        self.closed = True

    async def _put(self, message: Any) -> None:
        if not self.closed:
            try:
                await self.base_send(message)
            except OSError:
                # The client is gone; ``receive`` says so too.
                self.closed = True

    async def receive(self, text_data: str | None) -> None:
        """Serve a message: a request beside those that are being served, anything else at once.

        A request never holds up what comes after it: that may be the answer that it waits for.
        """
        if text_data is None:
            await self.close(UNSUPPORTED)
            return
        body = text_data.encode("utf-8", "surrogatepass")
        if self.visit.caller.anonymous and len(body) > settings.ENV.public_body_bytes:
            await self.close(TOO_BIG)
            return
        full = len(self.tasks) >= MAX_IN_FLIGHT
        # What is large is read once, unless it may be the answer that makes room again.
        rpc_id, is_request = glance(body) if full or len(body) <= READ_BYTES else (None, True)
        if not is_request:
            try:
                await self._serve(body, counted=False)
            except Exception:
                logger.exception("a message was not served")
            return
        if self.visit.parts.hub.over:
            await self.send(error_bytes(rpc_id, _going()))
        elif full and not self._may_wait(body):
            await self.send(error_bytes(rpc_id, _too_many()))
        else:
            self.waiting += len(body)
            task = asyncio.create_task(self._serve_in_room(body))
            self.tasks.add(task)
            task.add_done_callback(self._served)

    def _may_wait(self, body: bytes) -> bool:
        is_few = len(self.tasks) < MAX_IN_FLIGHT + MAX_WAITING
        return is_few and self.waiting + len(body) <= MAX_WAITING_BYTES

    def notice(self, message: dict[str, Any]) -> None:
        """Take a notification, or a response to a question."""
        if "method" not in message:
            self.questions.answer(message)
        elif message["method"] == "notifications/cancelled":
            params = message.get("params") or {}
            task = self.requests.get(request_name(params.get("requestId")) or b"")
            if task is not None:
                task.cancel()

    async def _serve_in_room(self, body: bytes) -> None:
        try:
            await self.room.acquire()
        finally:
            self.waiting -= len(body)
        try:
            await self._serve(body)
        finally:
            self.room.release()

    async def _serve(self, body: bytes, *, counted: bool = True) -> None:
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
            await self.send(reply.body)
            # What may be over in a moment (a rate, a database that is away) ends no connection.
            if isinstance(error, Unauthenticated | Forbidden | NotFound):
                await self.close(POLICY, error)
            return
        try:
            if counted:
                exchange.enter()
            reply = await exchange.answer(body)
        except RpcError as error:
            reply = await exchange.refuse(error, rpc_id=glance(body)[0])
        finally:
            exchange.leave()
        if self.session.version:
            self.subscriber.lists = offered_to(self.visit.caller)
        if reply.parts:
            await self.send(reply.body)

    def _began(self, rpc_id: object) -> None:
        """A request is being served by the current task: it can be cancelled by its id."""
        task = asyncio.current_task()
        name = request_name(rpc_id)
        if task is None or name is None:
            return
        self.requests[name] = task
        task.add_done_callback(lambda done: self._forget(name, done))

    def _forget(self, name: bytes, task: asyncio.Task[None]) -> None:
        # A client may have used the id again.
        if self.requests.get(name) is task:
            del self.requests[name]

    def _served(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            logger.error("a message was not served", exc_info=task.exception())

    async def _tell(self) -> None:
        """Tell a legacy client of changes, and end the connection with its credential."""
        subscriber = self.subscriber
        tenure = Tenure(self.visit.look_again)
        while not subscriber.ended:
            for kind, uri in subscriber.take():
                await self.send(change_bytes(kind, uri))
            if not tenure.seconds_left:
                try:
                    await tenure.check()
                except MarinaError as over:
                    # What cannot be known now may be known in a moment.
                    await self.close(TRY_AGAIN_LATER if isinstance(over, Unavailable) else POLICY, over)
                    return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(tenure.seconds_left):
                    await subscriber.woken.wait()
        if self.visit.parts.hub.over:
            await self._finish()
        await self.close(GOING_AWAY)

    async def _finish(self) -> None:
        """Wait for what is being served, as long as a POST may take while this process ends."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(settings.ENV.web.drain_seconds):
                while self.tasks:
                    await asyncio.wait(self.tasks)

    async def _refuse(self, reply: Reply) -> None:
        if "websocket.http.response" not in self.scope.get("extensions", {}):
            await self.close(POLICY)
            return
        await send_reply(self._send_http, reply, self.visit.request_id)

    async def _send_http(self, message: Any) -> None:
        await self.base_send({**message, "type": f"websocket.{message['type']}"})

    def _exchange(self) -> Exchange:
        return Exchange(self.endpoint.parts(), _nowhere)


def _going() -> RpcError:
    return RpcError(
        503,
        "This process is ending and takes no new requests. Connect again, and send it there.",
        data={"code": "draining", "retryable": True},
    )


def _too_many() -> RpcError:
    return RpcError(
        429,
        f"{MAX_IN_FLIGHT} requests of this connection are being served, and as many wait as may. Send it again when "
        "one of them is answered.",
        data={"code": "too_many_requests", "retryable": True},
    )


async def _nowhere(message: Any) -> None:
    """There is no HTTP answer to send."""
    raise RuntimeError("a message of a WebSocket was answered over HTTP")
