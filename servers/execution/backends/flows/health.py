"""The health of a source of flows: it works on nothing of its own, so it is always well."""

from __future__ import annotations

from servers.execution.contract import Health, Source


async def check_source(source: Source) -> Health:
    """Always healthy: whether the tools that its flows call work is the health of those."""
    return Health("healthy", latency_ms=0.0)
