"""Asks an upstream MCP server what it offers: its lists, page by page, within bounds. It calls nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from time import monotonic
from typing import Any, Final

from core.errors import InvalidInput, SourceError
from servers.execution.authorizing.faults import NEEDED, UNSOUND
from servers.execution.backends.mcp.faults import in_words, unlike_mcp
from servers.execution.backends.mcp.hearing import ALL_CAPABILITIES
from servers.execution.backends.mcp.pools import Reach, Upstream
from servers.execution.backends.mcp.session import Conversation, Server, within
from servers.execution.backends.mcp.settings import McpSettings
from servers.execution.backends.mcp.signing import Signer
from servers.execution.backends.mcp.wire import METHOD_NOT_FOUND, RpcError
from servers.execution.contract import Offering, Source

FETCH_SECONDS: Final = 20.0
ONE_SECONDS: Final = 8.0
"""For each of several servers of a source."""
MAX_LISTED: Final = 2_000
"""Of tools, of resources, of templates and of prompts, each."""
MAX_PAGES: Final = 200
MAX_LIST_BYTES: Final = 16_777_216
"""Of all pages of one list."""

SHOWN_LINES: Final = 5

_AUTH_PATHS: Final = {"bearer": "token", "headers": "headers", "none": "auth", "oauth": "client_id"}

_OF_SIGNING_IN: Final = frozenset({"source_auth", NEEDED, UNSOUND})


@dataclass(frozen=True, slots=True)
class Catalog:
    """What an upstream said that it offers, as it said it: nothing of it is checked yet."""

    server: Server
    tools: Sequence[Any] = field(default=())
    resources: Sequence[Any] = field(default=())
    templates: Sequence[Any] = field(default=())
    prompts: Sequence[Any] = field(default=())
    judged: list[tuple[McpSettings, Offering]] = field(default_factory=list, compare=False, repr=False)
    """What was made of it with which settings: that takes a millisecond a tool, and one request asks for it often."""


class Wrote(SourceError):
    """A command failed, and these lines it wrote beside: for whoever enters its settings, and nobody else."""

    def __init__(self, fault: SourceError, lines: Sequence[str]) -> None:
        super().__init__(fault.message, code=fault.code, data=fault.data)
        self.lines = list(lines)


async def fetch_catalog(
    settings: McpSettings, *, reach: Reach, source: Source | None = None, signer: Signer | None = None
) -> Catalog:
    """Ask the first of its servers that answers. Raises the first one's ``SourceError`` where none does."""
    if not settings.replicas:
        return await fetch_one(settings, reach=reach, source=source, signer=signer)
    first: SourceError | None = None
    until = monotonic() + FETCH_SECONDS
    for number in range(1 + len(settings.replicas)):
        seconds = min(ONE_SECONDS, until - monotonic())
        if seconds <= 0:
            break
        try:
            return await fetch_one(settings.of(number), reach=reach, source=source, seconds=seconds)
        except SourceError as fault:
            first = first or fault
    raise first or AssertionError("there is no server to ask")


async def fetch_one(
    settings: McpSettings,
    *,
    reach: Reach,
    source: Source | None = None,
    signer: Signer | None = None,
    seconds: float = FETCH_SECONDS,
) -> Catalog:
    """Ask, on connections and in a session of its own, which are closed again. Raises ``SourceError``."""
    upstream = Upstream(settings, reach=reach, source=source, signer=signer, aside=True)
    try:
        return await fetch_of(upstream, seconds=seconds)
    except SourceError as fault:
        if source is None and upstream.lines:
            # There is no page yet that would show them.
            raise Wrote(fault, upstream.lines) from None
        raise
    finally:
        await upstream.close()


async def fetch_of(upstream: Upstream, *, seconds: float = FETCH_SECONDS) -> Catalog:
    """Ask this one. Raises ``SourceError``."""
    url = upstream.settings.url
    try:
        with in_words(url):
            return await within(seconds, url, upstream.signed(partial(_fetch, upstream)))
    except RpcError as error:
        raise SourceError(
            f"The MCP server did not list what it offers: it answered with error {error.code}. Ask whoever runs it.",
            code="source_failed",
            data={"rpc_code": error.code},
        ) from None


def as_input_fault(fault: SourceError, settings: McpSettings) -> InvalidInput:
    """The error as one of the settings that were entered: it says at which of them."""
    path = (
        "command"
        if settings.command
        else _AUTH_PATHS[settings.auth]
        if fault.code in _OF_SIGNING_IN
        else "url"
    )
    message = fault.message
    if isinstance(fault, Wrote):
        message = f"{message} It wrote: {' | '.join(fault.lines[-SHOWN_LINES:])}"
    return InvalidInput(fault.message, errors=[{"path": path, "message": message}], code=fault.code)


async def _fetch(upstream: Upstream) -> Catalog:
    conversation = await upstream.connect(ALL_CAPABILITIES)
    try:
        server = conversation.server
        tools, resources, templates, prompts = [], [], [], []
        if server.has("tools"):
            tools = await _list(conversation, "tools/list", "tools")
        if server.has("resources"):
            resources = await _list(conversation, "resources/list", "resources")
            templates = await _list(conversation, "resources/templates/list", "resourceTemplates")
        if server.has("prompts"):
            prompts = await _list(conversation, "prompts/list", "prompts")
        return Catalog(server, tools, resources, templates, prompts)
    finally:
        upstream.later(conversation.end())


async def _list(conversation: Conversation, method: str, member: str) -> list[Any]:
    listed: list[Any] = []
    url = conversation.way.url
    seen: set[str] = set()
    params: dict[str, Any] = {}
    left = MAX_LIST_BYTES
    for _ in range(MAX_PAGES):
        try:
            reply = await conversation.request(method, params, most_bytes=left)
        except RpcError as error:
            if error.code == METHOD_NOT_FOUND and not listed:
                # Declared as a whole, and this part of it is not there.
                return []
            raise
        page = reply.result.get(member)
        if not isinstance(page, list):
            raise unlike_mcp(url, f"its answer to {method} has no list")
        listed.extend(page)
        if len(listed) > MAX_LISTED:
            raise SourceError(
                f"The MCP server lists more than {MAX_LISTED} {member}, which is more than Marina takes of one "
                "data source. Ask whoever runs it for an address that offers fewer.",
                code="result_too_large",
            )
        cursor = reply.result.get("nextCursor")
        left -= reply.size
        if not isinstance(cursor, str) or not cursor:
            return listed
        if cursor in seen or left <= 0:
            break
        seen.add(cursor)
        params = {"cursor": cursor}
    raise unlike_mcp(url, f"its answer to {method} has no end")
