"""Shows how a data source would run a tool that is being written. Saves nothing, and runs nothing of the tool."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from core.errors import InvalidInput
from core.loop import run_async
from servers.execution.contract import Operation, Outcome, Source
from servers.services.kinds import backend_of
from servers.services.runtime import get_runtime
from servers.services.sources import execution_source, get_source
from tenants.access import Caller
from tenants.roles import Action
from tenants.services.inputs import faults_below

KIND: Final = "sql"
"""The kind of tool that has a plan."""

EXPLAIN: Final = "explain"
SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class Plan:
    """How a statement would run: the source's own words, and what it may expect. ``total_cost`` has no unit."""

    plan: str
    estimated_rows: int | None
    total_cost: float | None


def explain_tool(source_id: UUID, definition: Mapping[str, Any], *, caller: Caller) -> Plan:
    """The plan of a SQL tool's definition. Raises ``InvalidInput`` (a path a fault), ``NotFound``, ``SourceError``."""
    caller.require(Action.TOOLS_CHANGE)
    row = get_source(source_id, caller=caller)
    backend = backend_of(row.kind)
    if KIND not in backend.tool_kinds:
        message = f"Only SQL tools have a plan, and a source of the kind {row.kind} has none."
        raise InvalidInput(message, errors=[{"path": "source", "message": message}])
    with faults_below("definition"):
        compiled = backend.compile(KIND, definition)
        outcome = run_async(_explain(execution_source(row), compiled.operation.definition))
    found = outcome.structured
    return Plan(found["plan"], found["estimated_rows"], found["total_cost"])


async def _explain(source: Source, definition: Mapping[str, Any]) -> Outcome:
    engine = get_runtime().engine
    return await engine.execute(source, Operation(EXPLAIN, definition), {}, timeout=SECONDS)
