"""Says in words whether a files source works. Raises nothing for a bad one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from time import monotonic

from core.errors import InvalidInput, SourceError
from servers.execution.contract import Health


async def check_files(look: Callable[[], Awaitable[None]]) -> Health:
    """Have the root looked at; ``latency_ms`` covers all of it."""
    started = monotonic()
    try:
        await look()
    except InvalidInput as fault:
        reason = fault.errors[0]["message"] if fault.errors else fault.message
        return Health("unhealthy", reason, fault.code)
    except SourceError as fault:
        return Health("unhealthy", fault.message, fault.code, _since(started))
    return Health("healthy", latency_ms=_since(started))


def _since(started: float) -> float:
    return round((monotonic() - started) * 1_000, 3)
