"""A kind of data source for tests of shared results: it counts its runs, by tool, and what each was told of."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Mapping
from typing import Any

from core.errors import SourceError
from servers.execution.contract import (
    Ask,
    Context,
    Offered,
    Offering,
    Operation,
    Outcome,
    Principal,
    Sharing,
    Source,
)
from tests.plainkind import PlainKind

KIND = "tally"
READS: Mapping[str, Any] = {"readOnlyHint": True, "idempotentHint": True}
FORM: Mapping[str, Any] = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}


class TallyBackend(PlainKind):
    """Implements the backends' contract. ``runs`` counts; ``told`` is the principal that each run saw, in order."""

    kind = KIND
    title = "Tally"

    def __init__(self) -> None:
        self.runs: Counter[str] = Counter()
        self.told: list[Principal] = []
        self.entered = threading.Semaphore(0)
        self.cancelled = threading.Event()
        self._held: set[asyncio.Future[None]] = set()
        self._came = asyncio.Event()

    def offered(self, settings: Mapping[str, Any]) -> Offering:
        # hold, halt and asking wait; me, asking and either look at who calls; write may change something.
        plain = [
            _offered(name, READS)
            for name in ("count", "hold", "halt", "cut", "odd", "me", "asking", "either")
        ]
        return Offering([*plain, _offered("look", {"readOnlyHint": True}), _offered("write", {})])

    def sharing(self, operation: Operation) -> Sharing:
        return Sharing(by_caller=operation.kind in ("me", "asking", "either"), opt_out="kept")

    async def execute(
        self,
        source: Source,
        operation: Operation,
        arguments: Mapping[str, Any],
        *,
        timeout: float,
        context: Context,
    ) -> Outcome:
        name = operation.kind
        self.runs[name] += 1
        number = self.runs[name]
        self.told.append(context.principal)
        who = context.principal.actor
        if name == "asking" or (name == "either" and arguments.get("ask")):
            answers = await context.ask(
                {"sure": Ask("elicitation/create", {"message": "?", "requestedSchema": FORM})}
            )
            who = str(answers["sure"]["action"])
        if name in ("hold", "halt"):
            await context.progress(1, 2, "held")
            await self._hold()
        if name == "halt" or arguments.get("fail"):
            raise SourceError(f"Run {number} failed.", code="source_unreachable")
        if name == "odd":
            return Outcome({"n": number}, "a", failed=True)
        given = {"n": number, "who": who, "arguments": dict(arguments)}
        return Outcome(given, f"run {number}", rows=number, size=7, truncated=name == "cut")

    async def let_go(self, runs: int = 1) -> None:
        """End what is held, well, once that many runs are. On Marina's loop."""
        while len(self._held) < runs:
            self._came.clear()
            await self._came.wait()
        for held in list(self._held):
            held.set_result(None)

    async def _hold(self) -> None:
        held: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._held.add(held)
        self._came.set()
        self.entered.release()
        try:
            await held
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        finally:
            self._held.discard(held)


def _offered(name: str, annotations: Mapping[str, Any]) -> Offered:
    return Offered(
        name=name,
        title=name.title(),
        description=f"The {name} tool.",
        input_schema={"type": "object"},
        output_schema={"type": "object"},
        annotations=annotations,
        operation=Operation(name, {}),
    )
