"""Schedules of tools: set up, changed, paused, deleted, run out of turn, and their history. Begins no run by itself.

A schedule runs as somebody: as who set it up or changed it last, or as a key of the team, for who may issue keys. What
they may do is decided anew for each run.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any, Final
from uuid import UUID

import orjson
from django.db.models import OuterRef, QuerySet, Subquery
from django.utils import timezone

from core.crontimes import BadCron, check_cron, describe_cron, next_time, next_times, zone_of
from core.errors import Conflict, Forbidden, InvalidInput, NotFound, SourceError, Unauthenticated
from core.loop import run_async
from core.sealing import sealer
from servers.models import ScheduledRun, Task, ToolSchedule
from servers.services.decisions import decide, require_usable
from servers.services.long_work import may_read_words
from servers.services.redaction import mask_secrets
from servers.services.runtime import get_runtime
from servers.services.scheduling import (
    MAX_WAITING,
    Begin,
    add_run,
    begin_scheduled,
    count_open,
    database_now,
    take_waiting,
)
from servers.services.schemas import check_arguments
from servers.services.tasks.priorities import NORMAL, NUMBERS, PRIORITIES, require_priority, word_of
from servers.services.tasks.scheduled import open_arguments, shown_schedule, skip_waiting
from servers.services.tasks.standing import standing_of
from servers.services.visibility import servers_left, tools_left
from tenants.access import Caller
from tenants.models import ApiKey, Tenant
from tenants.roles import Action
from tenants.scoping import tenant_scope
from tenants.services.inputs import as_json, clean_text, faults_below, name_taken, one_of, refuse
from tenants.services.recording import record_change

MAX_SCHEDULES: Final = 100
"""Of a team."""

MAX_ARGUMENTS: Final = 64 * 1024
NEXT_SHOWN: Final = 5
LISTED_RUNS: Final = 100

_CHECK_SECONDS: Final = 10.0

_DEFAULTS: Final[Mapping[str, Any]] = {
    "name": "",
    "server": "default",
    "tool": "",
    "arguments": {},
    "cron": "",
    "time_zone": "UTC",
    "overlap": ToolSchedule.Overlap.SKIP.value,
    "missed": ToolSchedule.Missed.ONCE.value,
    "priority": NORMAL,
    "enabled": True,
    "key": None,
}
FIELDS: Final = tuple(_DEFAULTS)
"""What is chosen of a schedule. ``key`` is the id of the key that it runs as; ``None``: as who sets it up."""

_HARMLESS: Final = frozenset({"name", "enabled"})
"""What may be changed of somebody else's schedule without it running as oneself from then on."""


@dataclass(frozen=True, slots=True)
class RunView:
    """A run, as it is shown. ``task_id`` only where the task is still there."""

    row: ScheduledRun
    task_id: UUID | None


@dataclass(frozen=True, slots=True)
class ScheduleView:
    """A schedule as it is shown: ``arguments`` masked.

    Those are ``None`` for who may not manage tasks, and where they cannot be opened any more.
    """

    row: ToolSchedule
    words: str
    next_at: list[datetime]
    priority: str
    arguments: Mapping[str, Any] | None
    last: ScheduledRun | None


@dataclass(frozen=True, slots=True)
class RunPage:
    """Runs, newest first. Where there are older ones, ``next_before`` is the ``before`` to ask for next."""

    items: Sequence[RunView]
    next_before: UUID | None


def list_schedules(*, caller: Caller) -> list[ScheduleView]:
    """The schedules that the caller may see, by name."""
    caller.require(Action.TASKS_READ)
    with tenant_scope(caller.tenant_id):
        rows = list(_visible(caller))
        last = _last_runs(rows)
        return [_view(row, caller, last.get(row.id)) for row in rows]


def get_schedule(schedule_id: UUID, *, caller: Caller) -> ScheduleView:
    """One schedule. Raises ``NotFound``."""
    caller.require(Action.TASKS_READ)
    with tenant_scope(caller.tenant_id):
        row = _access(schedule_id, caller)
        return _view(row, caller, _last_runs([row]).get(row.id))


