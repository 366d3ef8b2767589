"""A conversation with an upstream MCP server: which era it is of, its handshake, and requests within it.

Of 2026-07-28 there is no session: each request says what it needs to. It keeps no pool and repeats nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Final, TypeVar

from core.errors import SourceError
from core.outbound_http import OutboundRefused
from servers.execution.backends.mcp.exchange import DEAF, Endpoint, Headers, Hear, Reply, exchange, post
from servers.execution.backends.mcp.faults import unlike_mcp
from servers.execution.backends.mcp.wire import (
    CLIENT,
    LEGACY,
    META_CAPABILITIES,
    META_CLIENT,
    META_SERVER,
    META_VERSION,
    MODERN,
    SESSION,
    UNSUPPORTED_VERSION,
    VERSION,
    RpcError,
    notification_bytes,
    request_bytes,
    routing_headers,
)
from servers.execution.unanswered import host_of

HANDSHAKE_BYTES: Final = 1_048_576
ASIDE_SECONDS: Final = 5.0
"""For what nobody waits for: a notification, the end of a session."""

T = TypeVar("T")

_NO_FALLBACK: Final = frozenset({"source_auth", "source_redirect", "source_busy"})


@dataclass(frozen=True, slots=True)
class Server:
    """What an upstream said of itself. ``version`` is the revision that is spoken with it."""

    version: str
    info: Mapping[str, Any]
    capabilities: Mapping[str, Any]
    instructions: str

    @property
    def modern(self) -> bool:
        """Whether it is asked without sessions."""
        return self.version == MODERN

    def has(self, capability: str) -> bool:
        """Whether it declares a capability."""
        return isinstance(self.capabilities.get(capability), Mapping)


@dataclass(slots=True)
class Conversation:
    """A session with an upstream of before 2026-07-28, or what stands for one. ``id`` is empty where it gave none.

    ``capabilities`` are what it was told that its client can be asked.
    """

    endpoint: Endpoint
    server: Server
    capabilities: Mapping[str, Any]
    id: str = field(default="", repr=False)
    began: float = field(default_factory=monotonic)
    used: float = field(default_factory=monotonic)
    in_use: int = 0
    over: bool = False
    placed: bool = False
    """Whether it takes one of the places of sessions for one call."""
    log_level: str = ""
    _last: int = 1
    _parting: asyncio.Lock = field(default_factory=asyncio.Lock, repr=False)
    """What is told of a request is told before the session's end is."""

    @property
    def headers(self) -> list[tuple[str, str]]:
        """What each request of a session repeats."""
        headers = [(VERSION, self.server.version)]
        if self.id:
            headers.append((SESSION, self.id))
        return headers

    def next_id(self) -> int:
        """An id that no other request of the conversation has."""
        self._last += 1
        return self._last

    async def request(
        self,
        method: str,
        params: Mapping[str, Any],
        *,
        most_bytes: int,
        headers: Headers = (),
        hear: Hear = DEAF,
        rpc_id: int | None = None,
    ) -> Reply:
        """Ask the upstream for something. Raises as ``exchange`` does."""
        rpc_id = self.next_id() if rpc_id is None else rpc_id
        if self.server.modern:
            params = {**params, "_meta": {**envelope(self.capabilities), **(params.get("_meta") or {})}}
            sent: Headers = [*routing_headers(method, params), *headers]
        else:
            sent = self.headers
        content = request_bytes(rpc_id, method, params)
        return await exchange(
            self.endpoint,
            rpc_id,
            content,
            headers=sent,
            in_session=bool(self.id),
            resumes=not self.server.modern,
            most_bytes=most_bytes,
            hear=hear,
        )

    async def set_log_level(self, level: str) -> None:
        """Ask an upstream of before 2026-07-28 for messages of this severity, once. One that cannot is let be."""
        if self.server.modern or level == self.log_level or not self.server.has("logging"):
            return
        self.log_level = level
        with contextlib.suppress(RpcError):
            await self.request("logging/setLevel", {"level": level}, most_bytes=HANDSHAKE_BYTES)

    async def send(self, content: bytes, aside: Endpoint) -> None:
        """Send what has no answer, on other connections than requests have: those may all be waiting for it."""
        await post(aside, content, headers=self.headers, seconds=ASIDE_SECONDS)

    async def cancel(self, rpc_id: int, reason: str, aside: Endpoint) -> None:
        """Tell the upstream that nobody waits for a request any more. A modern one sees that its stream is closed."""
        if self.server.modern:
            return
        content = notification_bytes("notifications/cancelled", {"requestId": rpc_id, "reason": reason})
        with contextlib.suppress(OutboundRefused):
            async with self._parting:
                await self.send(content, aside)

    async def end(self, aside: Endpoint) -> None:
        """End the session (2025-11-25 basic/transports, "Session Management"). An upstream may refuse to."""
        if not self.id:
            return
        with contextlib.suppress(OutboundRefused):
            async with self._parting:
                await aside.client.send(
                    "DELETE",
                    aside.url,
                    headers=[*aside.signing, *self.headers],
                    seconds=ASIDE_SECONDS,
                    most_bytes=65_536,
                )


