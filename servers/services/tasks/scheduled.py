"""What became of the runs of schedules, and what that means for their schedules. In the scope of their team."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import orjson
from django.db.models import Exists, OuterRef
from django.db.models.functions import Now
from django.utils import timezone

from core.crypto import SealError
from core.errors import MarinaError
from core.sealing import sealer
from servers.models import ScheduledRun, Task, ToolSchedule
from servers.services.quarantine import RULE as QUARANTINE
from servers.services.redaction import mask_beginning, mask_text
from servers.services.tasks.payload import Ended
from tenants.access import marina_of
from tenants.services.recording import record_change

MAX_REFUSALS: Final = 3
"""Runs in a row that a rule refused, before the schedule is paused."""

REASON_CHARACTERS: Final = 300
ARGUMENT_CHARACTERS: Final = 16_000
"""Of what the tool is called with, in a record of a change, which has the former and the new."""

AGAIN: Final = timedelta(seconds=60)
"""After this, what somebody set out to begin and did not is begun by somebody else."""

UNREADABLE: Final = "[cannot be opened]"
_PAUSED: Final = "The schedule was paused."

OPEN: Final = (ScheduledRun.State.WAITING, ScheduledRun.State.RUNNING)
_NOT_RUN: Final = (ScheduledRun.State.REFUSED, ScheduledRun.State.INVALID)


def note_scheduled_end(run_id: UUID, ended: Ended, *, task_id: UUID, seq: int | None) -> None:
    """The task that is a schedule's run has ended. ``seq``: the record of it."""
    fault = ended.raised()
    settle_run(run_id, ended.outcome, seq=seq, task_id=task_id, duration_us=ended.duration_us, fault=fault)


def settle_run(
    run_id: UUID,
    state: str,
    *,
    seq: int | None = None,
    task_id: UUID | None = None,
    duration_us: int | None = None,
    fault: MarinaError | None = None,
) -> None:
    """Note what became of a run. A schedule whose runs are refused again and again is paused, which is recorded."""
    schedule = ToolSchedule.objects.select_for_update(of=("self",)).filter(runs=run_id).first()
    run = ScheduledRun.objects.filter(id=run_id, state__in=OPEN).first()
    if schedule is None or run is None:
        # It has an end already, or its schedule was deleted.
        return
    run.state = ScheduledRun.State(state)
    run.finished_at = timezone.now()
    run.seq, run.task_id, run.duration_us = seq, task_id or run.task_id, duration_us
    run.reason = "" if fault is None else _kept(fault.message)
    run.save()
    if run.state not in _NOT_RUN:
        if schedule.refusals:
            ToolSchedule.objects.filter(id=schedule.id).update(refusals=0)
        return
    if fault is not None and fault.data.get("rule") == QUARANTINE:
        # It is of the source, and ends when somebody takes over what changed: the schedule goes on then.
        return
    schedule.refusals += 1
    if schedule.enabled and schedule.refusals >= MAX_REFUSALS:
        _pause(schedule, fault)
    schedule.save(update_fields=["refusals", "enabled", "paused_because"])


def skip_waiting(schedule: ToolSchedule, *, due_only: bool = False) -> None:
    """Let what waits of a schedule that is paused not run. Its row is locked.

    What somebody sets out to begin just now, or has begun, goes on. ``due_only``: but what was asked for out of turn.
    """
    begun = Task.objects.filter(scheduled_run=OuterRef("id"))
    waiting = ScheduledRun.objects.filter(~Exists(begun), schedule=schedule, state=ScheduledRun.State.WAITING)
    if due_only:
        waiting = waiting.filter(by="")
    waiting.exclude(begun_at__gt=Now() - AGAIN).update(
        state=ScheduledRun.State.SKIPPED, finished_at=Now(), reason=_PAUSED
    )


def open_arguments(row: ToolSchedule) -> dict[str, Any] | None:
    """What the tool of a schedule is called with; ``None``: it opens no more, as of another master key."""
    try:
        given: dict[str, Any] = orjson.loads(sealer().open(bytes(row.sealed), context=row.seal_context))
    except (SealError, orjson.JSONDecodeError):
        return None
    return given


def shown_schedule(row: ToolSchedule) -> dict[str, Any]:
    """What the log shows of a schedule; of what the tool is called with the beginning, masked."""
    arguments = open_arguments(row)
    return {
        "id": str(row.id),
        "name": row.name,
        "server": row.server,
        "tool": row.tool,
        "arguments": UNREADABLE if arguments is None else mask_beginning(arguments, ARGUMENT_CHARACTERS),
        "cron": row.cron,
        "time_zone": row.zone,
        "overlap": str(row.overlap),
        "missed": str(row.missed),
        "priority": row.priority,
        "enabled": row.enabled,
        "runs_as": row.actor,
    }


def _pause(schedule: ToolSchedule, fault: MarinaError | None) -> None:
    before = shown_schedule(schedule)
    schedule.enabled = False
    schedule.paused_because = _kept(f"{schedule.refusals} runs in a row did not begin{_named(fault)}.")
    skip_waiting(schedule)
    record_change(
        "toolschedule.paused",
        caller=marina_of(schedule.tenant_id),
        before=before,
        after={**shown_schedule(schedule), "because": schedule.paused_because},
        server=schedule.server,
        tool=schedule.tool,
    )


def _named(fault: MarinaError | None) -> str:
    """What ended a run, without its words: those may quote the team's data, and all who see the schedule see this."""
    if fault is None:
        return ""
    rule = str(fault.data.get("rule", ""))
    return f"; the last one for {fault.code}{rule and f' (rule {rule})'}"


def _kept(reason: str) -> str:
    return mask_text(reason.replace("\0", "").encode("utf-8", "replace").decode())[:REASON_CHARACTERS]
