"""What is kept of upstream MCP servers while they are used: connections, and sessions by whom they are for.

A session is one caller's: what an upstream keeps in it reaches no one else. They are bounded in number and age, and
ended when they are not used. Whoever has no credential gets one for each call. One process, one event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from time import monotonic
from typing import Any, Final, NamedTuple
from uuid import UUID

from core.outbound import AllowAddress
from servers.execution.backends.mcp.exchange import Endpoint
from servers.execution.backends.mcp.held import Holding, Whose
from servers.execution.backends.mcp.lines import Lines
from servers.execution.backends.mcp.session import Conversation, Server, begin, discover
from servers.execution.backends.mcp.settings import McpSettings, read_settings
from servers.execution.contract import Source

IDLE_SECONDS: Final = 60.0
"""How long the connections of a source that nobody uses are kept."""
SESSION_IDLE_SECONDS: Final = 300.0
SESSION_SECONDS: Final = 3_600.0
"""How old a session may grow."""
MAX_SESSIONS: Final = 64
"""Of one source in one process. Beyond it, the one that was not used for longest is ended."""
SERVER_SECONDS: Final = 600.0
"""For how long it is believed what era an upstream is of."""
MAX_CONNECTIONS: Final = 64
MAX_STRANGERS: Final = 32
"""Sessions for one call, of one source in one process: the next one waits. Half of the connections, so that whoever has
a credential finds one. Calls that wait for their clients' answers are not among them: those are counted as such."""


class Key(NamedTuple):
    """Whom a session is for, and what its client can be asked."""

    whose: Whose
    capabilities: frozenset[str]

    @property
    def lasts(self) -> bool:
        """Whether a later call can be told to be the same caller's."""
        return bool(self.whose[1])


