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
from servers.execution.backends.mcp.faults import named, unlike_mcp
from servers.execution.backends.mcp.replies import DEAF, Hear, Reply, Request
from servers.execution.backends.mcp.sessionstream import SessionStream
from servers.execution.backends.mcp.ways import Heard, Opened, Way
from servers.execution.backends.mcp.wire import (
    CLIENT,
    LEGACY,
    META_CAPABILITIES,
    META_CLIENT,
    META_SERVER,
    META_VERSION,
    MODERN,
    OF_TASKS,
    SESSION,
    TASKS,
    UNSUPPORTED_VERSION,
    VERSION,
    Headers,
    RpcError,
    notification_bytes,
    request_bytes,
    routing_headers,
)

HANDSHAKE_BYTES: Final = 1_048_576

T = TypeVar("T")

_NO_FALLBACK: Final = frozenset({"source_auth", "source_redirect", "source_busy", "source_version"})


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

    @property
    def takes_tasks(self) -> bool:
        """Whether it may answer a call with a task (SEP-2663)."""
        extensions = self.capabilities.get("extensions")
        return self.modern and isinstance(extensions, Mapping) and isinstance(extensions.get(TASKS), Mapping)

    @property
    def makes_tasks(self) -> bool:
        """Whether its clients can have calls be tasks (2025-11-25 basic/utilities/tasks)."""
        found: Any = self.capabilities
        for name in ("tasks", "requests", "tools", "call"):
            found = found.get(name) if isinstance(found, Mapping) else None
        return not self.modern and isinstance(found, Mapping)

    def has(self, capability: str) -> bool:
        """Whether it declares a capability."""
        return isinstance(self.capabilities.get(capability), Mapping)


@dataclass(slots=True)
class Conversation:
    """A session with an upstream of before 2026-07-28, or what stands for one. ``id`` is empty where it gave none.

    ``capabilities`` are what it was told that its client can be asked.
    """

    way: Way = field(repr=False)
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
    stream: SessionStream | None = None
    """What the upstream says of requests, and not on theirs, where it can: by streamable HTTP, in a session."""
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
        return self.way.next_id()

    async def request(
        self,
        method: str,
        params: Mapping[str, Any],
        *,
        most_bytes: int,
        headers: Headers = (),
        hear: Hear = DEAF,
        rpc_id: int | None = None,
        takes_tasks: bool = False,
    ) -> Reply:
        """Ask the upstream for something. Raises as ``Way.ask`` does.

        ``takes_tasks``: a task is as good an answer to a call.
        """
        rpc_id = self.next_id() if rpc_id is None else rpc_id
        if self.server.modern:
            capabilities = self.capabilities
            if takes_tasks and method in OF_TASKS and self.server.takes_tasks:
                capabilities = {**capabilities, "extensions": {TASKS: {}}}
            params = {**params, "_meta": {**envelope(capabilities), **(params.get("_meta") or {})}}
            sent: Headers = [*routing_headers(method, params), *headers]
        else:
            sent = self.headers
        request = Request(
            rpc_id=rpc_id,
            content=request_bytes(rpc_id, method, params),
            most_bytes=most_bytes,
            headers=sent,
            in_session=bool(self.id),
            resumes=not self.server.modern,
            hear=hear,
        )
        asking = self.way if self.stream is None else self.stream
        return await asking.ask(request)

    async def listen(self, heard: Heard, opened: Opened, *, most_bytes: int) -> bool:
        """Hand on what the upstream says outside of requests, as ``Way.listen`` does. Not of 2026-07-28."""
        return await self.way.listen(heard, opened, headers=self.headers, most_bytes=most_bytes)

    async def set_log_level(self, level: str) -> None:
        """Ask an upstream of before 2026-07-28 for messages of this severity, once. One that cannot is let be."""
        if self.server.modern or level == self.log_level or not self.server.has("logging"):
            return
        self.log_level = level
        with contextlib.suppress(RpcError):
            await self.request("logging/setLevel", {"level": level}, most_bytes=HANDSHAKE_BYTES)

    async def send(self, content: bytes) -> None:
        """Send what has no answer. Raises ``OutboundRefused``, and ``SourceError`` where it is not taken."""
        await self.way.tell(content, headers=self.headers)

    async def cancel(self, rpc_id: int, reason: str) -> None:
        """Tell the upstream that nobody waits for a request any more. It may see that by itself."""
        if self.server.modern and not self.way.one_line:
            # Its stream is closed.
            return
        content = notification_bytes("notifications/cancelled", {"requestId": rpc_id, "reason": reason})
        with contextlib.suppress(OutboundRefused, SourceError):
            async with self._parting:
                await self.send(content)

    async def end(self) -> None:
        """End the session, where there is one."""
        if self.stream is not None:
            await self.stream.close()
        if not self.id:
            return
        with contextlib.suppress(OutboundRefused):
            async with self._parting:
                await self.way.part(headers=self.headers)


