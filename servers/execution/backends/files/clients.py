"""Keeps one HTTP client a source of S3-compatible storage while it is used, and closes it after a rest."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final
from uuid import UUID

from core.outbound import AllowAddress
from core.outbound_http import OutboundClient
from servers.execution.contract import Source

IDLE_SECONDS: Final = 60.0
MAX_CONNECTIONS: Final = 8

_Key = tuple[UUID, int]


class Clients:
    """One object a process, on one event loop. Nothing is shared between sources, nor versions of one."""

    def __init__(self, *, allow: AllowAddress, idle_seconds: float = IDLE_SECONDS) -> None:
        self._allow = allow
        self._idle_seconds = idle_seconds
        self._held: dict[_Key, _Held] = {}
        self._closing: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def lease(self, source: Source) -> AsyncIterator[OutboundClient]:
        """The source's client. It is not closed before it is given back."""
        key = (source.id, source.version)
        held = self._held.get(key)
        if held is None:
            client = OutboundClient(allow=self._allow, max_connections=MAX_CONNECTIONS)
            held = self._held[key] = _Held(client)
        if held.rest is not None:
            held.rest.cancel()
            held.rest = None
        held.users += 1
        try:
            yield held.client
        finally:
            held.users -= 1
            if not held.users:
                loop = asyncio.get_running_loop()
                held.rest = loop.call_later(self._idle_seconds, self._drop, key)

    async def close(self) -> None:
        """Close every client. They may be leased again afterwards."""
        held, self._held = self._held, {}
        for each in held.values():
            if each.rest is not None:
                each.rest.cancel()
            await each.client.close()
        if self._closing:
            await asyncio.gather(*self._closing)

    def _drop(self, key: _Key) -> None:
        held = self._held.get(key)
        if held is not None and not held.users:
            del self._held[key]
            closing = asyncio.get_running_loop().create_task(held.client.close())
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)


class _Held:
    __slots__ = ("client", "rest", "users")

    def __init__(self, client: OutboundClient) -> None:
        self.client = client
        self.rest: asyncio.TimerHandle | None = None
        self.users = 0