def envelope(capabilities: Mapping[str, Any]) -> dict[str, Any]:
    """What each request of 2026-07-28 says of its client (basic/index, "Per-request protocol fields")."""
    return {META_VERSION: MODERN, META_CLIENT: CLIENT, META_CAPABILITIES: capabilities}


async def discover(endpoint: Endpoint) -> Server | None:
    """What a server of 2026-07-28 says of itself, or ``None`` where it is none. Raises ``SourceError``.

    Whatever is no evidence of that era is taken for the other one, as the SDKs do: servers of before it answer such
    a request with all kinds of errors.
    """
    params = {"_meta": envelope({})}
    headers = routing_headers("server/discover", params)
    try:
        reply = await exchange(
            endpoint,
            1,
            request_bytes(1, "server/discover", params),
            headers=headers,
            most_bytes=HANDSHAKE_BYTES,
        )
    except RpcError as error:
        if error.code == UNSUPPORTED_VERSION:
            _require_known(_listed(error.data), endpoint.url)
        return None
    except SourceError as fault:
        if fault.code in _NO_FALLBACK:
            raise
        return None
    supported = reply.result.get("supportedVersions")
    if not isinstance(supported, list) or MODERN not in supported:
        return None
    meta = reply.result.get("_meta")
    info = meta.get(META_SERVER) if isinstance(meta, dict) else None
    return _server(MODERN, reply.result, info)


async def begin(endpoint: Endpoint, capabilities: Mapping[str, Any], aside: Endpoint) -> Conversation:
    """Shake hands with a server of before 2026-07-28. Raises ``SourceError``."""
    params = {"protocolVersion": LEGACY[0], "capabilities": capabilities, "clientInfo": CLIENT}
    try:
        reply = await exchange(
            endpoint, 1, request_bytes(1, "initialize", params), most_bytes=HANDSHAKE_BYTES
        )
    except RpcError as error:
        if error.code == UNSUPPORTED_VERSION:
            _require_known(_listed(error.data), endpoint.url)
        raise unlike_mcp(
            endpoint.url, f"it refused to begin a session (JSON-RPC error {error.code})"
        ) from None
    version = reply.result.get("protocolVersion")
    _require_known([version], endpoint.url)
    server = _server(str(version), reply.result, reply.result.get("serverInfo"))
    given = reply.headers.get(SESSION.lower(), "")
    if given and not (given.isascii() and given.isprintable() and len(given) <= 4_096):
        raise unlike_mcp(endpoint.url, "the id of its session is none that a header can carry")
    conversation = Conversation(endpoint, server, capabilities, given)
    aside.url = endpoint.url
    await conversation.send(notification_bytes("notifications/initialized"), aside)
    return conversation


async def connect(endpoint: Endpoint, capabilities: Mapping[str, Any], aside: Endpoint) -> Conversation:
    """A conversation of whichever era the upstream is of. Raises ``SourceError`` and ``OutboundRefused``."""
    server = await discover(endpoint)
    aside.url = endpoint.url
    if server is not None:
        return Conversation(endpoint, server, capabilities)
    return await begin(endpoint, capabilities, aside)


def _server(version: str, result: Mapping[str, Any], info: Any) -> Server:
    capabilities, instructions = result.get("capabilities"), result.get("instructions")
    return Server(
        version=version,
        info=info if isinstance(info, dict) else {},
        capabilities=capabilities if isinstance(capabilities, dict) else {},
        instructions=instructions if isinstance(instructions, str) else "",
    )


def _listed(data: Any) -> Sequence[Any]:
    supported = data.get("supported") if isinstance(data, dict) else None
    return supported if isinstance(supported, list) else ()


def _require_known(versions: Sequence[Any], url: str) -> None:
    """Raise ``SourceError`` unless one of the revisions that an upstream names is spoken here."""
    if versions and not any(version in (*LEGACY, MODERN) for version in versions):
        raise SourceError(
            f"The MCP server at {host_of(url)} speaks no revision of the protocol that Marina does: Marina speaks "
            f"{LEGACY[-1]} to {MODERN}. Ask whoever runs it for one of those.",
            code="source_version",
        )


async def within(seconds: float, url: str, work: Awaitable[T]) -> T:
    """What an awaitable gives, within a deadline that is told as the upstream's fault. Raises ``SourceError``."""
    try:
        async with asyncio.timeout(seconds):
            return await work
    except TimeoutError:
        raise SourceError(
            f"The MCP server at {host_of(url)} did not answer within {seconds:g} s. Try again, or ask whoever runs it.",
            code="source_timeout",
            data={"seconds": seconds},
            retryable=True,
        ) from None