def list_runs(schedule_id: UUID, *, before: UUID | None = None, caller: Caller) -> RunPage:
    """The newest runs of a schedule, older than the run ``before``. Raises ``NotFound`` and ``InvalidInput``."""
    caller.require(Action.TASKS_READ)
    with tenant_scope(caller.tenant_id):
        rows = ScheduledRun.objects.filter(schedule=_access(schedule_id, caller))
        if before is not None:
            last = rows.filter(id=before).first()
            if last is None:
                refuse("before", "is no run of this schedule, or is kept no more. Begin at the newest again.")
            rows = rows.filter(due_at__lt=last.due_at)
        older = list(rows[: LISTED_RUNS + 1])
        found = older[:LISTED_RUNS]
        ids = [row.task_id for row in found if row.task_id is not None]
        there = set(Task.objects.filter(id__in=ids).values_list("id", flat=True))
    if not may_read_words(caller):
        for row in found:
            row.reason = ""
    items = [RunView(row, row.task_id if row.task_id in there else None) for row in found]
    return RunPage(items, found[-1].id if len(older) > LISTED_RUNS else None)


def describe_times(cron: str, time_zone: str) -> tuple[str, list[datetime]]:
    """When a line of cron is due, in words, and the next moments. Raises ``InvalidInput``."""
    cron, time_zone = _clean_times(cron, time_zone)
    return describe_cron(cron, time_zone), _next(cron, time_zone)


def create_schedule(given: Mapping[str, Any], *, caller: Caller) -> ToolSchedule:
    """Set a schedule up. It runs as the caller, or as ``key``.

    Raises ``InvalidInput``, ``Conflict`` and ``Forbidden``.
    """
    _require(caller)
    wanted = _checked({**_DEFAULTS, **given})
    row = ToolSchedule(tenant_id=caller.tenant_id)
    acting = _acting(wanted["key"], caller)
    _check_call(wanted, acting)
    with tenant_scope(caller.tenant_id):
        Tenant.objects.select_for_update().get(pk=caller.tenant_id)
        if ToolSchedule.objects.count() >= MAX_SCHEDULES:
            raise Conflict(
                f"A team has {MAX_SCHEDULES} schedules of tools at most. Delete one first.", code="too_many"
            )
        _fill(row, wanted, acting)
        _save(row, new=True)
        record_change(
            "toolschedule.created",
            caller=caller,
            after=shown_schedule(row),
            server=row.server,
            tool=row.tool,
        )
    return row


def change_schedule(schedule_id: UUID, given: Mapping[str, Any], *, caller: Caller) -> ToolSchedule:
    """Change what is given, and leave the rest.

    Where it is more than its name, or whether it is enabled, the schedule runs as the caller from then on; as a key it
    goes on running where the caller is that key, or may issue keys. Raises as ``create_schedule``, and ``NotFound``.
    """
    _require(caller)
    with tenant_scope(caller.tenant_id):
        row = _access(schedule_id, caller)
    wanted = _checked({**_chosen(row), "key": None, **given})
    acting: Caller | None = None
    if not given.keys() <= _HARMLESS:
        acting = _acting(given["key"] if "key" in given else _kept_key(row, caller), caller)
        _check_call(wanted, acting)
    with tenant_scope(caller.tenant_id):
        row = _access(schedule_id, caller, lock=True)
        before = shown_schedule(row)
        _fill(row, wanted, acting, only=given.keys())
        _save(row, new=False)
        if before["enabled"] and not row.enabled:
            skip_waiting(row)
        record_change(
            "toolschedule.changed",
            caller=caller,
            before=before,
            after=shown_schedule(row),
            server=row.server,
            tool=row.tool,
        )
    return row


def delete_schedule(schedule_id: UUID, *, caller: Caller) -> None:
    """Delete a schedule and its history. What it began goes on, and its records stay. Raises ``NotFound``."""
    _require(caller)
    with tenant_scope(caller.tenant_id):
        row = _access(schedule_id, caller, lock=True)
        before = shown_schedule(row)
        server, tool = row.server, row.tool
        row.delete()
        record_change("toolschedule.deleted", caller=caller, before=before, server=server, tool=tool)


