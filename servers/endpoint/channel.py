"""The way back from a request to the client that sent it, while it is being served. Knows no method.

The answer to a POST begins as nothing at all: it becomes one JSON body when only the result is sent, and a stream of
events when something has to be said before it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol

from redis.exceptions import RedisError

from servers.endpoint.events import PING, EventLog, sse

RETRY_MS: Final = 500
"""How soon a client comes back for a stream that was closed on purpose (SEP-1699)."""

Send = Callable[[Any], Awaitable[None]]

SSE_HEADERS: Final = (
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-store, no-transform"),
    # Else a proxy like nginx would hold events back (streamable-http, "Receiving Messages").
    (b"x-accel-buffering", b"no"),
)

logger = logging.getLogger(__name__)


class Channel(Protocol):
    """Carries messages to the client of one request."""

    @property
    def carries(self) -> bool:
        """Whether anything but the result can reach the client."""
        ...

    async def send(self, message: bytes) -> None:
        """Send a notification or a request: JSON, on one line."""
        ...

    async def release(self) -> None:
        """Close the client's stream now; what follows is kept until it comes back."""
        ...


class PostChannel:
    """The answer to one POST as a stream, opened by the first message.

    With a ``log`` (a session's) what is sent is kept too, so that the client can come back for it. ``primes``:
    the stream begins with an empty event that only gives an id, which clients before 2025-11-25 do not expect.
    """

    __slots__ = (
        "_closed",
        "_lock",
        "_primes",
        "_send",
        "_start",
        "carries",
        "detached",
        "log",
        "opened",
        "wanted",
    )

    def __init__(
        self,
        send: Send,
        start: list[tuple[bytes, bytes]],
        *,
        carries: bool,
        log: EventLog | None = None,
        primes: bool = False,
    ) -> None:
        self._send = send
        self._start = start
        self._primes = primes
        self._lock = asyncio.Lock()
        self._closed = False
        self.carries = carries
        self.log = log
        self.opened = False
        self.wanted = False
        """Whether the result alone is to be sent as a stream too."""
        self.detached = False
        """The client's end of the stream is gone, but it may come back."""

    async def send(self, message: bytes) -> None:
        """See ``Channel``. Dropped where the client takes no stream."""
        if self.carries:
            async with self._lock:
                await self._event(message, last=False)

    async def finish(self, message: bytes | None) -> None:
        """Send the result, if there is one, and end the stream."""
        async with self._lock:
            if message is not None:
                await self._event(message, last=True)
            elif self.detached and self.log is not None:
                # Whoever holds the stream elsewhere is to end it.
                with contextlib.suppress(RedisError, OSError):
                    await self.log.add(b"", last=True, hint=True)
            await self._close()

    async def ping(self) -> None:
        """Open the stream if it is not open, and keep it from being taken for dead."""
        if self.carries and not self.detached and not self._lock.locked():
            async with self._lock:
                await self._open()
                await self._write(PING)

    async def hold(self) -> None:
        """Tell the other processes that this one still works on the request."""
        if self.log is not None and self.opened:
            with contextlib.suppress(RedisError, OSError):
                await self.log.hold()

    async def release(self) -> None:
        """See ``Channel``. Without a log nothing would be there to come back to, so the stream stays."""
        if self.log is None or not self.carries:
            return
        async with self._lock:
            await self._open()
            self.detached = True
            await self._close()
        await self.hold()

    def detach(self) -> bool:
        """The client went away. Says whether it can come back for the rest."""
        self.detached = self.opened and self.log is not None
        return self.detached

    async def _event(self, message: bytes, *, last: bool) -> None:
        # A client may have come back before anybody here noticed that it was away: the end is told in any case.
        hint = self.detached or (last and self.opened)
        await self._open()
        event_id = None
        if self.log is not None:
            try:
                event_id = await self.log.add(message, last=last, hint=hint, away=self.detached)
            except (RedisError, OSError):
                logger.warning("an event was not kept for a client that comes back: Redis is away")
        await self._write(sse(message, event_id=event_id))

    async def _open(self) -> None:
        if self.opened:
            return
        self.opened = True
        await self._send(
            {"type": "http.response.start", "status": 200, "headers": [*self._start, *SSE_HEADERS]}
        )
        if self._primes and self.log is not None:
            await self._write(sse(b"", event_id=self.log.first_id, retry=RETRY_MS))

    async def _write(self, chunk: bytes) -> None:
        if not self.detached and not self._closed:
            await self._send({"type": "http.response.body", "body": chunk, "more_body": True})

    async def _close(self) -> None:
        if self.opened and not self._closed:
            self._closed = True
            await self._send({"type": "http.response.body", "body": b""})
