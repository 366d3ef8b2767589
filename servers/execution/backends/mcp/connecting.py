"""Begins conversations with an upstream MCP server that has an address, by whichever transport it speaks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from time import monotonic
from typing import Any, Final, Protocol

from core.errors import SourceError
from core.outbound import AllowAddress
from core.outbound_http import OutboundRefused
from servers.execution.backends.mcp.former import FormerWay
from servers.execution.backends.mcp.session import Conversation, Server, begin, discover
from servers.execution.backends.mcp.sessionstream import SessionStream, Streaming
from servers.execution.backends.mcp.settings import McpSettings
from servers.execution.backends.mcp.ways import HttpWay
from servers.execution.backends.mcp.wire import Headers

SERVER_SECONDS: Final = 600.0
"""For how long it is believed what era an upstream is of, and which transport it speaks."""

ERA_SECONDS: Final = 2.0
"""For how long a server is asked whether it is of 2026-07-28. One that is silent is taken for one of before, some of
which let requests that they do not know wait, and is asked once more where it then knows of no session."""
SLOW_SECONDS: Final = 8.0
"""The same of one that is asked once more."""

_NOT_STREAMABLE: Final = frozenset({400, 404, 405, 406, 415})
"""What a server that has only the former transport answers to a request that is posted to its stream's address."""


class Connector(Protocol):
    """What begins conversations with one upstream. ``shared``: none of them is one caller's own.

    ``idle_seconds``: how long it is kept while nobody uses it, where that is longer than others are.
    """

    shared: bool
    idle_seconds: float

    @property
    def lines(self) -> Sequence[str]:
        """The last lines that the upstream wrote beside its messages."""
        ...

    async def connect(self, capabilities: Mapping[str, Any]) -> Conversation:
        """A conversation of whichever era the upstream is of. Raises ``SourceError``, ``OutboundRefused``."""
        ...

    def sign(self, headers: Headers) -> None:
        """Sign requests by these headers from now on, also those of conversations that go on."""
        ...

    def forget(self) -> None:
        """Ask anew of which era the upstream is, and how it is reached."""
        ...

    def late(self) -> None:
        """A call's time ran out."""
        ...

    async def close(self) -> None:
        """Let go of what is open. Conversations are over, or end by themselves."""
        ...


class HttpConnector:
    """Implements ``Connector`` for an address: streamable HTTP, else the former HTTP+SSE (2025-11-25
    basic/transports, "Backwards Compatibility")."""

    shared: bool = False
    idle_seconds: float = 0.0
    lines: Sequence[str] = ()

    def __init__(
        self,
        settings: McpSettings,
        *,
        allow: AllowAddress,
        signing: Headers | None = None,
        changed: Callable[[], None],
    ) -> None:
        """``signing`` in place of the headers that the settings say. ``changed`` is called when a list changed, as is
        said outside of requests."""
        self._changed = changed
        self._settings = settings
        self._allow = allow
        # One list for all ways, so that whoever renews it reaches each.
        self._signing = list(settings.signing if signing is None else signing)
        self._way = HttpWay(settings.url, allow=allow, signing=self._signing)
        self._server: Server | None = None
        self._former = settings.transport == "sse"
        self._asked_at = -SERVER_SECONDS
        self._asking = asyncio.Lock()
        self._streaming = Streaming()
        self._guessed = False
        """Whether its era is known by its silence alone."""

    async def connect(self, capabilities: Mapping[str, Any]) -> Conversation:
        """See ``Connector``."""
        if self._settings.transport == "sse":
            return await self._begin_former(capabilities)
        async with self._asking:
            if self._asked_at <= monotonic() - SERVER_SECONDS:
                self._former = False
                self._guessed = not await self._ask_era(ERA_SECONDS)
                self._asked_at = monotonic()
        if self._server is not None:
            return Conversation(self._way, self._server, capabilities)
        if self._former:
            return await self._begin_former(capabilities)
        try:
            conversation = await self._begin(capabilities)
            if conversation.id:
                stream = SessionStream(self._way, conversation.headers, self._changed, self._streaming)
                conversation.stream = stream
            return conversation
        except SourceError as fault:
            if self._settings.transport == "http" or fault.data.get("status") not in _NOT_STREAMABLE:
                raise
            try:
                conversation = await self._begin_former(capabilities)
            except (SourceError, OutboundRefused):
                # What it said first is what whoever reads it looks for.
                raise fault from None
            self._former = True
            return conversation

    def sign(self, headers: Headers) -> None:
        """See ``Connector``."""
        self._signing[:] = headers

    def forget(self) -> None:
        """See ``Connector``."""
        self._server = None
        self._asked_at = -SERVER_SECONDS
        self._guessed = False

    def late(self) -> None:
        """See ``Connector``. Others look at it, for all who ask at this address."""

    async def close(self) -> None:
        """See ``Connector``."""
        await self._way.close()

    async def _ask_era(self, seconds: float) -> bool:
        """Find out whether it is of 2026-07-28. ``False``: it did not answer in time. Raises ``SourceError``."""
        self._server = None
        try:
            async with asyncio.timeout(seconds):
                self._server = await discover(self._way)
        except TimeoutError:
            return False
        return True

    async def _begin(self, capabilities: Mapping[str, Any]) -> Conversation:
        """A session by streamable HTTP; a conversation of 2026-07-28 where the server was only slow to say so."""
        if not self._guessed:
            return await begin(self._way, capabilities)
        try:
            conversation = await begin(self._way, capabilities)
            self._guessed = False
            return conversation
        except SourceError as fault:
            if fault.code != "source_not_mcp" and fault.data.get("status") not in (400, 404):
                raise
            await self._ask_era(SLOW_SECONDS)
            if self._server is None:
                raise
            self._guessed = False
            return Conversation(self._way, self._server, capabilities)
        finally:
            if self._guessed:
                self.forget()

    async def _begin_former(self, capabilities: Mapping[str, Any]) -> Conversation:
        way = FormerWay(self._settings.url, allow=self._allow, signing=self._signing)
        way.channel.changed = self._changed
        await way.open()
        try:
            return await begin(way, capabilities)
        except BaseException:
            await way.close()
            raise
