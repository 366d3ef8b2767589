"""Begins a call as a task, wherever its tool runs: of one that is made again, and of one that a schedule makes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from uuid import UUID

from core.errors import MarinaError
from servers.execution.hints import is_repeatable
from servers.services.calls import call_tool
from servers.services.surfaces import Surface, SurfaceTool
from servers.services.tasks.accepting import HandOver, TaskCreated
from servers.services.tasks.plans import WORKER_SECONDS, Long


async def begin_task(
    surface: Surface,
    tool_name: str,
    arguments: Mapping[str, Any],
    *,
    hand: HandOver,
    seconds: float = WORKER_SECONDS,
    **given: Any,
) -> UUID:
    """Call a tool, and have it go on as a task at once: its id. Raises what the call raises, and why it did not begin.

    ``seconds``: how long a run may take of a tool that runs within its request otherwise.
    """
    tool = surface.by_name.get(tool_name)
    if tool is not None:
        surface = surface.with_tools(replace(tool, long=_long(tool, seconds)))
    try:
        result = await call_tool(
            surface=surface, tool_name=tool_name, arguments=arguments, hand=hand, **given
        )
    except TaskCreated as created:
        return created.task.id
    raise result.error or MarinaError("The call ended without a task.", code="internal")


def _long(tool: SurfaceTool, seconds: float) -> Long:
    if tool.long is not None:
        return replace(tool.long, begins_inline=False)
    return Long(seconds=float(tool.deadline or seconds), repeatable=is_repeatable(tool.annotations))
