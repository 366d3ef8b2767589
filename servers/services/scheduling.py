"""Has the runs of schedules made when they are due: the row of a run first, then its call, as a task. Decides no call.

There is one row at most for each time that a schedule was due at, over any number of processes that look. A run whose
process ended before it could say that the task was made is begun again; each run has one task at most, which is looked
for first. What the time is says the database: clocks of workers may differ.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from django.db import connection
from django.utils import timezone

from core.crontimes import count_times, last_time, next_time
from core.errors import Forbidden, InvalidInput, MarinaError, NotFound, Unauthenticated, Unavailable
from core.loop import run_async
from core.requestid import current_request_id
from servers.execution.context import Detached
from servers.models import ScheduledRun, Task, ToolSchedule
from servers.models_tasks import ENDED
from servers.services.principals import principal_as
from servers.services.reading import look_up
from servers.services.reasons import log_unavailable
from servers.services.recording import CallRecord
from servers.services.runtime import get_runtime
from servers.services.tasks.accepting import HandOver
from servers.services.tasks.beginning import begin_task
from servers.services.tasks.scheduled import AGAIN, OPEN, open_arguments, settle_run, skip_waiting
from servers.services.tasks.standing import standing_of
from tenants.access import Caller
from tenants.audit.records import KIND_CALL
from tenants.models import Tenant
from tenants.scoping import directory_scope, tenant_scope

CLIENT: Final = "Marina schedule"

LATE: Final = timedelta(seconds=60)
"""A run that is later than this was missed: nothing ran here when it was due."""

MAX_WAITING: Final = 10
"""Runs of a schedule that wait for the one before them; what is due beyond is skipped."""

MAX_PASSED: Final = 10_000
"""Missed times are counted up to this."""

KEPT_RUNS: Final = 500
"""Of each schedule; those that ended longest ago go."""

_BEGIN_SECONDS: Final = 30.0

_RUNS_STILL: Final = "The run before it had not ended."

_DUE: Final = "SELECT tenant_id, schedule_id FROM marina_due_tool_schedules(%s)"

State = ScheduledRun.State
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Begin:
    """A run that is to be begun now, by who has this. ``caller`` is whom it runs as, as they were when that was set."""

    run_id: UUID
    schedule_id: UUID
    caller: Caller
    server: str
    tool: str
    arguments: Mapping[str, Any]
    priority: int


def find_due(most: int = 500) -> list[tuple[int, UUID]]:
    """Schedules of all teams that are due, or have a run that waits.

    One look, by a function of the database that tells these ids and nothing else.
    """
    with directory_scope(), connection.cursor() as cursor:
        cursor.execute(_DUE, [most])
        return [(int(tenant_id), schedule_id) for tenant_id, schedule_id in cursor.fetchall()]


def run_due() -> int:
    """Have made what is due, of all teams. How many runs were begun. Raises ``Unavailable``: nothing can begin now."""
    begun = 0
    for tenant_id, schedule_id in find_due():
        try:
            begin = take_due(tenant_id, schedule_id)
            if begin is not None:
                begin_scheduled(begin)
                begun += 1
        except Unavailable:
            raise
        except Exception:
            # One schedule's fault is no other's.
            logger.exception(
                "a schedule was not run", extra={"tenant_id": tenant_id, "schedule_id": str(schedule_id)}
            )
    return begun


def take_due(tenant_id: int, schedule_id: UUID) -> Begin | None:
    """Note what a schedule is due for, and take what is to be begun of it: ``None`` where that is nothing."""
    with tenant_scope(tenant_id):
        row = ToolSchedule.objects.select_for_update(skip_locked=True).filter(id=schedule_id).first()
        if row is None:
            return None
        now = database_now()
        if row.enabled and row.next_at <= now:
            _note_due(row, now)
        return take_waiting(row, now)


def take_waiting(row: ToolSchedule, now: datetime) -> Begin | None:
    """Take the run of a schedule that waits longest, where none runs. In the scope of its team, its row locked."""
    if not row.enabled:
        # What was about to be begun when it was paused, and was not.
        skip_waiting(row, due_only=True)
    open_runs = _open_runs(row)
    waiting = [run for run in open_runs if run.state == State.WAITING]
    if not waiting or len(waiting) < len(open_runs):
        return None
    run = waiting[0]
    if run.begun_at is not None and run.begun_at > now - AGAIN:
        return None
    arguments = open_arguments(row)
    if arguments is None:
        settle_run(run.id, State.INVALID, fault=_sealed())
        return None
    ScheduledRun.objects.filter(id=run.id).update(begun_at=now)
    slug = Tenant.objects.values_list("slug", flat=True).get(pk=row.tenant_id)
    caller = Caller(
        row.tenant_id, slug, actor=row.actor, user_id=row.user_id, credential_id=row.credential_id
    )
    return Begin(run.id, row.id, caller, row.server, row.tool, arguments, row.priority)


def add_run(row: ToolSchedule, due: datetime, *, by: str = "") -> None:
    """Put a run into the line of its schedule. In the scope of its team, its row locked."""
    _add(row, due, State.WAITING, by=by)


def count_open(row: ToolSchedule) -> int:
    """How many runs of a schedule have not ended. In the scope of its team, its row locked."""
    return len(_open_runs(row))


def database_now() -> datetime:
    """What time it is by the database's clock, which is the same for all who look."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement_timestamp()")
        now: datetime = cursor.fetchone()[0]
    return now


def begin_scheduled(begin: Begin) -> None:
    """Make the call of a run, as a task. Raises ``Unavailable`` where it waits for another try."""
    run_async(_begin(begin), timeout=_BEGIN_SECONDS)


