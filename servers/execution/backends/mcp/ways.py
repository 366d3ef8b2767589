"""How the messages of conversations reach an upstream MCP server, and come back: one protocol, and streamable HTTP.

The former transport HTTP+SSE is in ``former``, a process's stdin and stdout in ``hosted``.
"""

from __future__ import annotations

from itertools import count
from typing import Final, Protocol

from core.outbound import AllowAddress
from core.outbound_http import OutboundClient
from servers.execution.backends.mcp.exchange import (
    Endpoint,
    Heard,
    Opened,
    challenge_of,
    exchange,
    overhear,
    post,
)
from servers.execution.backends.mcp.faults import status_fault
from servers.execution.backends.mcp.replies import Reply, Request
from servers.execution.backends.mcp.wire import Headers

__all__ = ["ASIDE_SECONDS", "MAX_CONNECTIONS", "Heard", "HttpWay", "Opened", "Way"]

ASIDE_SECONDS: Final = 5.0
"""For what nobody waits for: a notification, the end of a session."""
MAX_CONNECTIONS: Final = 64
MAX_STREAMS: Final = 128
"""Streams that sessions have open: as many as there are sessions, those for one call among them."""


class Way(Protocol):
    """A way to one upstream. Ways on which headers do not travel take them all the same.

    ``one_line``: all messages share one line, so that a request ends only when the upstream is told so.
    ``session`` is its name where the way itself is a session, which ends with it.
    """

    one_line: bool
    session: str

    @property
    def url(self) -> str:
        """What the upstream is called in errors."""
        ...

    def next_id(self) -> int:
        """An id that no other request on this way has."""
        ...

    async def ask(self, request: Request) -> Reply:
        """Send a request and give its answer. It has no deadline of its own.

        Raises ``RpcError``, ``SessionLost`` (nothing was done), ``SourceError`` for an answer that is none, and
        ``OutboundRefused``.
        """
        ...

    async def tell(self, content: bytes, *, headers: Headers = ()) -> None:
        """Send a notification or an answer. Raises ``OutboundRefused``, and ``SourceError`` where it is not taken."""
        ...

    async def listen(self, heard: Heard, opened: Opened, *, headers: Headers = (), most_bytes: int) -> bool:
        """Hand on what the upstream says outside of requests, until its stream ends. ``False``: it has none.

        ``opened`` is called once it has begun. Raises ``OutboundRefused``, ``NotMcp``.
        """
        ...

    async def part(self, *, headers: Headers = ()) -> None:
        """End the session of these headers. Raises ``OutboundRefused``."""
        ...

    async def close(self) -> None:
        """Let go of what is open."""
        ...


class HttpWay:
    """Implements ``Way`` over streamable HTTP, for any number of sessions.

    What has no answer goes on connections of its own: those of requests may all be waiting for it. So do streams, which
    would keep theirs from requests.
    """

    one_line: bool = False
    session: str = ""

    def __init__(self, url: str, *, allow: AllowAddress, signing: Headers) -> None:
        self._endpoint = Endpoint(
            url, OutboundClient(allow=allow, lean=True, max_connections=MAX_CONNECTIONS), signing
        )
        self._aside = OutboundClient(allow=allow, lean=True, max_connections=4)
        self._streams = OutboundClient(allow=allow, lean=True, max_connections=MAX_STREAMS)
        self._ids = count(1)

    @property
    def url(self) -> str:
        """See ``Way``."""
        return self._endpoint.url

    def next_id(self) -> int:
        """See ``Way``."""
        return next(self._ids)

    async def ask(self, request: Request) -> Reply:
        """See ``Way``."""
        return await exchange(self._endpoint, request)

    async def tell(self, content: bytes, *, headers: Headers = ()) -> None:
        """See ``Way``."""
        aside = Endpoint(self.url, self._aside, self._endpoint.signing)
        answer = await post(aside, content, headers=headers, seconds=ASIDE_SECONDS)
        if not 200 <= answer.status < 300:
            raise status_fault(answer.status, self.url, challenge_of(answer))

    async def listen(self, heard: Heard, opened: Opened, *, headers: Headers = (), most_bytes: int) -> bool:
        """See ``Way``: the stream that GET opens (2025-11-25 basic/transports, "Listening for Messages")."""
        streaming = Endpoint(self.url, self._streams, self._endpoint.signing)
        return await overhear(streaming, heard, opened, headers=headers, most_bytes=most_bytes)

    async def part(self, *, headers: Headers = ()) -> None:
        """End a session (2025-11-25 basic/transports, "Session Management"). An upstream may refuse to."""
        await self._aside.send(
            "DELETE",
            self.url,
            headers=[*self._endpoint.signing, *headers],
            seconds=ASIDE_SECONDS,
            most_bytes=65_536,
        )

    async def close(self) -> None:
        """See ``Way``."""
        await self._endpoint.client.close()
        await self._aside.close()
        await self._streams.close()
