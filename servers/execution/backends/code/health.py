"""The health of a source of code: whether its sandbox runs something."""

from __future__ import annotations

from time import monotonic

from pydantic_monty import MontyError

from core.errors import SourceError
from servers.execution.backends.code.running import Sandbox
from servers.execution.contract import Health


async def check_sandbox(sandbox: Sandbox) -> Health:
    """Run the least that there is."""
    began = monotonic()
    try:
        pool = await sandbox.pool()
        async with pool.checkout(limits={"max_feed_duration_secs": 1.0}) as session:
            await session.feed_run("1 + 1")
    except SourceError as fault:
        return Health("unhealthy", fault.message, fault.code)
    except MontyError:
        return Health("unhealthy", "The sandbox for Python ended while it was tried.", "sandbox_away")
    return Health("healthy", latency_ms=(monotonic() - began) * 1_000)
