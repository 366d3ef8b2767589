"""Asks an upstream MCP server what it offers: its lists, page by page, within bounds. It calls nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from core.errors import InvalidInput, SourceError
from core.outbound import AllowAddress
from core.outbound_http import OutboundRefused
from servers.execution.backends.mcp.faults import refused_fault, unlike_mcp
from servers.execution.backends.mcp.hearing import ALL_CAPABILITIES
from servers.execution.backends.mcp.pools import Upstream
from servers.execution.backends.mcp.session import Conversation, Server, connect, within
from servers.execution.backends.mcp.settings import McpSettings
from servers.execution.backends.mcp.wire import METHOD_NOT_FOUND, RpcError

FETCH_SECONDS: Final = 20.0
MAX_LISTED: Final = 2_000
"""Of tools, of resources, of templates and of prompts, each."""
MAX_PAGES: Final = 200
MAX_LIST_BYTES: Final = 16_777_216
"""Of all pages of one list."""

_AUTH_PATHS: Final = {"bearer": "token", "headers": "headers", "none": "auth"}


@dataclass(frozen=True, slots=True)
class Catalog:
    """What an upstream said that it offers, as it said it: nothing of it is checked yet."""

    server: Server
    tools: Sequence[Any] = field(default=())
    resources: Sequence[Any] = field(default=())
    templates: Sequence[Any] = field(default=())
    prompts: Sequence[Any] = field(default=())


async def fetch_catalog(settings: McpSettings, *, allow: AllowAddress) -> Catalog:
    """Ask, on connections and in a session of its own, which are closed again. Raises ``SourceError``."""
    upstream = Upstream(settings, allow=allow)
    try:
        return await within(FETCH_SECONDS, settings.url, _fetch(upstream))
    except OutboundRefused as refused:
        raise refused_fault(refused, settings.url) from None
    except RpcError as error:
        raise SourceError(
            f"The MCP server did not list what it offers: it answered with error {error.code}. Ask whoever runs it.",
            code="source_failed",
            data={"rpc_code": error.code},
        ) from None
    finally:
        await upstream.close()


def as_input_fault(fault: SourceError, settings: McpSettings) -> InvalidInput:
    """The error as one of the settings that were entered: it says at which of them."""
    path = _AUTH_PATHS[settings.auth] if fault.code == "source_auth" else "url"
    return InvalidInput(fault.message, errors=[{"path": path, "message": fault.message}], code=fault.code)


async def _fetch(upstream: Upstream) -> Catalog:
    conversation = await connect(upstream.endpoint, ALL_CAPABILITIES, upstream.aside)
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
        upstream.later(conversation.end(upstream.aside))


async def _list(conversation: Conversation, method: str, member: str) -> list[Any]:
    listed: list[Any] = []
    url = conversation.endpoint.url
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
