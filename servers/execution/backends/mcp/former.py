"""The former transport HTTP+SSE of 2024-11-05: one stream on which all comes, and an address that all is posted to.

A stream is a session: whoever closes it ends it. Of the address it is told on the stream, and it is of its origin.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Final

from core.finishing import stop
from core.outbound import AllowAddress
from core.outbound_http import OutboundClient, OutboundRefused, Streamed
from servers.execution.backends.mcp.channel import Channel
from servers.execution.backends.mcp.events import Event, EventReader
from servers.execution.backends.mcp.exchange import (
    MAX_BATCH,
    UNBOUNDED_SECONDS,
    Endpoint,
    Heard,
    Opened,
    challenge_of,
    led_within,
    media_type,
    post,
)
from servers.execution.backends.mcp.faults import SessionLost, status_fault, unlike_mcp
from servers.execution.backends.mcp.replies import Reply, Request
from servers.execution.backends.mcp.ways import ASIDE_SECONDS
from servers.execution.backends.mcp.wire import Headers, NotMcp, read_messages

MAX_EVENT_BYTES: Final = 16_777_216
"""Of one event: as much as one list may have."""
MAX_STREAM_BYTES: Final = 1 << 40
"""Of all that comes on one stream: it lives as long as a session."""
MAX_POSTING: Final = 8
"""Connections of one session for what is posted."""


class FormerWay:
    """Implements ``Way`` for one session, which ``open`` begins."""

    one_line: bool = True
    session: str = "stream"

    def __init__(self, url: str, *, allow: AllowAddress, signing: Headers) -> None:
        self._url = url
        self._listening = OutboundClient(allow=allow, lean=True, max_connections=1)
        self._posting = Endpoint(
            "", OutboundClient(allow=allow, lean=True, max_connections=MAX_POSTING), signing
        )
        self.channel = Channel(url, self._post, shared=False)
        self._opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._reading: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """See ``Way``."""
        return self._url

    async def open(self) -> None:
        """Begin the stream, and wait until it says where to post. Raises ``SourceError``, ``OutboundRefused``."""
        self._reading = asyncio.get_running_loop().create_task(self._read())
        try:
            await self._opened
        except BaseException:
            await self.close()
            raise

    def next_id(self) -> int:
        """See ``Way``."""
        return self.channel.next_id()

    async def ask(self, request: Request) -> Reply:
        """See ``Way``."""
        return await self.channel.ask(request)

    async def tell(self, content: bytes, *, headers: Headers = ()) -> None:
        """See ``Way``."""
        try:
            await self._post(content)
        except SessionLost:
            raise status_fault(404, self._url) from None

    async def listen(self, heard: Heard, opened: Opened, *, headers: Headers = (), most_bytes: int) -> bool:
        """See ``Way``. It is the stream of the session itself."""
        opened()
        await self.channel.overhear(heard, most_bytes=most_bytes)
        return True

    async def part(self, *, headers: Headers = ()) -> None:
        """See ``Way``."""
        await self.close()

    async def close(self) -> None:
        """See ``Way``."""
        await stop(self._reading)
        await self._listening.close()
        await self._posting.client.close()

    async def _post(self, content: bytes) -> None:
        answer = await post(self._posting, content, seconds=ASIDE_SECONDS)
        if answer.status == 404:
            raise SessionLost
        if not 200 <= answer.status < 300:
            raise status_fault(answer.status, self._url, challenge_of(answer))

    async def _read(self) -> None:
        fault: Exception = OutboundRefused("its stream ended before the answer", "broken")
        try:
            async with self._listening.stream(
                "GET",
                self._url,
                headers=[("Accept", "text/event-stream"), *self._posting.signing],
                seconds=UNBOUNDED_SECONDS,
                most_bytes=MAX_STREAM_BYTES,
            ) as answer:
                await self._take(answer)
        except OutboundRefused as refused:
            fault = refused
        except NotMcp as unlike:
            fault = unlike_mcp(self._url, unlike)
        except Exception as other:  # noqa: BLE001 - handed over to those who wait
            fault = other
        finally:
            if not self._opened.done():
                self._opened.set_exception(fault)
                # Whoever waited for it may have gone.
                self._opened.exception()
            refused_by = (
                fault if isinstance(fault, OutboundRefused) else OutboundRefused("it broke off", "broken")
            )
            self.channel.end(refused_by)

    async def _take(self, answer: Streamed) -> None:
        if answer.status != 200:
            raise status_fault(answer.status, self._url, challenge_of(answer))
        if media_type(answer) != "text/event-stream":
            raise NotMcp("its answer is no stream of events")
        reader = EventReader()
        pending = 0
        async for piece in answer.pieces:
            pending += len(piece)
            async with aclosing(reader.feed(piece)) as events:
                async for event in events:
                    pending = 0
                    self._heed(event)
            if pending > MAX_EVENT_BYTES:
                raise OutboundRefused(f"it sent an event of more than {MAX_EVENT_BYTES} bytes", "too_large")

    def _heed(self, event: Event) -> None:
        if event.name == "endpoint":
            self._posting.url = _within(self._url, event.data)
            if not self._opened.done():
                self._opened.set_result(None)
        elif event.data and self._opened.done():
            for message in read_messages(event.data, most=MAX_BATCH):
                self.channel.take(message, len(event.data))


def _within(url: str, place: str) -> str:
    """The address to post to. Raises ``NotMcp`` for one of another origin."""
    target = led_within(url, place)
    if not target or len(target) > 4_096:
        raise NotMcp("it names an address of another origin to send to")
    return target.partition("#")[0]
