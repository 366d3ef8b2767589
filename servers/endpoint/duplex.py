"""HTTP+SSE, the transport of 2024-11-05: one stream that carries everything to the client, and a URL for its messages.

Source: 2024-11-05 basic/transports, "HTTP with SSE". A message may come to another replica than the one that holds the
stream: its answer goes by way of the session's event log.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final
from urllib.parse import parse_qs

from redis.exceptions import RedisError

from servers.endpoint.channel import Send
from servers.endpoint.events import STANDALONE, EventLog, sse, too_large
from servers.endpoint.exchange import SESSION_HEADER, Exchange
from servers.endpoint.handlers.answers import client_of
from servers.endpoint.handlers.lifecycle import sessions_away
from servers.endpoint.routes import MESSAGES
from servers.endpoint.standing import LogChannel, StandingStream
from servers.endpoint.watch import Watch
from servers.endpoint.wire import error_bytes, id_bytes, process_ended

FIRST_VERSION: Final = "2024-11-05"
"""Spoken until ``initialize`` has agreed on another."""

Receive = Callable[[], Awaitable[Any]]

logger = logging.getLogger(__name__)


async def open_duplex(exchange: Exchange, scope: Any, receive: Receive, send: Send) -> None:
    """Begin a session and hold its stream. It ends with the stream. Raises ``MarinaError``."""
    parts = exchange.parts
    parts.hub.admit(exchange.caller)
    try:
        session = await parts.sessions.begin(
            exchange.caller,
            exchange.surface.slug,
            version=FIRST_VERSION,
            client=client_of(exchange.headers),
            capabilities={},
            digests=parts.views.digests(exchange.surface, exchange.caller),
        )
        if session is None:
            raise sessions_away()
        base = scope["path"].rpartition("/")[0]
        endpoint = f"{base}/{MESSAGES}?session_id={session.id}"
        standing = StandingStream(exchange, session, send, stream=STANDALONE, after=None, transport=True)
        try:
            await standing.serve(receive, preface=[sse(endpoint.encode(), event="endpoint")])
        finally:
            with contextlib.suppress(RedisError, OSError):
                await asyncio.shield(parts.sessions.end(session))
    finally:
        parts.hub.dismiss(exchange.caller)


async def post_message(exchange: Exchange, scope: Any, body: bytes, send: Send) -> None:
    """Take one message: it is accepted at once, and answered on the session's stream. Raises ``MarinaError``."""
    # As bytes would be: a session's id is ASCII, and anything else is none.
    query = parse_qs(scope.get("query_string", b"").decode("latin-1"), encoding="latin-1")
    exchange.headers[SESSION_HEADER] = query.get("session_id", [""])[0].encode("latin-1")
    session = exchange.session = await exchange.find_session()
    del exchange.headers[SESSION_HEADER]
    log = EventLog(exchange.parts.runtime.bus.redis, session, STANDALONE, transport=True)
    exchange.use(LogChannel(log), session)
    request_id = (b"x-request-id", exchange.request_id.encode("ascii"))
    await send(
        {
            "type": "http.response.start",
            "status": 202,
            "headers": [request_id, (b"content-type", b"text/plain"), (b"content-length", b"8")],
        }
    )
    await send({"type": "http.response.body", "body": b"Accepted"})
    watch = Watch(_never, exchange)
    try:
        reply = await exchange.answer(body)
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if not watch.over or task is None:
            # The stream may be another replica's, which goes on.
            await _tell(exchange, log, error_bytes(exchange.rpc_id, process_ended()))
            raise
        task.uncancel()
        return
    finally:
        watch.end()
    if reply.parts:
        await _tell(exchange, log, reply.body)


async def _tell(exchange: Exchange, log: EventLog, answer: bytes) -> None:
    try:
        await log.add(answer, hint=True, instead=too_large(id_bytes(exchange.rpc_id)))
    except (RedisError, OSError):
        logger.warning(
            "an answer was not delivered: Redis is away", extra={"request_id": exchange.request_id}
        )


async def _never() -> Any:
    """The message's own connection is done with; the session's end is what ends its work."""
    await asyncio.get_running_loop().create_future()
