"""Where a tool's calls run, as its team sets and sees it. Runs nothing; ``tasks`` does what is set here."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from servers.execution.contract import Operation, Source
from servers.models import MAX_DEADLINE, Tool
from servers.services.changes import publish_change
from servers.services.runtime import get_runtime
from servers.services.tasks.plans import INLINE_SECONDS, plan_running
from servers.services.tasks.priorities import NORMAL, NUMBERS, PRIORITIES, word_of
from servers.services.tools import get_tool, locked_tool
from tenants.access import Caller
from tenants.roles import Action
from tenants.scoping import tenant_scope
from tenants.services.inputs import one_of, refuse, whole_number
from tenants.services.recording import record_change


@dataclass(frozen=True, slots=True)
class ToolRunning:
    """Where the calls of one tool run now, and why.

    ``runs`` and ``deadline`` (seconds, or ``None``) are what is set. ``where``: ``inline``, within their requests;
    ``worker``, as tasks; ``begins_inline``, within their requests until the tool says that what comes now takes long.
    ``seconds``: how long a run may take. ``why`` is a sentence. ``task_only``: clients that know no tasks are refused.
    ``repeatable``: a run that its worker's end cut off is made again. ``priority`` is set: how urgent its
    tasks are among the team's.
    """

    tool_id: UUID
    runs: str
    deadline: int | None
    where: str
    seconds: float
    why: str
    task_only: bool = False
    repeatable: bool = False
    priority: str = NORMAL


def get_running(tool_id: UUID, *, caller: Caller) -> ToolRunning:
    """Where a tool's calls run. Raises ``NotFound``."""
    return _described(get_tool(tool_id, caller=caller))


def change_running(
    tool_id: UUID,
    *,
    runs: str | None = None,
    deadline: int | None = None,
    priority: str | None = None,
    caller: Caller,
) -> ToolRunning:
    """As ``set_running``, and how it is then."""
    return _described(set_running(tool_id, runs=runs, deadline=deadline, priority=priority, caller=caller))


def set_running(
    tool_id: UUID,
    *,
    runs: str | None = None,
    deadline: int | None = None,
    priority: str | None = None,
    caller: Caller,
) -> Tool:
    """Say where a tool's calls run, for how many seconds at most (0: no deadline of its own), and how urgent its
    tasks are; ``None`` stays.

    It holds for calls that begin from now on. Raises ``NotFound`` and ``InvalidInput``: a call within its request has
    ``INLINE_SECONDS`` at most.
    """
    caller.require(Action.TOOLS_CHANGE)
    if runs is not None:
        one_of(runs, "runs", Tool.Runs.values)
    if deadline is not None:
        whole_number(deadline, "deadline", low=0, high=MAX_DEADLINE)
    if priority is not None:
        one_of(priority, "priority", PRIORITIES)
    with tenant_scope(caller.tenant_id):
        tool = locked_tool(tool_id, caller)
        before = _shown(tool)
        if runs is not None:
            tool.runs = Tool.Runs(runs)
        if deadline is not None:
            tool.deadline = deadline or None
        if priority is not None:
            tool.priority = NUMBERS[priority]
        if tool.runs == Tool.Runs.INLINE and (tool.deadline or 0) > INLINE_SECONDS:
            refuse(
                "deadline",
                f"a call within its request has {INLINE_SECONDS:g} seconds at most. Let the tool run at a worker, or "
                "automatically.",
            )
        if _shown(tool) != before:
            tool.save(update_fields=["runs", "deadline", "priority"])
            publish_change(caller.tenant_id)
            record_change(
                "tool.running_changed", caller=caller, before=before, after=_shown(tool), tool=tool.name
            )
    return tool


def _described(tool: Tool) -> ToolRunning:
    return replace(_where(tool), priority=word_of(tool.priority))


def _where(tool: Tool) -> ToolRunning:
    version = tool.current
    find = get_runtime().engine.find
    backend = find(tool.source.kind)
    if version is None or backend is None:
        why = "The kind of its data source is not installed any more, so its calls fail."
        return ToolRunning(tool.pk, tool.runs, tool.deadline, "inline", INLINE_SECONDS, why)
    # Of a source, the kind alone decides: nothing sealed is opened for this.
    source = Source(tool.source.pk, tool.tenant_id, tool.source.name, tool.source.kind, 0, {})
    long = plan_running(tool, version, source, find)
    running = backend.running(Operation(version.kind, version.definition))
    if long is None:
        seconds = min(float(tool.deadline or INLINE_SECONDS), INLINE_SECONDS)
        return ToolRunning(tool.pk, tool.runs, tool.deadline, "inline", seconds, _why_inline(tool))
    return ToolRunning(
        tool_id=tool.pk,
        runs=tool.runs,
        deadline=tool.deadline,
        where="begins_inline" if long.begins_inline else "worker",
        seconds=long.seconds,
        why=_why_worker(tool, running.where),
        task_only=long.task_only,
        repeatable=long.repeatable,
    )


def _why_inline(tool: Tool) -> str:
    if tool.runs == Tool.Runs.INLINE:
        return "This team set it so."
    return f"Its data source does not say that it takes long, and its deadline is not over {INLINE_SECONDS:g} seconds."


def _why_worker(tool: Tool, where: str) -> str:
    if tool.runs == Tool.Runs.WORKER:
        return "This team set it so."
    if where == "inline":
        return (
            f"Its deadline of {tool.deadline} seconds is longer than the {INLINE_SECONDS:g} seconds that a call may "
            "take within its request."
        )
    if where == "begins_inline":
        return "Its data source says that some of its calls take long."
    return "Its data source says that it takes long."


def _shown(tool: Tool) -> dict[str, Any]:
    return {
        "id": str(tool.id),
        "name": tool.name,
        "runs": str(tool.runs),
        "deadline": tool.deadline,
        "priority": word_of(tool.priority),
    }
