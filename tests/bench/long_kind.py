"""A kind of data source that only the bench has: its tools say when they began, report, and note when they end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from servers.execution.contract import (
    Context,
    Offered,
    Offering,
    Operation,
    Outcome,
    Running,
    Source,
)
from servers.services.runtime import get_runtime
from tests.bench.offered import AT_ONCE, HOLD, STAMP, STEPS
from tests.plainkind import PlainKind, add_kinds

KIND = "bench-long"
STEP_SECONDS = 0.05
KEPT_SECONDS = 600


class LongBackend(PlainKind):
    """Implements ``servers.execution.contract.Backend``. Times are seconds since 1970, of this machine's clock."""

    kind = KIND
    title = "Bench of long work"

    def offered(self, settings: Mapping[str, Any]) -> Offering:
        return Offering(tools=[_offered(name) for name in (AT_ONCE, STAMP, STEPS, HOLD)])

    def running(self, operation: Operation) -> Running:
        return Running() if operation.kind == AT_ONCE else Running("worker")

    async def execute(
        self,
        source: Source,
        operation: Operation,
        arguments: Mapping[str, Any],
        *,
        timeout: float,
        context: Context,
    ) -> Outcome:
        began = time.time()
        if operation.kind == STEPS:
            for number in range(int(arguments.get("steps", 20))):
                await context.progress(number + 1, None, repr(time.time()))
                await asyncio.sleep(STEP_SECONDS)
        elif operation.kind == HOLD:
            redis = get_runtime().bus.redis
            await redis.set(f"bench:entered:{arguments['mark']}", repr(began), ex=KEPT_SECONDS)
            try:
                await asyncio.sleep(KEPT_SECONDS)
            except asyncio.CancelledError:
                stopped = repr(time.time())
                await asyncio.shield(
                    redis.set(f"bench:stopped:{arguments['mark']}", stopped, ex=KEPT_SECONDS)
                )
                raise
        else:
            await asyncio.sleep(float(arguments.get("seconds", 0)))
        return Outcome({"began": began}, repr(began), size=8)


def add_long_kind() -> None:
    """Give this process the kind beside Marina's own, before its runtime starts."""
    add_kinds(LongBackend())


def _offered(name: str) -> Offered:
    return Offered(
        name=name,
        title=name.title(),
        description=f"The {name} tool.",
        input_schema={"type": "object"},
        output_schema=None,
        annotations={"readOnlyHint": True},
        operation=Operation(name, {}),
    )
