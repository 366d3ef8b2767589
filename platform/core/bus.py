"""Carries short messages between processes over Redis: one subscribed connection a process, any number of channels.

Nothing is kept and nothing is promised: who must not miss a message keeps what matters elsewhere, and looks there
when told that messages may have been missed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Final

from redis import asyncio as aioredis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from core.heedful import heed

FIRST_BACKOFF_SECONDS: Final = 0.2
LAST_BACKOFF_SECONDS: Final = 5.0
SUBSCRIBE_SECONDS: Final = 2.0
"""How long ``subscribe`` waits to be confirmed. After it the subscription counts as begun with messages missed."""

_PING_SECONDS: Final = 10.0
_COMMAND_SECONDS: Final = 2.0
_CONNECTIONS: Final = 32

logger = logging.getLogger(__name__)


class Listener:
    """One party that listens to a channel. ``heard`` gets each message, ``missed`` is called after a gap."""

    __slots__ = ("channel", "heard", "missed")

    def __init__(self, channel: str, heard: Callable[[bytes], None], missed: Callable[[], None]) -> None:
        self.channel = channel
        self.heard = heard
        self.missed = missed


class Bus:
    """Publish and subscribe for one process, on one event loop. ``redis`` is for commands of its users."""

    def __init__(self, redis_url: str) -> None:
        self._url = redis_url
        # Untyped: the client's types leave open whether it speaks text or bytes. It speaks bytes.
        # A pool that is empty is waited for: hundreds of clients at once do not mean that Redis is away.
        pool: Any = aioredis.BlockingConnectionPool.from_url(
            redis_url,
            timeout=_COMMAND_SECONDS,
            socket_connect_timeout=_COMMAND_SECONDS,
            socket_timeout=_COMMAND_SECONDS,
            max_connections=_CONNECTIONS,
            # Once, for a connection that ended while it lay in the pool.
            retry=Retry(NoBackoff(), 1),
        )
        heed(pool, redis_url)
        self.redis: Any = aioredis.Redis.from_pool(pool)
        self._listeners: dict[str, list[Listener]] = {}
        self._confirmed: dict[str, asyncio.Event] = {}
        self._pubsub: Any = None
        self._running: asyncio.Task[None] | None = None
        self._joining: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Begin to listen. What is subscribed before or after is heard alike."""
        if self._running is None:
            self._running = asyncio.get_running_loop().create_task(self._run(), name="bus")

    async def close(self) -> None:
        """Stop listening and let go of every connection."""
        if self._running is not None:
            self._running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._running
            self._running = None
        await self.redis.aclose()

    async def publish(self, channel: str, message: str | bytes) -> None:
        """Send a message to whoever listens now. Raises ``RedisError`` when Redis does not take it."""
        await self.redis.publish(channel, message)

    def listen(self, channel: str, heard: Callable[[bytes], None], missed: Callable[[], None]) -> Listener:
        """Listen to a channel for good. ``missed`` is called when it begins to be heard, and after each gap.

        Before ``start``, or on the bus's own loop.
        """
        known = channel in self._listeners
        listener = self._add(channel, heard, missed)
        if self._pubsub is not None and not known:
            self._join_soon(channel)
        return listener

    async def subscribe(
        self, channel: str, heard: Callable[[bytes], None], missed: Callable[[], None]
    ) -> Listener:
        """Listen to a channel. When this returns, messages that are published from now on are heard.

        While Redis is away it returns all the same; ``missed`` is called when the channel is heard again.
        """
        known = channel in self._listeners
        listener = self._add(channel, heard, missed)
        confirmed = self._confirmed.setdefault(channel, asyncio.Event())
        if confirmed.is_set():
            return listener
        try:
            if not known:
                # By a task of its own: who is cancelled here must not take the connection of all others along.
                self._join_soon(channel)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SUBSCRIBE_SECONDS):
                    await confirmed.wait()
        except BaseException:
            # Who is cancelled here never gets the listener, so nobody else would take it away.
            if self._remove(listener):
                self._soon(self._part(channel))
            raise
        return listener

    def leave(self, listener: Listener) -> None:
        """Stop listening. The channel is let go when nobody is left."""
        if self._remove(listener):
            self._soon(self._part(listener.channel))

    async def _run(self) -> None:
        backoff = FIRST_BACKOFF_SECONDS
        while True:
            client = aioredis.Redis.from_url(
                self._url, socket_connect_timeout=_COMMAND_SECONDS, health_check_interval=_PING_SECONDS
            )
            heed(client.connection_pool, self._url)
            try:
                async with client.pubsub() as pubsub:
                    # A channel of our own, so that the connection is a subscribed one from its first moment.
                    await pubsub.subscribe("marina:bus")
                    self._pubsub = pubsub
                    if self._listeners:
                        await pubsub.subscribe(*self._listeners)
                    while True:
                        message = await pubsub.get_message(timeout=_PING_SECONDS)
                        if message is not None:
                            self._take(message)
                            backoff = FIRST_BACKOFF_SECONDS
            except (RedisError, OSError):
                logger.warning(
                    "other processes are not heard: no connection to Redis",
                    extra={"again_in_seconds": backoff},
                )
            except Exception:
                # Whatever it was, a process that hears nothing any more would be worse.
                logger.exception("the bus stumbled and begins anew")
            finally:
                self._pubsub = None
                for confirmed in self._confirmed.values():
                    confirmed.clear()
                await client.aclose()
            await asyncio.sleep(backoff)
            backoff = min(backoff * 2, LAST_BACKOFF_SECONDS)

    def _take(self, message: dict[str, Any]) -> None:
        channel = message["channel"].decode()
        if message["type"] == "message":
            for listener in list(self._listeners.get(channel, ())):
                self._tell(listener, message["data"])
        elif message["type"] == "subscribe":
            if channel in self._listeners:
                self._confirmed.setdefault(channel, asyncio.Event()).set()
            # What was published before this moment was not heard.
            for listener in list(self._listeners.get(channel, ())):
                self._tell(listener, None)
        elif message["type"] == "unsubscribe" and channel in self._listeners:
            # Left and joined again before Redis said so.
            self._join_soon(channel)

    def _add(self, channel: str, heard: Callable[[bytes], None], missed: Callable[[], None]) -> Listener:
        listener = Listener(channel, heard, missed)
        self._listeners.setdefault(channel, []).append(listener)
        return listener

    def _remove(self, listener: Listener) -> bool:
        """Take a listener away. Whether it was the last of its channel."""
        listeners = self._listeners.get(listener.channel)
        if listeners is None or listener not in listeners:
            return False
        listeners.remove(listener)
        if listeners:
            return False
        del self._listeners[listener.channel]
        self._confirmed.pop(listener.channel, None)
        return True

    def _tell(self, listener: Listener, message: bytes | None) -> None:
        """Hand on a message, or that some were missed. One listener's fault is no other's."""
        try:
            if message is None:
                listener.missed()
            else:
                listener.heard(message)
        except Exception:
            logger.exception("a listener failed", extra={"channel": listener.channel})

    def _join_soon(self, channel: str) -> None:
        self._soon(self._join(channel))

    def _soon(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._joining.add(task)
        task.add_done_callback(self._joining.discard)

    async def _part(self, channel: str) -> None:
        if self._pubsub is not None and channel not in self._listeners:
            with contextlib.suppress(RedisError, OSError):
                await self._pubsub.unsubscribe(channel)

    async def _join(self, channel: str) -> None:
        if self._pubsub is not None and channel in self._listeners:
            with contextlib.suppress(RedisError, OSError):
                await self._pubsub.subscribe(channel)
