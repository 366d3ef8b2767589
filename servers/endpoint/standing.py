"""Streams that stand open for a legacy session: what a GET opens, and the one of HTTP+SSE (2024-11-05).

What is said on them lies in the session's event log; whoever holds the stream reads it from there, on whichever
replica it was said. Knows no method.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Awaitable, Callable, Iterable
from time import monotonic
from typing import Any, Final

import orjson
from redis.exceptions import RedisError

from core.errors import MarinaError
from servers.endpoint.channel import RETRY_MS, SSE_HEADERS, Send
from servers.endpoint.events import PAGE_EVENTS, PING, STANDALONE, Event, EventLog, sse
from servers.endpoint.handlers.lifecycle import offered_to
from servers.endpoint.sessions import Session, lists_key, subscriptions_key
from servers.endpoint.subscribers import LISTS, Subscriber, change_bytes
from servers.endpoint.tenure import Tenure
from servers.endpoint.updates import take_updates
from servers.endpoint.visit import Visit
from servers.endpoint.wire import INTERNAL_ERROR

PING_SECONDS: Final = 15.0
REFRESH_SECONDS: Final = 60.0
"""How often an open stream puts off the end of its session."""

_LOST: Final = {
    "code": INTERNAL_ERROR,
    "message": "The process that served this request ended before it answered. Whether the request took effect is in "
    "the log. Send it again if it is safe to repeat.",
    "data": {"code": "request_lost"},
}

_MISSING: Final = orjson.dumps(
    {
        "jsonrpc": "2.0",
        "method": "notifications/message",
        "params": {
            "level": "warning",
            "logger": "marina",
            "data": "More was said on this stream than is kept: messages before this one are missing.",
        },
    }
)

Receive = Callable[[], Awaitable[Any]]


class LogChannel:
    """A way back to a client whose stream is held elsewhere: implements ``channel.Channel``."""

    carries = True

    def __init__(self, log: EventLog) -> None:
        self._log = log

    async def send(self, message: bytes) -> None:
        """See ``Channel``."""
        with contextlib.suppress(RedisError, OSError):
            await self._log.add(message, hint=True)

    async def release(self) -> None:
        """See ``Channel``. The stream carries more than this request."""


class StandingStream:
    """One open stream of a session. ``after`` is the id of the last event that the client has."""

    def __init__(
        self,
        visit: Visit,
        session: Session,
        send: Send,
        *,
        stream: str,
        after: str | None,
        transport: bool = False,
    ) -> None:
        runtime = visit.parts.runtime
        self._visit = visit
        self._session = session
        self._send = send
        self._hub = visit.parts.hub
        self._bus = runtime.bus
        self._log = EventLog(runtime.bus.redis, session, stream, transport=transport)
        self._transport = transport
        self._told_missing = False
        self._after = after
        self._own = secrets.token_hex(4).encode()
        self._name = b"stream " + stream.encode() + b" "
        self._event = b"event " + stream.encode()
        standalone = stream == STANDALONE
        self._subscriber = Subscriber(
            visit.caller, visit.surface.slug, lists=offered_to(visit.caller) if standalone else ()
        )
        self._standalone = standalone
        self._reload = standalone
        self._loading = False
        self._opened = False
        self._uncertain = False
        self._tenure = Tenure(visit.look_again)
        self._over = False
        self._gone = False

    async def serve(self, receive: Receive, *, preface: Iterable[bytes] = ()) -> None:
        """Serve until the client goes, the session ends, or another connection takes the stream over.

        The caller has been counted by ``Hub.admit``.
        """
        listener = await self._bus.subscribe(self._session.channel, self._heard, self._missed)
        gone = asyncio.get_running_loop().create_task(self._until_gone(receive))
        visit = self._visit
        try:
            # Before the lists are compared with what the client was told: no change falls between the two.
            self._hub.join(self._subscriber, visit.surface)
            await self._open(preface)
            await self._run()
            await self._send({"type": "http.response.body", "body": b""})
        finally:
            gone.cancel()
            try:
                if self._gone and self._subscriber.uris:
                    # Its client may come back, and is told of what changed meanwhile.
                    await self._hub.wanting.keep(self._session, self._subscriber.uris, visit.surface)
            finally:
                self._hub.leave(self._subscriber)
                self._bus.leave(listener)
            if self._gone and not self._standalone:
                with contextlib.suppress(RedisError, OSError):
                    await self._bus.publish(self._session.channel, b"left " + self._log.stream.encode())

    async def _open(self, preface: Iterable[bytes]) -> None:
        start = (b"x-request-id", self._visit.request_id.encode("ascii"))
        await self._send({"type": "http.response.start", "status": 200, "headers": [start, *SSE_HEADERS]})
        for chunk in preface:
            await self._write(chunk)
        if self._after is None and preface:
            self._after = self._log.first_id
        await self._find_place()
        if not preface and self._session.primed:
            await self._write(sse(b"", event_id=self._after, retry=RETRY_MS))
        else:
            # Some clients wait for the first byte of a stream.
            await self._write(PING)

    async def _find_place(self) -> None:
        """Take the stream over and find where it begins. While Redis is away that is tried again and again."""
        with contextlib.suppress(RedisError, OSError):
            if self._after is None:
                # A new stream: what was said while there was none is not its business.
                self._after = await self._log.newest_id()
            await self._bus.publish(self._session.channel, self._name + self._own)
            if self._standalone:
                await self._compare_lists()
            self._opened = True

    async def _run(self) -> None:
        pinged = refreshed = monotonic()
        if not self._standalone and (await self._deliver() or await self._is_orphaned()):
            return
        while not self._over:
            if not self._opened:
                await self._find_place()
            if self._reload:
                await self._load_subscriptions()
            await self._tell()
            if await self._deliver() or self._subscriber.ended:
                return
            if (self._uncertain or not self._tenure.seconds_left) and not await self._holds():
                return
            now = monotonic()
            if now - pinged >= PING_SECONDS:
                pinged = now
                await self._write(PING)
            if now - refreshed >= REFRESH_SECONDS:
                refreshed = now
                with contextlib.suppress(RedisError, OSError):
                    await self._visit.parts.sessions.refresh(self._session)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._tenure.seconds_left):
                    await self._subscriber.woken.wait()

    async def _tell(self) -> None:
        """Say what changed: into the log, from where it is delivered; straight away while there is no Redis."""
        taken = self._subscriber.take()
        for kind, uri in taken:
            message = change_bytes(kind, uri)
            if self._after is None:
                # Where this stream begins in the log is not known yet: from there it would not come back.
                await self._write(sse(message))
                continue
            try:
                await self._log.add(message, hint=False)
                if kind in LISTS:
                    await self._look()
                    await self._remember_lists()
            except (RedisError, OSError):
                await self._write(sse(message))
        if any(uri for _, uri in taken):
            with contextlib.suppress(RedisError, OSError):
                # The next stream of this session is to tell of what comes after these.
                await take_updates(self._bus.redis, self._session)

    async def _deliver(self) -> bool:
        """Send what the log has and the client has not. Says whether the stream ends here."""
        events: list[Event] = []
        while self._after is not None and (not events or len(events) == PAGE_EVENTS):
            try:
                events = await self._log.after(self._after)
            except (RedisError, OSError):
                return False
            if not events:
                return False
            for event in events:
                if event.missing and await self._is_cut():
                    return True
                self._after = event.id
                if event.data:
                    await self._write(sse(event.data, event_id=event.id))
                if event.last:
                    return True
            if self._transport:
                with contextlib.suppress(RedisError, OSError):
                    await self._log.forget(self._after)
        return False

    async def _is_cut(self) -> bool:
        """Tell that something was said which is not kept. Says whether the stream is to end with it."""
        told, self._told_missing = self._told_missing, True
        if not self._standalone:
            if not told:
                await self._write(sse(_MISSING))
            return False
        # What changed is not known any more, so everything may have; the second time the client begins anew.
        for name in self._subscriber.lists:
            self._subscriber.tell(name)
        for uri in self._subscriber.uris:
            self._subscriber.tell("updated", uri)
        return told or self._transport

    async def _holds(self) -> bool:
        """Whether the stream may stay open: for its credential, its session, and what it waits for."""
        try:
            await self._tenure.check()
        except MarinaError:
            return False
        with contextlib.suppress(RedisError, OSError):
            # Its end may have been missed.
            if not await self._visit.parts.sessions.stands(self._session):
                return False
            self._uncertain = False
        return self._standalone or not await self._is_orphaned()

    async def _is_orphaned(self) -> bool:
        """Whether nobody works on the request any more; then its client is told so."""
        try:
            state = await self._log.state()
        except (RedisError, OSError):
            return False
        if state.served:
            return False
        if state.newest != self._after:
            # It was answered after the log was read; were it lost, that is told the next time.
            return await self._deliver()
        if not state.over:
            message = b'{"jsonrpc":"2.0","id":%s,"error":%s}' % (state.request, orjson.dumps(_LOST))
            await self._write(sse(message))
        return True

    def _heard(self, message: bytes) -> None:
        if message == b"end" or (message.startswith(self._name) and not message.endswith(self._own)):
            # The session has ended, or its client opened the stream anew: this connection is an old one.
            self._over = True
        elif message.startswith((b"subscribed ", b"unsubscribed ")):
            # At once: an update that is announced after this is heard after it, and must find it done.
            if not self._standalone:
                return
            verb, _, uri = message.decode().partition(" ")
            (self._subscriber.uris.add if verb == "subscribed" else self._subscriber.uris.discard)(uri)
            self._hub.wanting.changed()
            # What is being read meanwhile may be older.
            self._reload = self._reload or self._loading
            return
        elif message != self._event:
            return
        self._subscriber.woken.set()

    def _missed(self) -> None:
        """There was a gap in what is heard: everything may be otherwise now."""
        self._reload = self._standalone
        self._uncertain = True
        self._subscriber.woken.set()

    async def _load_subscriptions(self) -> None:
        self._reload, self._loading = False, True
        try:
            uris = await self._bus.redis.smembers(subscriptions_key(self._session.id))
            self._subscriber.uris = {uri.decode() for uri in uris}
            if uris:
                self._hub.wanting.changed()
            # Asked for once the others are heard: none falls between.
            for uri in await take_updates(self._bus.redis, self._session):
                if uri in self._subscriber.uris:
                    self._subscriber.tell("updated", uri)
        except (RedisError, OSError):
            self._reload = True
        self._loading = False

    async def _compare_lists(self) -> None:
        """Tell of the lists that changed since the client was last told, on whatever connection that was."""
        await self._look()
        now = self._digests()
        before = await self._bus.redis.hgetall(lists_key(self._session.id))
        for name in self._subscriber.lists:
            told = before.get(name.encode())
            if told is not None and told.decode() != now[name]:
                self._subscriber.tell(name)
        await self._remember_lists()

    async def _look(self) -> None:
        """The server as it is now."""
        with contextlib.suppress(MarinaError):
            surface = await self._visit.parts.runtime.surfaces.get(
                self._session.tenant_id, self._session.server
            )
            if surface is not None:
                self._visit.surface = surface

    async def _remember_lists(self) -> None:
        await self._visit.parts.sessions.remember_lists(self._session, self._digests())

    def _digests(self) -> dict[str, str]:
        visit = self._visit
        return visit.parts.views.digests(visit.surface, visit.caller)

    async def _until_gone(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._gone = not self._over
        self._over = True
        self._subscriber.woken.set()

    async def _write(self, chunk: bytes) -> None:
        await self._send({"type": "http.response.body", "body": chunk, "more_body": True})