def run_now(schedule_id: UUID, *, caller: Caller) -> None:
    """Have a run made out of turn, as whom the schedule runs. The next one is due when it is.

    Raises ``NotFound``, ``Unavailable``, and ``Conflict``: ``run_not_ended`` where one has not ended and none waits,
    ``too_many_waiting`` where as many wait as may.
    """
    _require(caller)
    begin: Begin | None
    with tenant_scope(caller.tenant_id):
        row = _access(schedule_id, caller, lock=True)
        unfinished = count_open(row)
        if unfinished and row.overlap == ToolSchedule.Overlap.SKIP:
            raise Conflict(
                "The last run of this schedule has not ended. Wait for its end, cancel its task, or let runs queue.",
                code="run_not_ended",
            )
        if unfinished > MAX_WAITING:
            raise Conflict(
                f"{MAX_WAITING} runs of this schedule wait already. Wait for the end of some, or cancel the task that "
                "runs.",
                code="too_many_waiting",
            )
        now = database_now()
        add_run(row, now, by=caller.actor)
        record_change(
            "toolschedule.run",
            caller=caller,
            after={"id": str(row.id), "name": row.name},
            server=row.server,
            tool=row.tool,
        )
        begin = take_waiting(row, now)
    if begin is not None:
        begin_scheduled(begin)


def _require(caller: Caller) -> None:
    caller.require(Action.TASKS_MANAGE)
    caller.require(Action.TOOLS_CALL)


def _visible(caller: Caller) -> QuerySet[ToolSchedule]:
    rows = ToolSchedule.objects.all()
    tools, servers = tools_left(caller), servers_left(caller)
    if tools is not None:
        rows = rows.filter(tool__in=tools)
    return rows if servers is None else rows.filter(server__in=servers)


def _access(schedule_id: UUID, caller: Caller, *, lock: bool = False) -> ToolSchedule:
    rows = _visible(caller)
    row = (rows.select_for_update() if lock else rows).filter(id=schedule_id).first()
    if row is None:
        raise NotFound("There is no such schedule in this team.", code="schedule_not_found")
    return row


def _last_runs(rows: Collection[ToolSchedule]) -> dict[UUID, ScheduledRun]:
    """The newest run of each of these schedules that has one, by schedule."""
    newest = ScheduledRun.objects.filter(schedule=OuterRef("id")).values("id")[:1]
    ids = ToolSchedule.objects.filter(id__in=[row.id for row in rows]).values_list(Subquery(newest))
    return {run.schedule_id: run for run in ScheduledRun.objects.filter(id__in=ids)}


def _view(row: ToolSchedule, caller: Caller, last: ScheduledRun | None) -> ScheduleView:
    arguments = open_arguments(row) if caller.may(Action.TASKS_MANAGE) else None
    return ScheduleView(
        row=row,
        words=describe_cron(row.cron, row.zone),
        next_at=_next(row.cron, row.zone) if row.enabled else [],
        priority=word_of(row.priority),
        arguments=None if arguments is None else mask_secrets(arguments),
        last=last,
    )


def _next(cron: str, zone: str) -> list[datetime]:
    return list(islice(next_times(cron, zone, timezone.now()), NEXT_SHOWN))


def _chosen(row: ToolSchedule) -> dict[str, Any]:
    """What was chosen of it, but for the key."""
    return {
        "name": row.name,
        "server": row.server,
        "tool": row.tool,
        "arguments": open_arguments(row) or {},
        "cron": row.cron,
        "time_zone": row.zone,
        "overlap": row.overlap,
        "missed": row.missed,
        "priority": word_of(row.priority),
        "enabled": row.enabled,
    }


def _checked(given: Mapping[str, Any]) -> dict[str, Any]:
    """What was given, each in the form that it is to have. Raises ``InvalidInput``."""
    for name in given:
        if name not in _DEFAULTS:
            refuse(name, "is not known.")
    cron, zone = _clean_times(given["cron"], given["time_zone"])
    arguments = as_json(given["arguments"], "arguments", largest=MAX_ARGUMENTS)
    if not isinstance(arguments, dict):
        refuse("arguments", "must be an object.")
    return {
        "name": clean_text(given["name"], "name", longest=80),
        "server": clean_text(given["server"], "server", longest=40),
        "tool": clean_text(given["tool"], "tool", longest=140),
        "arguments": arguments,
        "cron": cron,
        "time_zone": zone,
        "overlap": one_of(given["overlap"], "overlap", ToolSchedule.Overlap.values),
        "missed": one_of(given["missed"], "missed", ToolSchedule.Missed.values),
        "priority": NUMBERS[one_of(given["priority"], "priority", PRIORITIES)],
        "enabled": given["enabled"] is True,
        "key": given["key"],
    }


