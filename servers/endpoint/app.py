"""The ASGI object for everything below ``/mcp``: order of checks, error boundary, one way in a transport.

The order: Host and Origin, path and method, content type, Accept and declared size, credential, server, body,
JSON, session, envelope, method. What the body asks for is ``exchange``'s and ``methods``' business.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from django.conf import settings
from redis.exceptions import RedisError

from core.errors import MarinaError
from core.extensions import WHOLE, Whole
from core.shutdown import on_drain
from servers.endpoint.body import ClientGone, read_body, take_body
from servers.endpoint.channel import Send
from servers.endpoint.duplex import open_duplex, post_message
from servers.endpoint.eras import header_version
from servers.endpoint.events import STANDALONE, EventLog, stream_of
from servers.endpoint.exchange import SESSION_HEADER, Exchange
from servers.endpoint.guard import Guard
from servers.endpoint.handlers.lifecycle import sessions_away
from servers.endpoint.headers import (
    Gate,
    accepts_events,
    check_content,
    fold,
    refuse_doubled,
    request_id_of,
)
from servers.endpoint.incoming import Parts
from servers.endpoint.lists import PAGE_SIZE
from servers.endpoint.load import ANONYMOUS_REQUESTS, ANONYMOUS_STREAMS, Load
from servers.endpoint.routes import MESSAGES, SSE, STREAMABLE, find_place
from servers.endpoint.sessions import Session, Sessions
from servers.endpoint.standing import StandingStream
from servers.endpoint.subscribers import Hub
from servers.endpoint.view import Views
from servers.endpoint.watch import Watch
from servers.endpoint.wire import Reply, RpcError, error_bytes, glance, internal_error, process_ended
from servers.services.runtime import Runtime, get_runtime

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]

SETTLE_SECONDS: Final = 2.0
"""How long requests that were cancelled as the process ends may take to record that."""

ANSWER_BYTES: Final = 256 * 1024
"""Of an answer that is taken from a client which has as much under way as it may."""

_LOOK_SECONDS: Final = 0.02
_JSON: Final = (b"content-type", b"application/json")
_NOTHING: Final[dict[str, Any]] = {}
_ALLOWED: Final = {STREAMABLE: b"GET, POST, DELETE", SSE: b"GET", MESSAGES: b"POST"}

logger = logging.getLogger(__name__)


class EndpointApp:
    """Serves MCP over HTTP, all revisions. One object a process."""

    def __init__(self, *, page_size: int = PAGE_SIZE) -> None:
        env = settings.ENV
        self.gate = Gate(env.allowed_hosts, env.allowed_origins)
        self._max_body_bytes: int = env.max_body_bytes
        self._public_body_bytes: int = min(env.public_body_bytes, env.max_body_bytes)
        self._page_size = page_size
        self._parts: Parts | None = None

    def parts(self) -> Parts:
        """What is kept for all requests: made anew with each runtime."""
        runtime = get_runtime()
        if self._parts is None or self._parts.runtime is not runtime:
            self._parts = make_parts(runtime, self._page_size)
            on_drain(self._parts.hub.end_all)
        return self._parts

    async def settle(self, seconds: float = SETTLE_SECONDS) -> None:
        """Wait until nothing is under way any more, at most so long. Ends nothing itself."""
        hub = self.parts().hub
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while hub.count or hub.requests.count:
            if loop.time() >= until:
                logger.warning("the process ends with %d requests under way", hub.requests.count)
                return
            await asyncio.sleep(_LOOK_SECONDS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = Exchange(self.parts(), send)
        watch: Watch | None = None
        whole: Whole | None = scope.get("extensions", _NOTHING).get(WHOLE)
        try:
            headers, doubled = fold(scope["headers"])
            exchange.scope = scope
            exchange.headers = headers
            exchange.request_id = request_id_of(headers)
            refuse_doubled(doubled)
            self.gate.check(headers)
            exchange.tenant_slug, exchange.server_slug, transport = find_place(scope)
            if transport != STREAMABLE or scope["method"] != "POST":
                await self._serve_other(exchange, scope, receive, send, transport)
                return
            check_content(headers, max_body_bytes=self._max_body_bytes)
            if not exchange.admit_held():
                await exchange.admit()
            full = _enter(exchange, is_in_session=SESSION_HEADER in headers)
            most = self._most_of(exchange)
            body = take_body(whole, most)
            if body is None:
                body = await _receive(exchange, receive, most)
            _require_answer(body, full)
            watch = Watch(receive, exchange)
            reply = await exchange.answer(body)
        except ClientGone:
            return
        except asyncio.CancelledError:
            if not await _end_early(watch, exchange, send, whole):
                raise
            return
        except (RpcError, MarinaError) as error:
            reply = await exchange.refuse(error)
        except Exception:
            logger.exception(
                "request failed", extra={"request_id": exchange.request_id, "path": scope["path"]}
            )
            reply = Reply(500, (error_bytes(None, internal_error(exchange.request_id)),))
        finally:
            if watch is not None:
                watch.end()
            exchange.leave()
        if exchange.opened is None and exchange.session is not None and reply.status == 200:
            exchange.prefer_stream()
        channel = exchange.opened
        if channel is not None and (channel.opened or channel.wanted):
            await channel.finish(reply.body or None)
        else:
            await send_reply(send, reply, exchange.request_id, whole)

    def _most_of(self, exchange: Exchange) -> int:
        """Bytes that the body may have."""
        return self._max_body_bytes if exchange.caller.credential_id is not None else self._public_body_bytes

    async def _serve_other(
        self, exchange: Exchange, scope: Scope, receive: Receive, send: Send, transport: str
    ) -> None:
        method: str = scope["method"]
        if transport == MESSAGES and method == "POST":
            check_content(exchange.headers, max_body_bytes=self._max_body_bytes)
            await exchange.admit()
            full = _enter(exchange, is_in_session=True)
            body = await _receive(exchange, receive, self._most_of(exchange))
            _require_answer(body, full)
            await post_message(exchange, scope, body, send)
        elif transport == SSE and method == "GET":
            _require_events(exchange)
            await exchange.admit()
            await open_duplex(exchange, scope, receive, send)
        elif transport == STREAMABLE and method in {"GET", "DELETE"} and _has_session(exchange):
            if method == "GET":
                _require_events(exchange)
            await exchange.admit()
            session = exchange.session = await exchange.find_session()
            if method == "GET":
                await _serve_stream(exchange, session, receive, send)
                return
            try:
                await exchange.parts.sessions.end(session)
            except (RedisError, OSError):
                raise sessions_away() from None
            await send_reply(send, Reply(204), exchange.request_id)
        else:
            raise RpcError(
                405,
                "This path does not answer that method in this way: POST a message, or name a session "
                "(Mcp-Session-Id) to open its stream with GET or to end it with DELETE.",
                data={"code": "method_not_allowed"},
                status=405,
                headers=((b"allow", _ALLOWED.get(transport, b"GET")),),
            )


def make_parts(runtime: Runtime, page_size: int = PAGE_SIZE) -> Parts:
    """What the endpoint keeps while it serves with this runtime."""
    env = settings.ENV
    views = Views(page_size)
    hub = Hub(
        runtime,
        views,
        streams=Load(
            "streams",
            per_principal=env.streams_per_credential,
            per_tenant=env.streams_per_team,
            most=env.streams_per_process,
            per_block=ANONYMOUS_STREAMS,
        ),
        requests=Load(
            "requests",
            per_principal=env.requests_per_credential,
            per_tenant=env.requests_per_team,
            most=env.web.max_connections,
            per_block=ANONYMOUS_REQUESTS,
        ),
    )
    return Parts(runtime=runtime, views=views, sessions=Sessions(runtime.bus), hub=hub, guard=Guard())


async def _serve_stream(exchange: Exchange, session: Session, receive: Receive, send: Send) -> None:
    """The stream that a GET opens: the session's own, or that of a request where it broke off."""
    named = exchange.headers.get(b"last-event-id")
    after = None if named is None else named.decode("latin-1")
    stream = STANDALONE
    if after is not None:
        stream = await _find_stream(exchange, session, after)
    hub = exchange.parts.hub
    hub.admit(exchange.caller)
    try:
        standing = StandingStream(exchange, session, send, stream=stream, after=after)
        await standing.serve(receive)
    finally:
        hub.dismiss(exchange.caller)


