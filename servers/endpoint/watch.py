"""Watches over a request that takes a while: its client going away, its cancellation, and keeping its stream alive."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final

from redis.exceptions import RedisError

from core.errors import Forbidden, MarinaError, NotFound, Unauthenticated
from servers.endpoint.events import LEASE_SECONDS
from servers.endpoint.exchange import SESSION_HEADER, Exchange
from servers.endpoint.notices import cancelled_key, request_name
from servers.endpoint.sessions import Session, session_key

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

    __slots__ = ("_exchange", "_receive", "_returning", "_seen", "_task", "_tasks", "over", "refusal")

    def __init__(self, receive: Receive, exchange: Exchange) -> None:
        loop = asyncio.get_running_loop()
        self.over = False
        """Whether this watch cancelled the task: the client went away for good, or said that it does not want the
        result, or may not have it any more."""
        self.refusal: MarinaError | None = None
        """Why the client may not have it any more, where that is so."""
        self._receive = receive
        self._exchange = exchange
        self._task = asyncio.current_task(loop)
        self._tasks: list[asyncio.Task[None]] = []
        self._returning: asyncio.TimerHandle | None = None
        self._seen = False
        exchange.parts.guard.watch(self)

    def end(self) -> None:
        """Stop watching: the answer is ready."""
        self._exchange.parts.guard.forget(self)
        # What is heard from now on must not cancel the sending of the answer.
        self._task = None
        if self._returning is not None:
            self._returning.cancel()
        for task in self._tasks:
            task.cancel()

    def look(self) -> bool:
        """The guard comes by. Says whether this watch has begun and needs no guard any more."""
        if not self._seen:
            self._seen = True
            return False
        if not self._tasks:
            self._begin()
        exchange = self._exchange
        if exchange.session is None:
            # It may be being looked for still.
            return SESSION_HEADER not in exchange.headers
        self._tasks.append(asyncio.get_running_loop().create_task(self._until_cancelled(exchange.session)))
        return True

    def _begin(self) -> None:
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._until_gone()), loop.create_task(self._keep_alive())]

    async def _until_gone(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        channel = self._exchange.opened
        if channel is not None and (channel.detached or channel.detach()):
            await self._hint()
            self._await_return()
        else:
            self._cancel()

    async def _until_cancelled(self, session: Session) -> None:
        """Hear what other replicas say of this request."""
        exchange = self._exchange
        # A batch has many requests and no id of its own: only the end of its session ends it.
        name = request_name(exchange.rpc_id) or b""
        bus = exchange.parts.runtime.bus
        woken = asyncio.Event()
        unheard, resumed, ended = True, False, False

        def heard(message: bytes) -> None:
            nonlocal resumed, ended
            if message == b"end":
                ended = True
                woken.set()
            elif name and message == b"cancel " + name:
                self._cancel()
            elif message.startswith((b"stream ", b"left ")) and self._is_own(message):
                if message.startswith(b"left "):
                    self._await_return()
                else:
                    resumed = True
                    woken.set()

        def missed() -> None:
            nonlocal unheard
            unheard = True
            woken.set()

        listener = await bus.subscribe(session.channel, heard, missed)
        try:
            while True:
                if unheard:
                    # What was said while this process did not listen.
                    unheard = not await self._ask_whether_over(session.id, name)
                await woken.wait()
                woken.clear()
                if ended:
                    await self._end_with_session()
                    return
                if resumed:
                    resumed = False
                    self._came_back()
                    await self._hint()
        finally:
            bus.leave(listener)

    async def _ask_whether_over(self, session_id: str, name: bytes) -> bool:
        """End the request if its client cancelled it or its session has ended. Whether that could be asked."""
        try:
            async with self._exchange.parts.runtime.bus.redis.pipeline(transaction=False) as pipe:
                pipe.sismember(cancelled_key(session_id), name)
                pipe.exists(session_key(session_id))
                cancelled, stands = await pipe.execute()
        except (RedisError, OSError):
            return False
        if cancelled:
            self._cancel()
        elif not stands:
            await self._end_with_session()
        return True

    async def _end_with_session(self) -> None:
        """End the request, whose session has ended: perhaps with its credential, which is the cause then."""
        refusal: MarinaError | None = None
        try:
            await self._exchange.look_again()
        except (Unauthenticated, Forbidden, NotFound) as found:
            refusal = found
        except MarinaError:
            logger.info(
                "why a session ended is not known now", extra={"request_id": self._exchange.request_id}
            )
        self._cancel(refusal)

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
            try:
                await exchange.look_again()
            except (Unauthenticated, Forbidden, NotFound) as refusal:
                # Its credential has ended, and what it streams with it. A database that is away ends nothing.
                self._cancel(refusal)
                return
            except MarinaError:
                continue

    def _is_own(self, message: bytes) -> bool:
        channel = self._exchange.opened
        if channel is None or channel.log is None:
            return False
        return message.split(b" ")[1] == channel.log.stream.encode()

    def _await_return(self) -> None:
        """Go on for a while: the client may come back for the rest."""
        if self._returning is None:
            self._returning = asyncio.get_running_loop().call_later(RETURN_SECONDS, self._cancel)

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

    def _cancel(self, refusal: MarinaError | None = None) -> None:
        """Cancel the task: once, for a second time would interrupt what it does about the first."""
        if self.over:
            return
        self.over = True
        self.refusal = refusal
        if self._task is not None:
            # What is being run records the refusal as its end.
            self._task.cancel(refusal)
