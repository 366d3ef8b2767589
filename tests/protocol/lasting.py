"""A kind of data source for tests of long work: tools that run at a worker, ask, wait, fail and break."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from core.errors import SourceError
from servers.execution.contract import (
    Ask,
    Context,
    Offered,
    Offering,
    Operation,
    Outcome,
    Running,
    Source,
)
from tests.plainkind import PlainKind

KIND = "lasting"
FORM: Mapping[str, Any] = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
READS: Mapping[str, Any] = {"readOnlyHint": True}
AGAIN: Mapping[str, Any] = {"idempotentHint": True}

TOOLS: Final[Mapping[str, tuple[Running, Mapping[str, Any]]]] = {
    "quick": (Running("worker"), READS),
    "hold": (Running("worker"), READS),
    "effect": (Running("worker"), {}),
    "name": (Running("worker"), AGAIN),
    "names": (Running("worker"), AGAIN),
    "odd": (Running("worker"), AGAIN),
    "fail": (Running("worker"), READS),
    "break": (Running("worker"), READS),
    "only": (Running("worker", task_only=True), READS),
    "early": (Running("begins_inline"), READS),
    "inline": (Running(), READS),
}


class LastingBackend(PlainKind):
    """Implements the backends' contract. ``runs`` counts the beginnings by team and tool, ``effects`` what was done."""

    kind = KIND
    title = "Lasting"

    def __init__(self) -> None:
        self.runs: Counter[tuple[str, str]] = Counter()
        self.effects: Counter[str] = Counter()
        self.entered = threading.Semaphore(0)
        self.cancelled = threading.Event()
        self._held: set[asyncio.Future[None]] = set()

    def offered(self, settings: Mapping[str, Any]) -> Offering:
        return Offering([_offered(name, hints) for name, (_, hints) in TOOLS.items()])

    def running(self, operation: Operation) -> Running:
        return TOOLS[operation.kind][0]

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
        team = context.principal.tenant
        self.runs[team, name] += 1
        given: dict[str, Any] = {"run": self.runs[team, name], "who": context.principal.actor}
        if name in ("hold", "effect"):
            await context.progress(1, 2, "half")
            await context.log("info", "under way", "lasting")
            self.effects[team] += name == "effect"
            await self._hold()
        elif name in ("name", "early"):
            answers = await context.ask({"name": _ask("Who?")}, keep="kept")
            given["name"] = answers["name"]["content"]["name"]
            given["kept"] = context.kept
            await context.go_on(keep="later")
        elif name == "odd":
            await context.progress(1, None, "half\0way \ud800")
            await context.ask({"name": _ask("Who\0 \ud800?")})
        elif name == "names":
            answers = await context.ask({"first": _ask("First?"), "second": _ask("Second?")})
            given["names"] = [answers[key]["content"]["name"] for key in ("first", "second")]
        elif name == "fail":
            raise SourceError("It failed, as it was told to.", code="source_unreachable")
        elif name == "break":
            raise RuntimeError("secret of the far side")
        return Outcome(given, f"{name} {given['run']}", rows=1, size=7)

    async def let_go(self, runs: int = 1) -> None:
        """End what is held, well, once that many runs are. On Marina's loop."""
        while len(self._held) < runs:  # noqa: ASYNC110 - what begins says so to another thread, by a semaphore
            await asyncio.sleep(0.01)
        for held in list(self._held):
            held.set_result(None)

    async def _hold(self) -> None:
        held: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._held.add(held)
        self.entered.release()
        try:
            await held
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        finally:
            self._held.discard(held)


def _ask(message: str) -> Ask:
    return Ask("elicitation/create", {"message": message, "requestedSchema": FORM})


def _offered(name: str, annotations: Mapping[str, Any]) -> Offered:
    return Offered(
        name=name,
        title=name.title(),
        description=f"The {name} tool.",
        input_schema={"type": "object"},
        output_schema=None,
        annotations=annotations,
        operation=Operation(name, {}),
    )
