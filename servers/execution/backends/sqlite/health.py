"""Says in words whether a database file works: opens it as a call does, and looks around. Raises nothing."""

from __future__ import annotations

from time import monotonic
from typing import Final

from core.errors import InvalidInput, SourceError
from servers.execution.backends.sqlite.asked import AskedFile
from servers.execution.contract import Health

CHECK_SECONDS: Final = 10.0


async def check_file(asked: AskedFile) -> Health:
    """Open the file, to write where the source may. ``latency_ms`` covers all of it."""
    started = monotonic()
    try:
        tables = await asked.look(timeout=CHECK_SECONDS)
    except InvalidInput as fault:
        reason = fault.errors[0]["message"] if fault.errors else fault.message
        return Health("unhealthy", reason, fault.code)
    except SourceError as fault:
        if fault.data.get("rule") == "sql.mask":
            return Health("degraded", fault.message, "mask_missing", _since(started))
        return Health("unhealthy", fault.message, fault.code, _since(started))
    if not tables:
        return Health(
            "degraded",
            "The file opens, but has no table that may be read. Check the path, and the list of tables.",
            "no_tables",
            _since(started),
        )
    return Health("healthy", latency_ms=_since(started))


def _since(started: float) -> float:
    return round((monotonic() - started) * 1_000, 3)