def _clean_times(cron: object, zone: object) -> tuple[str, str]:
    line = " ".join(clean_text(cron, "cron", longest=120).split())
    name = clean_text(zone, "time_zone", longest=64)
    try:
        check_cron(line)
    except BadCron as fault:
        refuse("cron", str(fault))
    try:
        zone_of(name)
    except BadCron as fault:
        refuse("time_zone", str(fault))
    return line, name


def _kept_key(row: ToolSchedule, caller: Caller) -> UUID | None:
    """The key as which it may go on running when this caller changes it."""
    own = row.credential_id == caller.credential_id or caller.may(Action.KEYS_CHANGE)
    return row.credential_id if own else None


def _acting(key_id: UUID | None, caller: Caller) -> Caller:
    """Whom it is to run as, as they are now. Raises ``Forbidden`` and ``InvalidInput``."""
    if key_id is None or key_id == caller.credential_id:
        return caller
    # Who may issue a key could have the calls made with one of their own.
    caller.require(Action.KEYS_CHANGE)
    with tenant_scope(caller.tenant_id):
        key = ApiKey.objects.filter(id=key_id).first()
    if key is None:
        refuse("key", "is no key of this team.")
    named = Caller(
        caller.tenant_id,
        caller.tenant_slug,
        actor=f"key:{key.name} ({key.public_part})",
        credential_id=key.id,
    )
    try:
        return standing_of(named)
    except Unauthenticated as ended:
        refuse("key", f"cannot be used: {ended.message}")


def _check_call(wanted: Mapping[str, Any], acting: Caller) -> None:
    """Raise ``InvalidInput`` where such a call would be refused, or does not fit, as things are now."""
    fault = run_async(_fault_of(wanted, acting), timeout=_CHECK_SECONDS)
    if isinstance(fault, InvalidInput):
        with faults_below("arguments"):
            raise fault
    if fault is not None:
        at = "priority" if fault.code == "priority_not_allowed" else "tool"
        refuse(at, f"cannot be called so by {acting.actor}: {fault.message}")


async def _fault_of(
    wanted: Mapping[str, Any], acting: Caller
) -> Forbidden | NotFound | SourceError | InvalidInput | None:
    runtime = get_runtime()
    await runtime.start()
    surface = await runtime.surfaces.get(acting.tenant_id, wanted["server"])
    if surface is None:
        return NotFound("There is no such server in this team.", code="server_not_found")
    try:
        tool = decide(acting, surface.seen_by(acting), wanted["tool"])
        usual = 0 if tool.long is None else tool.long.priority
        require_priority(acting, usual, wanted["priority"])
        _, validator = require_usable(tool)
    except (Forbidden, NotFound, SourceError) as fault:
        return fault
    return check_arguments(validator, wanted["arguments"])


def _fill(
    row: ToolSchedule, wanted: Mapping[str, Any], acting: Caller | None, only: Collection[str] = FIELDS
) -> None:
    times = {"cron", "time_zone", "enabled"} & {*only}
    resumed = wanted["enabled"] and not row.enabled
    for name in only:
        match name:
            case "arguments":
                row.sealed = sealer().seal(orjson.dumps(wanted[name]), context=row.seal_context)
            case "time_zone":
                row.zone = wanted[name]
            case "key":
                pass
            case _:
                setattr(row, name, wanted[name])
    if acting is not None:
        row.credential_id = acting.credential_id
        row.user_id = None if acting.credential_id is not None else acting.user_id
        row.actor = acting.actor[:200]
    if acting is not None or resumed:
        row.refusals = 0
    if times:
        row.next_at = next_time(row.cron, row.zone, database_now())
    if row.enabled:
        row.paused_because = ""


def _save(row: ToolSchedule, *, new: bool) -> None:
    with name_taken("servers_toolschedule_name_unique", "Another schedule has this name."):
        row.save(force_insert=new)
