"""A team's tasks, as its members and its credentials see them: listed, shown, cancelled, run again. Runs none itself.

What a task was called with and what it gave is data of the team's sources: shown to who may manage tasks, masked as in
the log, and to nobody else. What its tool says, and why it failed, is shown to who sees data in the log, too: it is
there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from django.db.models import Q, QuerySet

from core.errors import Conflict, NotFound
from core.loop import run_async
from core.sealing import sealer
from servers.models import ScheduledRun, Task, Turn
from servers.models_tasks import ENDED
from servers.services.playground import waited
from servers.services.redaction import mask_secrets, mask_text
from servers.services.runtime import get_runtime
from servers.services.surfaces import Surface
from servers.services.tasks import ending
from servers.services.tasks.accepting import HandOver
from servers.services.tasks.beginning import begin_task
from servers.services.tasks.payload import Ended, Work
from servers.services.tasks.priorities import word_of
from servers.services.tasks.rows import open_ended, open_said
from servers.services.tasks.saying import Said
from servers.services.visibility import servers_left, tools_left
from tenants.access import Caller
from tenants.audit.records import KIND_CALL
from tenants.roles import Action
from tenants.scoping import tenant_scope
from tenants.services.inputs import one_of, refuse
from tenants.services.recording import record_change

OPEN: Final = "open"
"""The filter for tasks that have not ended."""

STATUSES: Final = (OPEN, *Task.Status.values)

DEFAULT_LIMIT: Final = 50
MAX_LIMIT: Final = 200

MAX_PLACES: Final = 1_000
"""Places in the line are told up to this one."""

_WITHHELD: Final = "Why is shown to who may manage tasks, or see in the log what calls were given and gave."

_CANCEL_SECONDS: Final = 15.0


@dataclass(frozen=True, slots=True)
class Given:
    """What a task was called with and what it gave, masked. ``asks``: what its client is asked, by key.

    ``content`` is MCP's content blocks, or ``None`` where ``text`` is all.
    """

    arguments: Any
    asks: Mapping[str, Any]
    structured: Any = None
    text: str = ""
    content: Any = None


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an ended task has no result, or what its tool reported."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class WorkItem:
    """A task of the team, free of what it is about but for its progress.

    ``place`` is its place in the team's line while it waits for a worker, from 1; past ``MAX_PLACES`` unknown, as of
    one that does not wait. ``intent_seq`` is the number of the log's record of the run that is under way, or was the
    last.
    """

    id: UUID
    status: str
    tool: str
    tool_version: int
    server: str
    actor: str
    client: str
    credential_id: UUID | None
    request_id: str
    progress: float | None
    total: float | None
    message: str
    runs: int
    seconds: float
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    expires_at: datetime
    intent_seq: int | None
    priority: str
    cancelling: bool
    place: int | None
    waiting: bool

    @property
    def ended(self) -> bool:
        """Whether nothing more becomes of it."""
        return self.status in ENDED

    @property
    def standing(self) -> str:
        """Where it stands, in words for a person."""
        if self.ended:
            return self.status
        if self.cancelling:
            return "being cancelled"
        if self.status == Task.Status.INPUT_REQUIRED:
            return "asks its client"
        return "waiting" if self.waiting else "running"

    @property
    def took_us(self) -> int | None:
        """Microseconds from its beginning at a worker to its end, with all that it waited for between."""
        if self.started_at is None or self.finished_at is None:
            return None
        return int((self.finished_at - self.started_at).total_seconds() * 1_000_000)


@dataclass(frozen=True, slots=True)
class WorkDetail:
    """A task, and how it ended. ``given`` and ``said`` (masked) are ``None`` for who may not manage tasks.

    ``asked`` are the methods by which its client is asked something. ``rows`` and ``size`` (bytes) are of the result.
    ``schedule_id`` is the schedule whose run it is.
    """

    item: WorkItem
    asked: Sequence[str]
    rows: int | None
    size: int | None
    truncated: bool
    duration_us: int | None
    error: Failure | None
    given: Given | None
    said: Said | None
    schedule_id: UUID | None


@dataclass(frozen=True, slots=True)
class WorkPage:
    """Tasks, newest first. Where there are older ones, ``next_before`` is the ``before`` to ask for next."""

    items: list[WorkItem]
    next_before: UUID | None

    @property
    def any_open(self) -> bool:
        """Whether one of them has not ended."""
        return any(not item.ended for item in self.items)


def list_work(
    *,
    caller: Caller,
    status: str = "",
    tool: str = "",
    before: UUID | None = None,
    limit: int = DEFAULT_LIMIT,
) -> WorkPage:
    """The newest tasks that the caller may see, older than the task ``before``.

    ``status``: one of ``STATUSES``; ``tool``: a tool's name. Raises ``InvalidInput``.
    """
    caller.require(Action.TASKS_READ)
    if status:
        one_of(status, "status", STATUSES)
    if not 1 <= limit <= MAX_LIMIT:
        refuse("limit", f"must be from 1 to {MAX_LIMIT}.")
    with tenant_scope(caller.tenant_id):
        rows = _visible(caller)
        if status:
            rows = rows.exclude(status__in=ENDED) if status == OPEN else rows.filter(status=status)
        if tool:
            rows = rows.filter(tool=tool)
        if before is not None:
            last = _visible(caller).filter(id=before).first()
            if last is None:
                refuse("before", "is no task of this team, or its time was up. Begin at the newest again.")
            rows = rows.filter(
                Q(created_at__lt=last.created_at) | Q(created_at=last.created_at, id__gt=last.id)
            )
        # What they hold sealed may be megabytes each, and none of it is shown here.
        found = list(rows.defer(*Task.sealed_columns).order_by("-created_at", "id")[: limit + 1])
        items = _items(found[:limit], caller)
    return WorkPage(items, items[-1].id if len(found) > limit else None)


def get_work(task_id: UUID, *, caller: Caller) -> WorkDetail:
    """One task, with its result for who may manage tasks. Raises ``NotFound``."""
    caller.require(Action.TASKS_READ)
    with tenant_scope(caller.tenant_id):
        task = _access(task_id, caller)
        item = _items([task], caller)[0]
        schedule_id = None if task.scheduled_run is None else _schedule_of(task.scheduled_run)
    ended = _ended(task)
    error = None if ended is None else ended.raised()
    return WorkDetail(
        item=item,
        asked=[str(ask.get("method", "")) for ask in task.asks.values()],
        rows=None if ended is None else ended.rows,
        size=None if ended is None or ended.produced is None else ended.size,
        truncated=ended is not None and ended.truncated,
        duration_us=None if ended is None else ended.duration_us,
        error=None if error is None else Failure(error.code, _words(error.message, caller) or _WITHHELD),
        given=_given(task, ended) if caller.may(Action.TASKS_MANAGE) else None,
        said=_said(task) if caller.may(Action.TASKS_MANAGE) else None,
        schedule_id=schedule_id,
    )


def cancel_work(task_id: UUID, *, caller: Caller) -> None:
    """Have a task stopped: one that waits at once, one that runs by its worker. The log says who did it.

    Raises ``NotFound``, ``Conflict`` (``task_ended``), and ``Unavailable`` while the log cannot be written.
    """
    caller.require(Action.TASKS_MANAGE)
    with tenant_scope(caller.tenant_id):
        task = _access(task_id, caller)
    if task.ended or not run_async(
        _cancel(caller.tenant_id, task_id, f"Cancelled by {caller.actor}."), timeout=_CANCEL_SECONDS
    ):
        raise Conflict("This task has ended already, so there is nothing to cancel.", code="task_ended")
    with tenant_scope(caller.tenant_id):
        record_change(
            "task.cancelled",
            caller=caller,
            before={"id": str(task.id), "status": str(task.status)},
            server=task.server,
            tool=task.tool,
        )


def run_again(task_id: UUID, *, caller: Caller, client: str) -> UUID:
    """Make the call of an ended task once more, as the caller's own: decided anew, on the tool as it is now.

    Always as a task, wherever the tool runs by now. Its id. Raises ``NotFound``, ``Conflict`` (``task_not_ended``),
    and what such a call raises.
    """
    caller.require(Action.TASKS_MANAGE)
    # Here, so that a refusal is in the log once: the decision path records its own.
    caller.require(Action.TOOLS_CALL)
    with tenant_scope(caller.tenant_id):
        task = _access(task_id, caller)
    if not task.ended:
        raise Conflict(
            "This task has not ended. Wait for its end, or cancel it, and then run it again.",
            code="task_not_ended",
        )

    work = _work(task)

    async def begin(*, surface: Surface, **given: Any) -> UUID:
        hand = HandOver(takes_task=True)
        return await begin_task(surface, task.tool, work.arguments, hand=hand, seconds=task.seconds, **given)

    return waited(
        begin,
        KIND_CALL,
        Action.TOOLS_CALL,
        task.tool,
        work.arguments,
        caller=caller,
        server_slug=task.server,
        client=client,
    )


def may_read_words(caller: Caller) -> bool:
    """Whether the caller is shown what tools say while they run, and why runs failed."""
    return caller.may(Action.TASKS_MANAGE) or caller.may(Action.AUDIT_PAYLOADS)


async def _cancel(tenant_id: int, task_id: UUID, why: str) -> bool:
    runtime = get_runtime()
    await runtime.start()
    found = await ending.cancel(tenant_id, task_id, why=why)
    runtime.tasks.forget(task_id)
    return found


def _visible(caller: Caller) -> QuerySet[Task]:
    rows = Task.objects.all()
    tools, servers = tools_left(caller), servers_left(caller)
    if tools is not None:
        rows = rows.filter(tool__in=tools)
    return rows if servers is None else rows.filter(server__in=servers)


def _access(task_id: UUID, caller: Caller) -> Task:
    task = _visible(caller).filter(id=task_id).first()
    if task is None:
        raise NotFound("There is no such task in this team, or its time was up.", code="task_not_found")
    return task


def _items(tasks: Sequence[Task], caller: Caller) -> list[WorkItem]:
    """In the scope of their tenant."""
    places: dict[UUID, int] = {}
    turns: dict[UUID, tuple[bool, bool]] = {}
    if any(not task.ended for task in tasks):
        ids = [task.id for task in tasks]
        for task_id, claim, cancelled in Turn.objects.filter(task_id__in=ids).values_list(
            "task_id", "claim", "cancelled"
        ):
            turns[task_id] = claim is None, cancelled
        line = Turn.objects.filter(of_tenant=tasks[0].tenant_id, claim__isnull=True)
        ahead = line.order_by("-priority", "since").values_list("task_id", flat=True)[:MAX_PLACES]
        places = {task_id: place for place, task_id in enumerate(ahead, 1)}
    return [_item(task, caller, places.get(task.id), *turns.get(task.id, (False, False))) for task in tasks]


def _item(task: Task, caller: Caller, place: int | None, waiting: bool, cancelling: bool) -> WorkItem:
    copied = {name: getattr(task, name) for name in _SAME}
    return WorkItem(
        **copied,
        status=str(task.status),
        message=_words(task.message, caller),
        priority=word_of(task.priority),
        cancelling=cancelling and not task.ended,
        place=None if task.ended else place,
        waiting=waiting and not task.ended,
    )


def _words(text: str, caller: Caller) -> str:
    return mask_text(text) if may_read_words(caller) else ""


_SAME: Final = (
    *("id", "tool", "tool_version", "server", "actor", "client", "credential_id", "request_id"),
    *("progress", "total", "runs", "seconds", "intent_seq"),
    *("created_at", "updated_at", "started_at", "finished_at", "expires_at"),
)
"""What is shown of a task's row as it stands there."""


def _ended(task: Task) -> Ended | None:
    return open_ended(task) if task.ended and task.sealed_result else None


def _work(task: Task) -> Work:
    return Work.from_bytes(sealer().open(bytes(task.sealed), context=task.seal_context))


def _schedule_of(run_id: UUID) -> UUID | None:
    """In the scope of its tenant; ``None`` where it was deleted, or its history is too long."""
    return ScheduledRun.objects.filter(id=run_id).values_list("schedule_id", flat=True).first()


def _said(task: Task) -> Said:
    said = open_said(task)
    lines = deque(replace(line, text=mask_text(line.text)) for line in said.lines)
    return Said(lines, said.dropped)


def _given(task: Task, ended: Ended | None) -> Given:
    arguments, asks = mask_secrets(_work(task).arguments), mask_secrets(task.asks)
    if ended is None or ended.produced is None:
        return Given(arguments, asks)
    return Given(
        arguments,
        asks,
        structured=mask_secrets(ended.structured),
        text=mask_text(ended.text),
        content=None if ended.content is None else mask_secrets(list(ended.content)),
    )
