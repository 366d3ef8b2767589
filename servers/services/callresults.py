"""What became of a call, as whoever called is told: of one that ended here, or of the task that it went on as."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.errors import MarinaError, TooLarge
from servers.models import Task
from servers.services.recording import CallRecord
from servers.services.tasks.payload import Ended


@dataclass(slots=True)
class CallResult:
    """What became of a call that was let through to its tool, or whose arguments did not fit.

    ``outcome`` is ``ok``, ``error`` (the tool ran and failed), ``refused`` (by a rule of its source) or ``invalid``
    (the input); with all but the first, ``error`` says why. A tool that reports its own failure in words has
    outcome ``error``, code ``tool_failed``, and what it said in ``text``, ``structured`` and ``content``.
    ``content`` is MCP's content blocks, or ``None`` where ``text`` is all; ``meta`` is MCP's ``_meta``. ``seq`` is the
    place of its record in the tenant's log. ``served_from`` is empty, or where the result came from without a run: as
    of ``Entry``.
    """

    tool: str
    tool_version: int
    outcome: str
    structured: Any
    text: str
    rows: int | None
    size: int
    truncated: bool
    duration_us: int
    seq: int
    error: MarinaError | None = None
    content: Sequence[Mapping[str, Any]] | None = None
    served_from: str = ""
    meta: Mapping[str, Any] | None = None


def result_of(task: Task, ended: Ended) -> CallResult:
    """What a task came to, as the result of its call. Raises what a call raises that has none."""
    error = ended.raised()
    if task.status != Task.Status.COMPLETED:
        raise error or MarinaError("The task ended without a result.", code="internal")
    produced = ended.produced
    return CallResult(
        tool=task.tool,
        tool_version=task.tool_version,
        outcome=ended.outcome,
        structured=ended.structured,
        text=ended.text if error is None or produced is not None else error.message,
        rows=ended.rows,
        size=ended.size,
        truncated=ended.truncated,
        duration_us=ended.duration_us,
        seq=task.intent_seq or 0,
        error=error,
        content=ended.content,
        meta=ended.meta,
    )


def failed_result(record: CallRecord, error: MarinaError) -> CallResult:
    """The result of a call that was let through and has failed."""
    return CallResult(
        tool=record.subject,
        tool_version=record.version or 0,
        outcome=record.outcome,
        structured=None,
        text=error.message,
        rows=None,
        size=0,
        truncated=isinstance(error, TooLarge),
        duration_us=record.duration_us,
        seq=record.seq,
        error=error,
    )
