"""A kind of data source for tests of shared results: it counts its runs, by tool, and what each was told of."""

from __future__ import annotations

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
from tests.protocol.holding import Holding

KIND = "tally"
READS: Mapping[str, Any] = {"readOnlyHint": True, "idempotentHint": True}
FORM: Mapping[str, Any] = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}


class TallyBackend(Holding, PlainKind):
    """Implements the backends' contract. ``runs`` counts; ``told`` is the principal that each run saw, in order."""

    kind = KIND
    title = "Tally"

    def __init__(self) -> None:
        super().__init__()
        self.runs: Counter[str] = Counter()
        self.told: list[Principal] = []

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
            await self.hold()
        if name == "halt" or arguments.get("fail"):
            raise SourceError(f"Run {number} failed.", code="source_unreachable")
        if name == "odd":
            return Outcome({"n": number}, "a", failed=True)
        given = {"n": number, "who": who, "arguments": dict(arguments)}
        return Outcome(given, f"run {number}", rows=number, size=7, truncated=name == "cut")


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
