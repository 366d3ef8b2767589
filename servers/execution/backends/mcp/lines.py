"""Connections to one upstream, the one that was used last first: a request looks at its own connection and at no other.

A pool polls all that it has for each request, which took a fifth of a call's own time with sixty-four of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from core.outbound import AllowAddress
from core.outbound_http import Answer, OutboundClient, Streamed


class Lines:
    """As ``core.outbound_http.OutboundClient``: each of ``most`` requests at a time has one of its own, over HTTP/1.1.

    So a request that is given up closes its own connection, and no other request's.
    """

    def __init__(self, *, allow: AllowAddress, most: int) -> None:
        self._allow = allow
        self._turns = asyncio.Semaphore(most)
        self._free: list[OutboundClient] = []

    @asynccontextmanager
    async def stream(self, method: str, url: str, **more: Any) -> AsyncIterator[Streamed]:
        """As ``OutboundClient.stream``."""
        async with self._turns:
            client = self._free.pop() if self._free else self._new()
            try:
                async with client.stream(method, url, **more) as answer:
                    yield answer
            finally:
                self._free.append(client)

    async def send(self, method: str, url: str, **more: Any) -> Answer:
        """As ``OutboundClient.send``."""
        async with self._turns:
            client = self._free.pop() if self._free else self._new()
            try:
                return await client.send(method, url, **more)
            finally:
                self._free.append(client)

    async def close(self) -> None:
        """Close every connection. They may be used again afterwards."""
        while self._free:
            await self._free.pop().close()

    def _new(self) -> OutboundClient:
        return OutboundClient(allow=self._allow, http2=False, max_connections=1)