async def _find_stream(exchange: Exchange, session: Session, event_id: str) -> str:
    """The stream that an event was of. Raises ``RpcError`` where there is none: not 404, which ends a session."""
    stream = stream_of(event_id)
    if stream == STANDALONE:
        return stream
    if stream is not None:
        try:
            state = await EventLog(exchange.parts.runtime.bus.redis, session, stream).state()
        except (RedisError, OSError):
            raise sessions_away() from None
        if state.kept or state.served:
            return stream
    raise RpcError(
        400,
        "The Last-Event-ID is none of this session's, or what followed it is not kept any more. Open the stream "
        "without it.",
        data={"code": "event_unknown"},
        status=400,
    )


async def _receive(exchange: Exchange, receive: Receive, most: int) -> bytes:
    """The body of who may still call when all of it has come: that takes a while, in which a key may end."""
    body = await read_body(receive, most)
    await exchange.look_again()
    return body


def _enter(exchange: Exchange, *, is_in_session: bool) -> RpcError | None:
    """Count the request as under way, or say why not (429). Raises that where the body cannot be an answer.

    A call that waits for its client's answer counts for as long: refusing the answer would keep it waiting.
    """
    try:
        exchange.enter()
    except RpcError as full:
        length = exchange.headers.get(b"content-length", b"")
        # Questions are put in sessions alone; those without a key have their share of the process and no more.
        if (
            not is_in_session
            or exchange.caller.anonymous
            or not length.isdigit()
            or int(length) > ANSWER_BYTES
        ):
            raise
        return full
    return None


