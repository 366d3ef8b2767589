"""A toolkit, and ways to run its tools."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from uuid import uuid4

import pytest

from core.errors import MarinaError
from servers.execution.contract import Operation, Outcome, Source
from servers.execution.engine import Engine

Run = Callable[..., Awaitable[Outcome]]


@pytest.fixture
async def engine() -> AsyncIterator[Engine]:
    engine = Engine()
    yield engine
    await engine.close()


@pytest.fixture
def run(engine: Engine) -> Run:
    """Runs a tool of a toolkit."""
    source = Source(uuid4(), 1, "toolkit", "toolkit", 1, {})

    async def run_tool(tool: str, *, timeout: float = 30, **arguments: Any) -> Outcome:
        return await engine.execute(source, Operation(tool, {}), arguments, timeout=timeout)

    return run_tool


@pytest.fixture
def refused(run: Run) -> Callable[..., Awaitable[MarinaError]]:
    """Runs a tool that must refuse, and gives the error."""

    async def run_tool(tool: str, **arguments: Any) -> MarinaError:
        with pytest.raises(MarinaError) as caught:
            await run(tool, **arguments)
        return caught.value

    return run_tool
