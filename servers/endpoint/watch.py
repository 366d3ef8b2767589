"""Watches over a request that takes a while: its client going away, its cancellation, and keeping its stream alive."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar, Final

from redis.exceptions import RedisError

from servers.endpoint.events import LEASE_SECONDS
from servers.endpoint.exchange import Exchange
from servers.endpoint.notices import cancelled_key, request_name
from servers.endpoint.sessions import session_key

AFTER_SECONDS: Final = 0.05
"""A request that is answered sooner needs no watch: most are. It begins at the second round of the guard that comes
by so often, which costs a request nothing; a timer of its own would."""

PING_SECONDS: Final = 15.0
"""A stream is opened for a request that takes longer, so that proxies do not take it for dead."""

HOLD_SECONDS: Final = LEASE_SECONDS / 3

RETURN_SECONDS: Final = 60.0
"""How long work goes on for a client that went away from a stream that it can come back to."""

Receive = Callable[[], Awaitable[Any]]

logger = logging.getLogger(__name__)


class Watch:
    """Cancels the current task when nobody waits for its result any more.

    2026-07-28 asks for it (basic/patterns/cancellation). Before that revision a closed connection need not mean
    "cancel"; but where nothing was said that the client could come back to, nobody could ever fetch the result.
    """

    __slots__ = ("_exchange", "_receive", "_returning", "_seen", "_task", "_tasks", "cancelled", "gone")

    def __init__(self, receive: Receive, exchange: Exchange) -> None:
        loop = asyncio.get_running_loop()
        self.gone = False
        """The client went away for good."""
        self.cancelled = False
        """The client said that it does not want the result any more."""
        self._receive = receive
        self._exchange = exchange
        self._task = asyncio.current_task(loop)
        self._tasks: list[asyncio.Task[None]] = []
        self._returning: asyncio.TimerHandle | None = None
        self._seen = False
        _Guard.watch(self, loop)

    @property
    def over(self) -> bool:
        """Whether it was this watch that cancelled the task."""
        return self.gone or self.cancelled

    def end(self) -> None:
        """Stop watching: the answer is ready."""
        _Guard.watches.pop(self, None)
        if self._returning is not None:
            self._returning.cancel()
        for task in self._tasks:
            task.cancel()

    def look(self) -> bool:
        """The guard comes by. Says whether this watch has begun and needs no guard any more."""
        if self._seen:
            self._begin()
        seen, self._seen = self._seen, True
        return seen

    def _begin(self) -> None:
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._until_gone()), loop.create_task(self._keep_alive())]
        if self._exchange.session is not None:
            self._tasks.append(loop.create_task(self._until_cancelled()))

    async def _until_gone(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        channel = self._exchange.opened
        if channel is not None and (channel.detached or channel.detach()):
            await self._hint()
            self._await_return()
        else:
            self._give_up()

    async def _until_cancelled(self) -> None:
        """Hear what other replicas say of this request."""
        exchange = self._exchange
        session = exchange.session
        if session is None:
            return
        # A batch has many requests and no id of its own: only the end of its session ends it.
        name = request_name(exchange.rpc_id) or b""
        bus = exchange.parts.runtime.bus
        resumed = asyncio.Event()

        def heard(message: bytes) -> None:
            if message == b"end" or (name and message == b"cancel " + name):
                self._cancel()
            elif message.startswith((b"stream ", b"left ")) and self._is_own(message):
                if message.startswith(b"left "):
                    self._await_return()
                else:
                    resumed.set()

        listener = await bus.subscribe(session.channel, heard, _nothing)
        try:
            with contextlib.suppress(RedisError, OSError):
                # What was said before this process listened.
                async with bus.redis.pipeline(transaction=False) as pipe:
                    pipe.sismember(cancelled_key(session.id), name)
                    pipe.exists(session_key(session.id))
                    cancelled, stands = await pipe.execute()
                if cancelled or not stands:
                    self._cancel()
            while True:
                await resumed.wait()
                resumed.clear()
                self._came_back()
                await self._hint()
        finally:
            await bus.leave(listener)

    async def _keep_alive(self) -> None:
        exchange = self._exchange
        if exchange.carried:
            return
        loop = asyncio.get_running_loop()
        ping_at = loop.time() + PING_SECONDS
        while True:
            await asyncio.sleep(min(HOLD_SECONDS, ping_at - loop.time()))
            if loop.time() >= ping_at:
                ping_at = loop.time() + PING_SECONDS
                await exchange.stream().ping()
            if exchange.opened is not None:
                await exchange.opened.hold()

    def _is_own(self, message: bytes) -> bool:
        channel = self._exchange.opened
        if channel is None or channel.log is None:
            return False
        return message.split(b" ")[1] == channel.log.stream.encode()

    def _await_return(self) -> None:
        """Go on for a while: the client may come back for the rest."""
        if self._returning is None:
            self._returning = asyncio.get_running_loop().call_later(RETURN_SECONDS, self._give_up)

    def _came_back(self) -> None:
        channel = self._exchange.opened
        if channel is not None:
            # Its old connection may look open for long: from now on it is served by the new one.
            channel.detach()
        if self._returning is not None:
            self._returning.cancel()
            self._returning = None

    async def _hint(self) -> None:
        """Say that the stream may have events that were not announced."""
        channel, session = self._exchange.opened, self._exchange.session
        if channel is None or channel.log is None or session is None:
            return
        with contextlib.suppress(RedisError, OSError):
            await self._exchange.parts.runtime.bus.publish(
                session.channel, b"event " + channel.log.stream.encode()
            )

    def _give_up(self) -> None:
        self.gone = True
        if self._task is not None:
            self._task.cancel()

    def _cancel(self) -> None:
        if not self.over:
            self.cancelled = True
            if self._task is not None:
                self._task.cancel()


class _Guard:
    """Comes by at every request that is being served, one timer for all of them."""

    watches: ClassVar[dict[Watch, None]] = {}
    timer: ClassVar[asyncio.TimerHandle | None] = None
    loop: ClassVar[asyncio.AbstractEventLoop | None] = None

    @classmethod
    def watch(cls, watch: Watch, loop: asyncio.AbstractEventLoop) -> None:
        cls.watches[watch] = None
        if cls.timer is None or cls.loop is not loop:
            cls.loop = loop
            cls.timer = loop.call_later(AFTER_SECONDS, cls.round)

    @classmethod
    def round(cls) -> None:
        for watch in list(cls.watches):
            if watch.look():
                cls.watches.pop(watch, None)
        loop = cls.loop
        cls.timer = loop.call_later(AFTER_SECONDS, cls.round) if loop is not None and cls.watches else None


def _nothing() -> None:
    """A cancellation that was missed waits in Redis, and the client goes away sooner or later."""