async def _begin(begin: Begin) -> None:
    if await look_up(_has_task, begin):
        return
    runtime = get_runtime()
    await runtime.start()
    if not runtime.writer.accepting:
        raise log_unavailable()
    request_id = current_request_id()
    record = CallRecord(
        runtime,
        KIND_CALL,
        begin.tool,
        begin.arguments,
        caller=begin.caller,
        server=begin.server,
        client=CLIENT,
        request_id=request_id,
    )
    record.schedule = str(begin.schedule_id)
    try:
        task_id = await _call(begin, record, request_id)
    except Unavailable as fault:
        if fault.code != "too_many_tasks":
            raise
        await look_up(_settle, begin, State.ERROR, record, fault)
    except MarinaError as fault:
        await look_up(_settle, begin, State(record.outcome or State.ERROR), record, fault)
    else:
        await look_up(_note_begun, begin, task_id)


async def _call(begin: Begin, record: CallRecord, request_id: str) -> UUID:
    try:
        record.caller = caller = await look_up(standing_of, begin.caller)
    except Unauthenticated as ended:
        refusal = Forbidden(ended.message, rule="credential:ended", code="credential_ended")
        await record.refuse(refusal)
        raise refusal from None
    surface = await record.runtime.surfaces.get(caller.tenant_id, begin.server)
    if surface is None:
        gone = NotFound("The server of this schedule is not there any more.", code="server_not_found")
        await record.refuse(gone)
        raise gone
    return await begin_task(
        surface.seen_by(caller),
        begin.tool,
        begin.arguments,
        hand=HandOver(
            takes_task=True,
            idempotency_key=f"schedule:{begin.run_id}",
            priority=begin.priority,
            scheduled_run=begin.run_id,
        ),
        caller=caller,
        client=CLIENT,
        request_id=request_id,
        context=Detached(principal_as(caller, begin.server, request_id)),
        record=record,
    )


def _note_due(row: ToolSchedule, now: datetime) -> None:
    due = max(row.next_at, last_time(row.cron, row.zone, now))
    passed = count_times(row.cron, row.zone, row.next_at, due, MAX_PASSED)
    open_runs = len(_open_runs(row))
    state, reason = State.WAITING, ""
    if now - due > LATE and row.missed == ToolSchedule.Missed.SKIP:
        state = State.MISSED
    elif open_runs and (row.overlap == ToolSchedule.Overlap.SKIP or open_runs > MAX_WAITING):
        state, reason = State.SKIPPED, _RUNS_STILL
    _add(row, due, state, passed=passed, reason=reason)
    row.next_at = next_time(row.cron, row.zone, max(now, due))
    row.save(update_fields=["next_at"])


def _add(
    row: ToolSchedule, due: datetime, state: str, *, passed: int = 0, reason: str = "", by: str = ""
) -> None:
    ended = None if state == State.WAITING else timezone.now()
    run = ScheduledRun(
        tenant_id=row.tenant_id,
        schedule=row,
        due_at=due,
        state=state,
        passed_over=passed,
        reason=reason,
        by=by,
        finished_at=ended,
    )
    # What is there for this time already stays as it is.
    ScheduledRun.objects.bulk_create([run], ignore_conflicts=True)
    runs = ScheduledRun.objects.filter(schedule=row)
    kept = runs.order_by("-due_at").values_list("due_at", flat=True)[KEPT_RUNS : KEPT_RUNS + 1]
    if oldest := list(kept):
        runs.filter(due_at__lte=oldest[0]).exclude(state__in=OPEN).delete()


def _open_runs(row: ToolSchedule) -> list[ScheduledRun]:
    """Those that have not ended, oldest first. One whose task is not there any more has."""
    runs = list(ScheduledRun.objects.filter(schedule=row, state__in=OPEN).order_by("due_at"))
    ids = [run.task_id for run in runs if run.task_id is not None]
    working = set(Task.objects.filter(id__in=ids).exclude(status__in=ENDED).values_list("id", flat=True))
    found = []
    for run in runs:
        if run.state == State.RUNNING and run.task_id not in working:
            gone = NotFound("Its task is not there any more.", code="task_not_found")
            settle_run(run.id, State.ERROR, task_id=run.task_id, fault=gone)
        else:
            found.append(run)
    return found


def _note_begun(begin: Begin, task_id: UUID) -> None:
    with tenant_scope(begin.caller.tenant_id):
        _run_as(begin, task_id)


def _has_task(begin: Begin) -> bool:
    """Whether somebody began it before, and could not say so: that is said now."""
    with tenant_scope(begin.caller.tenant_id):
        return _keep_task(begin)


def _settle(begin: Begin, state: str, record: CallRecord, fault: MarinaError) -> None:
    with tenant_scope(begin.caller.tenant_id):
        # Two may have tried at once: the one that came late has a fault, and the run has a task.
        if not _keep_task(begin):
            settle_run(begin.run_id, state, seq=record.seq or record.intent, fault=fault)


def _keep_task(begin: Begin) -> bool:
    task_id = Task.objects.filter(scheduled_run=begin.run_id).values_list("id", flat=True).first()
    if task_id is not None:
        _run_as(begin, task_id)
    return task_id is not None


def _run_as(begin: Begin, task_id: UUID) -> None:
    # It may have ended meanwhile.
    waiting = ScheduledRun.objects.filter(id=begin.run_id, state=State.WAITING)
    waiting.update(state=State.RUNNING, task_id=task_id)


def _sealed() -> InvalidInput:
    return InvalidInput(
        "What the tool is to be called with cannot be opened any more. Give the schedule its arguments anew.",
        code="arguments_unreadable",
    )