class Upstream:
    """One version of one source, ready to be asked."""

    def __init__(self, settings: McpSettings, *, allow: AllowAddress) -> None:
        self.settings = settings
        self.endpoint = Endpoint(settings.url, Lines(allow=allow, most=MAX_CONNECTIONS), settings.signing)
        self.aside = Endpoint(settings.url, Lines(allow=allow, most=4), settings.signing)
        self.used_at = monotonic()
        self.in_use = 0
        self._server: Server | None = None
        self._asked_at = -SERVER_SECONDS
        self._sessions: dict[Key, Conversation] = {}
        self._beginning: dict[Key, asyncio.Lock] = {}
        self._asking = asyncio.Lock()
        self._places = asyncio.Semaphore(MAX_STRANGERS)
        self._tasks: set[asyncio.Task[None]] = set()
        self.holding = Holding()

    @property
    def idle(self) -> bool:
        """Whether nothing is asked of it just now, and no call waits in it."""
        return not self.in_use and not len(self.holding)

    @property
    def sessions(self) -> int:
        """How many there are."""
        return len(self._sessions)

    async def converse(self, key: Key, capabilities: Mapping[str, Any]) -> Conversation:
        """The conversation for whoever asks, begun where there is none. Raises ``SourceError``, ``OutboundRefused``."""
        if (found := self._find(key)) is not None:
            return found
        if not key.lasts:
            return await self._for_once(key, capabilities)
        lock = self._beginning.setdefault(key, asyncio.Lock())
        try:
            async with lock:
                found = self._find(key)
                if found is None:
                    if (old := self._sessions.get(key)) is not None:
                        self.lose(key, old, end=True)
                    found = await self._begin(capabilities)
                    self._keep(key, found)
                return found
        finally:
            if not lock.locked():
                self._beginning.pop(key, None)

    def lose(self, key: Key, lost: Conversation, *, end: bool = False) -> None:
        """Forget a conversation, and tell the upstream where it does not know yet."""
        if self._sessions.get(key) is lost:
            del self._sessions[key]
        if not end:
            lost.id = ""
        elif lost.in_use:
            # Others are being answered in it: who is the last ends it.
            lost.over = True
        else:
            self.later(lost.end(self.aside))

    @contextmanager
    def speaking(self, conversation: Conversation) -> Iterator[None]:
        """For the time of a request in it, a session is not ended."""
        conversation.in_use += 1
        try:
            yield
        finally:
            conversation.in_use -= 1
            if conversation.placed:
                conversation.placed = False
                self._places.release()
            conversation.used = monotonic()
            if conversation.over and not conversation.in_use:
                self.later(conversation.end(self.aside))

    def forget_era(self) -> None:
        """Ask anew of which era the upstream is."""
        self._server = None
        self._asked_at = -SERVER_SECONDS

    def later(self, work: Coroutine[Any, Any, None]) -> None:
        """Have done what nobody waits for."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def sweep(self, now: float) -> None:
        """End the sessions that were not used of late, or are old."""
        for key, each in list(self._sessions.items()):
            if not each.in_use and (
                each.used <= now - SESSION_IDLE_SECONDS or each.began <= now - SESSION_SECONDS
            ):
                self.lose(key, each, end=True)

    async def close(self) -> None:
        """End every session, and close every connection."""
        await self.holding.close()
        for key, each in list(self._sessions.items()):
            self.lose(key, each, end=True)
        if self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.endpoint.client.close()
        await self.aside.client.close()

    async def _begin(self, capabilities: Mapping[str, Any]) -> Conversation:
        async with self._asking:
            if self._asked_at <= monotonic() - SERVER_SECONDS:
                self._server = await discover(self.endpoint)
                self._asked_at = monotonic()
                self.aside.url = self.endpoint.url
        if self._server is not None:
            return Conversation(self.endpoint, self._server, capabilities)
        return await begin(self.endpoint, capabilities, self.aside)

    async def _for_once(self, key: Key, capabilities: Mapping[str, Any]) -> Conversation:
        """A conversation for one call: ended after it, unless there is nothing that an upstream could keep in it."""
        await self._places.acquire()
        placed = False
        try:
            # Whoever waited may find what others have begun meanwhile, and need no place.
            conversation = self._find(key) or await self._begin(capabilities)
            placed = bool(conversation.id)
        finally:
            if not placed:
                self._places.release()
        if placed:
            conversation.over = conversation.placed = True
        elif self._sessions.get(key) is not conversation:
            self._keep(key, conversation)
        return conversation

    def _find(self, key: Key) -> Conversation | None:
        now = monotonic()
        found = self._sessions.get(key)
        if found is None or found.began <= now - SESSION_SECONDS:
            return None
        found.used = now
        return found

    def _keep(self, key: Key, conversation: Conversation) -> None:
        while len(self._sessions) >= MAX_SESSIONS:
            # Sessions in use go last: their requests would have to begin anew.
            oldest = min(self._sessions.items(), key=lambda each: (each[1].in_use > 0, each[1].used))
            self.lose(*oldest, end=True)
        self._sessions[key] = conversation


class Upstreams:
    """All sources of this kind that one process uses, by source and version."""

    def __init__(self, *, allow: AllowAddress, idle_seconds: float = IDLE_SECONDS) -> None:
        self._allow = allow
        self._idle_seconds = idle_seconds
        self._kept: dict[tuple[UUID, int], Upstream] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._sweeper: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._kept)

    @asynccontextmanager
    async def use(self, source: Source) -> AsyncIterator[Upstream]:
        """This version of the source; what was kept of its earlier versions ends when it is not used any more."""
        upstream = self._get(source)
        upstream.in_use += 1
        try:
            yield upstream
        finally:
            upstream.in_use -= 1
            upstream.used_at = monotonic()
            if upstream.idle and self._kept.get((source.id, source.version)) is not upstream:
                self._close_later(upstream)

    async def close_idle(self, *, now: float | None = None) -> None:
        """End what was not used of late."""
        now = monotonic() if now is None else now
        for key, upstream in list(self._kept.items()):
            await upstream.sweep(now)
            if upstream.idle and not upstream.sessions and upstream.used_at <= now - self._idle_seconds:
                del self._kept[key]
                await upstream.close()

    async def close(self) -> None:
        """Close everything and wait for it."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            await asyncio.gather(self._sweeper, return_exceptions=True)
            self._sweeper = None
        kept = list(self._kept.values())
        self._kept.clear()
        await asyncio.gather(*(each.close() for each in kept), *self._closing, return_exceptions=True)

    def _get(self, source: Source) -> Upstream:
        key = (source.id, source.version)
        upstream = self._kept.get(key)
        if upstream is None:
            upstream = Upstream(read_settings(source.settings), allow=self._allow)
            for id_, version in list(self._kept):
                if id_ == source.id and version < source.version:
                    old = self._kept.pop((id_, version))
                    if old.idle:
                        self._close_later(old)
            self._kept[key] = upstream
            if self._sweeper is None or self._sweeper.done():
                self._sweeper = asyncio.get_running_loop().create_task(self._sweep())
        return upstream

    def _close_later(self, upstream: Upstream) -> None:
        task = asyncio.get_running_loop().create_task(upstream.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _sweep(self) -> None:
        while self._kept:
            await asyncio.sleep(self._idle_seconds / 2)
            await self.close_idle()
