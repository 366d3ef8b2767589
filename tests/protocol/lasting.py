"""A kind of data source for tests of long work: tools that run at a worker, ask, wait, fail and break."""

from __future__ import annotations

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
from tests.protocol.holding import Holding

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
    "chatty": (Running("worker"), READS),
    "fail": (Running("worker"), READS),
    "break": (Running("worker"), READS),
    "only": (Running("worker", task_only=True), READS),
    "early": (Running("begins_inline"), READS),
    "follow": (Running("begins_inline"), {}),
    "follows": (Running("worker"), {}),
    "inline": (Running(), READS),
}


class LastingBackend(Holding, PlainKind):
    """Implements the backends' contract. ``runs`` counts the beginnings by team and tool, ``effects`` what was done."""

    kind = KIND
    title = "Lasting"

    def __init__(self) -> None:
        super().__init__()
        self.runs: Counter[tuple[str, str]] = Counter()
        self.effects: Counter[str] = Counter()

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
            await self.hold()
        elif name in ("name", "early"):
            answers = await context.ask({"name": _ask("Who?")}, keep="kept")
            given["name"] = answers["name"]["content"]["name"]
            given["kept"] = context.kept
            await context.go_on(keep="later")
        elif name in ("follow", "follows"):
            if not context.kept:
                self.effects[team] += 1
                await context.go_on(keep="where it is", repeatable=True)
            given["kept"] = context.kept
            await self.hold()
        elif name == "odd":
            await context.progress(1, None, "half\0way \ud800")
            await context.ask({"name": _ask("Who\0 \ud800?")})
        elif name == "names":
            answers = await context.ask({"first": _ask("First?"), "second": _ask("Second?")})
            given["names"] = [answers[key]["content"]["name"] for key in ("first", "second")]
        elif name == "chatty":
            for number in range(3):
                await context.progress(number + 1, 3, f"step {number + 1}")
            await context.log("debug", "not asked for", "lasting")
            await context.log("warning", "the disk is nearly full", "lasting")
            await context.log("info", {"password": "hunter2", "rows": 3}, "lasting")
        elif name == "fail":
            raise SourceError("It failed, as it was told to.", code="source_unreachable")
        elif name == "break":
            raise RuntimeError("secret of the far side")
        return Outcome(given, f"{name} {given['run']}", rows=1, size=7)


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
