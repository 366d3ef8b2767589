"""Which calls of a tool run at a worker, and how long they may take. Decided once a snapshot; runs nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from servers.execution.contract import Operation, Source
from servers.execution.hints import is_repeatable
from servers.models import Tool, ToolVersion
from servers.services.results.plans import FindBackend

INLINE_SECONDS: Final = 30.0
"""What a call may take within its request."""

WORKER_SECONDS: Final = 600.0
"""What one may take at a worker where its team says nothing."""


@dataclass(frozen=True, slots=True)
class Long:
    """How calls of a tool run that may take long.

    ``begins_inline``: until the tool says that what comes now takes long. ``task_only``: clients that speak no tasks
    are refused. ``seconds``: how long a run may take. ``repeatable``: it may run again after one of which nobody knows
    how it ended. ``priority``: how urgent those are that do not say it (``priorities``).
    """

    seconds: float
    begins_inline: bool = False
    task_only: bool = False
    repeatable: bool = False
    priority: int = 0


def plan_running(tool: Tool, version: ToolVersion, source: Source | None, find: FindBackend) -> Long | None:
    """How calls of this version run at a worker; ``None`` where they run within their requests."""
    backend = None if source is None else find(source.kind)
    if backend is None or tool.runs == Tool.Runs.INLINE:
        return None
    running = backend.running(Operation(version.kind, version.definition))
    long = tool.deadline is not None and tool.deadline > INLINE_SECONDS
    if running.where == "inline" and tool.runs == Tool.Runs.AUTOMATIC and not long:
        return None
    return Long(
        seconds=float(tool.deadline or WORKER_SECONDS),
        begins_inline=running.where == "begins_inline" and tool.runs == Tool.Runs.AUTOMATIC,
        task_only=running.task_only,
        repeatable=is_repeatable(version.annotations),
        priority=tool.priority,
    )