def envelope(capabilities: Mapping[str, Any]) -> dict[str, Any]:
    """What each request of 2026-07-28 says of its client (basic/index, "Per-request protocol fields")."""
    return {META_VERSION: MODERN, META_CLIENT: CLIENT, META_CAPABILITIES: capabilities}


async def discover(way: Way) -> Server | None:
    """What a server of 2026-07-28 says of itself, or ``None`` where it is none. Raises ``SourceError``.

    Whatever is no evidence of that era is taken for the other one, as the SDKs do: servers of before it answer such
    a request with all kinds of errors.
    """
    try:
        reply = await _ask_what_it_is(way)
    except RpcError:
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


async def _ask_what_it_is(way: Way) -> Reply:
    """What it answers to ``server/discover``. Raises ``RpcError``, and ``SourceError`` as ``Way.ask`` does."""
    params = {"_meta": envelope({})}
    headers = routing_headers("server/discover", params)
    try:
        return await way.ask(_first(way, "server/discover", params, headers))
    except RpcError as error:
        if error.code != UNSUPPORTED_VERSION:
            raise
        listed = _listed(error.data)
        _require_known(listed, way.url)
        if MODERN not in listed:
            raise
    # It refuses what it lists: one of its copies may be of another release than the others.
    return await way.ask(_first(way, "server/discover", params, headers))


async def begin(way: Way, capabilities: Mapping[str, Any]) -> Conversation:
    """Shake hands with a server of before 2026-07-28. Raises ``SourceError``."""
    params = {"protocolVersion": LEGACY[0], "capabilities": capabilities, "clientInfo": CLIENT}
    try:
        reply = await way.ask(_first(way, "initialize", params))
    except RpcError as error:
        if error.code == UNSUPPORTED_VERSION:
            _require_known(_listed(error.data), way.url)
        raise unlike_mcp(way.url, f"it refused to begin a session (JSON-RPC error {error.code})") from None
    version = reply.result.get("protocolVersion")
    _require_known([version], way.url)
    server = _server(str(version), reply.result, reply.result.get("serverInfo"))
    given = way.session or reply.headers.get(SESSION.lower(), "")
    if given and not (given.isascii() and given.isprintable() and len(given) <= 4_096):
        raise unlike_mcp(way.url, "the id of its session is none that a header can carry")
    conversation = Conversation(way, server, capabilities, given)
    with contextlib.suppress(SourceError):
        # Some refuse what has no answer: whether they take requests those find out.
        await conversation.send(notification_bytes("notifications/initialized"))
    return conversation


def _first(way: Way, method: str, params: Mapping[str, Any], headers: Headers = ()) -> Request:
    """A request from before there is a conversation."""
    rpc_id = way.next_id()
    content = request_bytes(rpc_id, method, params)
    return Request(rpc_id=rpc_id, content=content, most_bytes=HANDSHAKE_BYTES, headers=headers)


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
            f"{named(url)} speaks no revision of the protocol that Marina does: Marina speaks "
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
            f"{named(url)} did not answer within {seconds:g} s. Try again, or ask whoever runs it.",
            code="source_timeout",
            data={"seconds": seconds},
            retryable=True,
        ) from None
