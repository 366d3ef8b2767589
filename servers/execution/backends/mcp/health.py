"""Says in words whether an upstream MCP server works, and whether it still offers what was taken over of it.

In a session of its own, on connections of its own. It calls no tool, and raises nothing for a bad server.
"""

from __future__ import annotations

from time import monotonic
from typing import Final

from core.errors import InvalidInput, MarinaError
from core.outbound import AllowAddress
from core.outbound_http import OutboundRefused
from servers.execution.backends.mcp.catalog import fetch_catalog
from servers.execution.backends.mcp.faults import refused_fault, unlike_mcp
from servers.execution.backends.mcp.hearing import ALL_CAPABILITIES
from servers.execution.backends.mcp.offers import fingerprint, offer_catalog
from servers.execution.backends.mcp.pools import Upstream
from servers.execution.backends.mcp.session import connect, within
from servers.execution.backends.mcp.settings import KEPT, McpSettings, read_settings
from servers.execution.backends.mcp.wire import RpcError
from servers.execution.contract import Health, Source

CHECK_SECONDS: Final = 10.0
_PING_BYTES: Final = 65_536


async def check_source(source: Source, *, allow: AllowAddress) -> Health:
    """Connect, and ask whether somebody is there. ``latency_ms`` is that of the handshake and the ping."""
    try:
        settings = read_settings(source.settings)
    except InvalidInput as fault:
        reason = fault.errors[0]["message"] if fault.errors else fault.message
        return Health("unhealthy", reason, fault.code)
    started = monotonic()
    try:
        await _ping(settings, allow)
        latency = round((monotonic() - started) * 1_000, 3)
        return await _compared(source, settings, allow, latency)
    except MarinaError as fault:
        return Health("unhealthy", fault.message, fault.code, round((monotonic() - started) * 1_000, 3))


async def _ping(settings: McpSettings, allow: AllowAddress) -> None:
    upstream = Upstream(settings, allow=allow)

    async def ping() -> None:
        conversation = await connect(upstream.endpoint, ALL_CAPABILITIES, upstream.aside)
        try:
            if not conversation.server.modern:
                # Of 2026-07-28 there is no ping: that it told what it is was one.
                await conversation.request("ping", {}, most_bytes=_PING_BYTES)
        finally:
            upstream.later(conversation.end(upstream.aside))

    try:
        await within(CHECK_SECONDS, settings.url, ping())
    except OutboundRefused as refused:
        raise refused_fault(refused, settings.url) from None
    except RpcError as error:
        raise unlike_mcp(settings.url, f"it answered a ping with error {error.code}") from None
    finally:
        await upstream.close()


async def _compared(source: Source, settings: McpSettings, allow: AllowAddress, latency: float) -> Health:
    kept = source.settings.get(KEPT)
    known = kept.get("fingerprint") if isinstance(kept, dict) else None
    if known is None:
        return Health("healthy", latency_ms=latency)
    catalog = await fetch_catalog(settings, allow=allow)
    try:
        now = fingerprint(offer_catalog(catalog, settings))
    except InvalidInput as fault:
        return Health("degraded", fault.message, "definitions_changed", latency)
    if now == known:
        return Health("healthy", latency_ms=latency)
    reason = (
        "The MCP server describes what it offers otherwise than when that was taken over. Clients are still told what "
        "it was then. Refresh the data source to see what changed, and decide."
    )
    return Health("degraded", reason, "definitions_changed", latency)