def _require_answer(body: bytes, full: RpcError | None) -> None:
    """Raise ``full``, if it is there, for a body that begins something new."""
    if full is not None and glance(body)[1]:
        raise full


def _has_session(exchange: Exchange) -> bool:
    return SESSION_HEADER in exchange.headers and header_version(exchange.headers) is not None


def _require_events(exchange: Exchange) -> None:
    accept = exchange.headers.get(b"accept", b"*/*")
    # There is nothing else that this path could answer, so one who takes anything takes it.
    if not accepts_events(accept) and b"*/*" not in accept:
        raise RpcError(
            406,
            "What is answered here is a stream of events. Send the header Accept: text/event-stream.",
            data={"code": "accept_leaves_out_events"},
            status=406,
        )


async def _end_early(watch: Watch | None, exchange: Exchange, send: Send, whole: Whole | None) -> bool:
    """End the answer to a request that was cancelled. Whether that was its watch's doing: the task is not to end."""
    if watch is None:
        # It was being received. But a GET may be a stream that is open, and a carried message was accepted already.
        if exchange.scope.get("method") == "POST" and not exchange.carried:
            reply = await exchange.refuse(process_ended(begun=False))
            await send_reply(send, reply, exchange.request_id, whole)
        return False
    watch.end()
    task = asyncio.current_task()
    if not watch.over or task is None:
        await _finish(exchange, send, Reply(503, (error_bytes(exchange.rpc_id, process_ended()),)), whole)
        return False
    task.uncancel()
    # One that its client cancelled gets no response.
    reply = Reply(202)
    if watch.refusal is not None:
        reply = await exchange.refuse(watch.refusal, rpc_id=exchange.rpc_id)
    await _finish(exchange, send, reply, whole)
    return True


async def _finish(exchange: Exchange, send: Send, reply: Reply, whole: Whole | None) -> None:
    """Answer where the answer has got to: as the end of its stream, or whole."""
    channel = exchange.opened
    if channel is not None and channel.opened:
        await channel.finish(reply.body or None)
    else:
        await send_reply(send, reply, exchange.request_id, whole)


async def send_reply(send: Send, reply: Reply, request_id: str, whole: Whole | None = None) -> None:
    """Send a whole answer: in one piece where the server takes it so."""
    headers = [(b"x-request-id", request_id.encode("ascii")), *reply.headers]
    if reply.parts:
        headers.append(_JSON)
    if whole is not None and whole.answer(reply.status, headers, reply.parts):
        return
    body = reply.body
    if reply.status != 204:
        headers.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
