"""The stream of a session of before 2026-07-28 that GET opens, while calls are made in it (2025-11-25 basic/transports,
"Listening for Messages from the Server").

On it servers ask and tell what they do not relate to a request, though it is about one: so do the Python SDK's
``session.list_roots()`` and ``create_message()``, and the TypeScript SDK's ``server.elicitInput()``. Whoever does not
listen there leaves such a call waiting until its time is over.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import Any, Final

from core.finishing import stop
from servers.execution.backends.mcp.channel import Channel, Inbox
from servers.execution.backends.mcp.faults import Challenged, unlike_mcp
from servers.execution.backends.mcp.replies import DEAF, Listening, Reply, Request, first_of
from servers.execution.backends.mcp.ways import Way
from servers.execution.backends.mcp.wire import Headers, NotMcp

OPEN_SECONDS: Final = 1.0
"""How long a call waits for the stream: what is said before it is open is lost."""
AGAIN_SECONDS: Final = 1.0
"""After which it is opened anew where it ends while a call is being made."""
RETRY_SECONDS: Final = 5.0
"""After which a call opens one anew that was refused, or broke off."""
KNOWN_SECONDS: Final = 600.0
"""For how long it is believed that a server has no such streams, or says nothing on them at first."""
MAX_STREAM_BYTES: Final = 16_777_216
"""Of one stream: then it is opened anew."""


@dataclass(slots=True)
class Streaming:
    """What is known by now of the streams of one upstream, for all its sessions: times of the monotonic clock."""

    none_until: float = 0.0
    """It has none."""
    silent_until: float = 0.0
    """It does not say that it has begun one before it has something to say: nobody waits for that."""


class SessionStream:
    """Of one session, whose requests repeat ``headers``. ``changed`` is called when a list of the server changed."""

    def __init__(
        self, way: Way, headers: Headers, changed: Callable[[], None], known: Streaming | None = None
    ) -> None:
        self._way = way
        self._headers = headers
        self._known = known or Streaming()
        self._channel = Channel(way.url, partial(way.tell, headers=headers), shared=False)
        self._channel.changed = changed
        self._settled = asyncio.Event()
        self._reading: asyncio.Task[None] | None = None
        self._next_try = 0.0
        self._challenge: _Challenge | None = None
        self._over = False

    async def open(self) -> None:
        """Hear what is said from now on, where the server has such a stream. To be called before a request is made.

        Raises ``Challenged`` where it is refused for want of a good token, once: so is the request then, and nothing
        was done yet.
        """
        now = monotonic()
        if self._over or now < max(self._known.none_until, self._next_try):
            return
        if self._reading is None or self._reading.done():
            self._settled.clear()
            self._reading = asyncio.get_running_loop().create_task(self._read())
        if not self._settled.is_set() and now >= self._known.silent_until:
            try:
                async with asyncio.timeout(OPEN_SECONDS):
                    await self._settled.wait()
            except TimeoutError:
                self._known.silent_until = monotonic() + KNOWN_SECONDS
        if self._challenge is not None and not self._challenge.told:
            self._challenge.told = True
            self._next_try = 0.0
            raise self._challenge.fault

    async def ask(self, request: Request) -> Reply:
        """Send a request and give its answer; what comes on the stream meanwhile is heard. Raises as ``Way.ask``."""
        if request.hear is DEAF or self._reading is None or self._over:
            return await self._way.ask(request)
        try:
            async with asyncio.TaskGroup() as group:
                with self._channel.beside(request) as inbox:
                    inbox.first = lambda: group.create_task(self._hear(request, inbox))
                    return await self._way.ask(request)
        except BaseExceptionGroup as several:
            raise first_of(several) from None

    async def close(self) -> None:
        """Let go of it."""
        self._over = True
        self._channel.hush()
        await stop(self._reading)

    async def _hear(self, request: Request, inbox: Inbox) -> None:
        try:
            async with aclosing(inbox.messages()) as messages:
                await Listening(request).reply_of(messages, {})
        except NotMcp as fault:
            raise unlike_mcp(self._way.url, fault) from None

    async def _read(self) -> None:
        try:
            while True:
                if not await self._read_once():
                    self._known.none_until = monotonic() + KNOWN_SECONDS
                    return
                if not self._channel.busy:
                    return
                await asyncio.sleep(AGAIN_SECONDS)
        finally:
            self._settled.set()

    async def _read_once(self) -> bool:
        """Read a stream to its end. Whether the server has any."""
        # Why a stream ends is known to the calls by theirs, whatever it is.
        with contextlib.suppress(Exception):
            try:
                return await self._way.listen(
                    self._take, self._settled.set, headers=self._headers, most_bytes=MAX_STREAM_BYTES
                )
            except Challenged as fault:
                if fault.challenge.status == 401:
                    self._challenge = self._challenge or _Challenge(fault)
        # It is refused, or broke off, and is there perhaps a while later.
        self._next_try = monotonic() + RETRY_SECONDS
        return True

    def _take(self, message: Mapping[str, Any], size: int) -> None:
        # Answers belong on the stream of what they answer.
        if isinstance(message.get("method"), str):
            self._channel.take(message, size)


@dataclass(slots=True)
class _Challenge:
    fault: Challenged
    told: bool = False
