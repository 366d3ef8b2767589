"""Says whether the toolkit works: it needs nothing but this process."""

from __future__ import annotations

from servers.execution.backends.toolkit.calculator import calculate
from servers.execution.contract import Health


def check_toolkit() -> Health:
    """Compute once. A toolkit connects to nothing, so there is nothing more to ask."""
    if calculate("6 * 7")["result"] != 42:  # pragma: no cover - a broken interpreter
        return Health("unhealthy", "It does not compute.", "toolkit_broken")
    return Health("healthy", latency_ms=0.0)
