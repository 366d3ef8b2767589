"""The rows of tasks: how they are made, looked at, answered, cancelled and deleted. Runs nothing, records nothing.

What workers write of their runs is ``runs``'. Turns are locked before tasks, everywhere.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID, uuid4

from django.conf import settings
from django.db import IntegrityError
from django.utils import timezone

from core.crypto import Sealer
from core.errors import Conflict, Unavailable
from core.sealing import sealer
from servers.models import Task, Turn
from servers.services.tasks.line import Claim, join_line, lease_end, leave_line
from servers.services.tasks.payload import Answers, Ended, Work
from servers.services.tasks.plans import Long
from servers.services.tasks.saying import Said
from tenants.audit.records import ACTOR_CHARACTERS, CLIENT_CHARACTERS, REQUEST_ID_CHARACTERS
from tenants.models import AuditRecord
from tenants.scoping import tenant_scope

MESSAGE_CHARACTERS: Final = 500
KEY_CHARACTERS: Final = 200
REASON_CHARACTERS: Final = 300

_OPEN: Final = (Task.Status.WORKING, Task.Status.INPUT_REQUIRED)


def create_task(
    work: Work,
    *,
    task_id: UUID,
    principal: str,
    long: Long,
    intent_seq: int,
    answers: Answers,
    idempotency_key: str | None = None,
    priority: int = 0,
    scheduled_run: UUID | None = None,
) -> Task:
    """Make a task that is ready to run. Raises ``Unavailable`` where its team has too many that have not ended.

    Raises ``Conflict`` where the principal has a task with this idempotency key already.
    """
    caller = work.caller
    now = timezone.now()
    ttl = max(timedelta(seconds=settings.ENV.tasks.ttl_seconds), timedelta(seconds=2 * long.seconds))
    with tenant_scope(caller.tenant_id):
        if Task.objects.filter(status__in=_OPEN).count() >= settings.ENV.tasks.open_per_team:
            raise Unavailable(
                f"This team has {settings.ENV.tasks.open_per_team} tasks that have not ended, and may have no more. "
                "Wait for some of them, or cancel them.",
                code="too_many_tasks",
            )
        task = Task(
            tenant_id=caller.tenant_id,
            id=task_id,
            server=work.server,
            tool=work.tool,
            tool_version=work.version,
            actor=caller.actor[:ACTOR_CHARACTERS],
            principal=principal,
            credential_id=caller.credential_id,
            client=work.client[:CLIENT_CHARACTERS],
            request_id=work.request_id[:REQUEST_ID_CHARACTERS],
            idempotency_key=idempotency_key,
            repeatable=long.repeatable,
            intent_seq=intent_seq,
            seconds=long.seconds,
            priority=priority,
            scheduled_run=scheduled_run,
            ttl_ms=ttl // timedelta(milliseconds=1),
            created_at=now,
            updated_at=now,
            expires_at=now + ttl,
        )
        task.sealed = seal(work.to_bytes(), task.tenant_id, task.id)
        task.sealed_answers = seal(answers.to_bytes(), task.tenant_id, task.id)
        try:
            task.save(force_insert=True)
        except IntegrityError:
            raise Conflict("There is a task with this idempotency key already.", code="task_exists") from None
        join_line(caller.tenant_id, task.id, priority=priority)
    return task


def find_by_key(
    tenant_id: int, principal: str, idempotency_key: str, server: str, tool: str, arguments: Mapping[str, Any]
) -> Task | None:
    """The principal's task with this idempotency key. Raises ``Conflict`` where that was of another call."""
    with tenant_scope(tenant_id):
        task = Task.objects.filter(principal=principal, idempotency_key=idempotency_key).first()
    if task is None:
        return None
    work = open_work(task)
    if (work.server, work.tool) != (server, tool) or work.arguments != arguments:
        raise Conflict(
            "This idempotency key stands for another call already. Use a new one for each call, and the same one only "
            "to send a call again.",
            code="idempotency_key_reused",
        )
    return task


def answer(tenant_id: int, task_id: UUID, responses: Mapping[str, Any]) -> bool:
    """Take the client's answers. What was not asked, or is answered already, is left aside.

    Says whether the task is ready to run again: nothing is open any more.
    """
    with tenant_scope(tenant_id):
        task = Task.objects.select_for_update().filter(id=task_id).first()
        if task is None or task.status != Task.Status.INPUT_REQUIRED:
            return False
        if Turn.objects.filter(task_id=task_id).exists():
            # It is being cancelled.
            return False
        found = {
            key: value for key, value in responses.items() if key in task.asks and isinstance(value, dict)
        }
        if not found:
            return False
        answers = open_answers(task)
        given = {**answers.given, **{answers.names[key]: value for key, value in found.items()}}
        names = {key: name for key, name in answers.names.items() if key not in found}
        kept = replace(answers, given=given, names=names)
        task.sealed_answers = seal(kept.to_bytes(), task.tenant_id, task.id)
        task.asks = {key: ask for key, ask in task.asks.items() if key not in found}
        task.updated_at = timezone.now()
        ready = not task.asks
        if ready:
            task.status = Task.Status.WORKING
            task.message = ""
            # Runs that a worker's end took are counted anew: this is another one.
            task.runs = 0
            join_line(tenant_id, task_id, priority=task.priority)
        task.save()
    return ready


def ask_to_cancel(
    tenant_id: int, task_id: UUID, worker: str, why: str = "", *, asking: bool = False
) -> Claim | bool:
    """Have a task cancelled. Of one that nobody runs, its turn: who asked ends it. ``True``: its worker is told.

    Its end says ``why``; of several, the first that was given.

    ``False``: there is no such task, or it has ended; with ``asking``, or it waits for no answer.
    """
    while True:
        found = _ask_to_cancel(tenant_id, task_id, worker, why, asking=asking)
        if found is not None:
            return found


def _ask_to_cancel(
    tenant_id: int, task_id: UUID, worker: str, why: str, *, asking: bool
) -> Claim | bool | None:
    """``None``: it joined the line meanwhile."""
    with tenant_scope(tenant_id):
        turn = Turn.objects.select_for_update().filter(task_id=task_id).first()
        task = Task.objects.select_for_update().filter(id=task_id).first()
        if task is None or task.ended or (asking and task.status != Task.Status.INPUT_REQUIRED):
            return False
        if turn is None and Turn.objects.filter(task_id=task_id).exists():
            return None
        if why and not task.cancel_reason:
            Task.objects.filter(id=task_id).update(cancel_reason=why[:REASON_CHARACTERS])
        if turn is not None and turn.claim is not None:
            Turn.objects.filter(task_id=task_id).update(cancelled=True)
            return True
        claim = Claim(tenant_id, task_id, uuid4())
        Turn.objects.update_or_create(
            task_id=task_id,
            defaults={
                "of_tenant": tenant_id,
                "claim": claim.token,
                "worker": worker[:80],
                "lease_until": lease_end(),
                "cancelled": True,
            },
        )
    return claim


def has_outcome(tenant_id: int, intent_seq: int) -> bool:
    """Whether the log has the outcome of this intent."""
    with tenant_scope(tenant_id):
        return AuditRecord.objects.filter(intent_seq=intent_seq).exists()


def find_task(tenant_id: int, task_id: UUID) -> Task | None:
    """A task of this team; of what it holds sealed its result alone, once it has ended. The rest may be megabytes."""
    with tenant_scope(tenant_id):
        task = Task.objects.defer(*Task.sealed_columns).filter(id=task_id).first()
        if task is not None and task.ended:
            kept = Task.objects.filter(id=task_id).values_list("sealed_result", flat=True)
            task.sealed_result = kept.first()
    return task


def find_tasks(tenant_id: int, task_ids: Collection[UUID]) -> dict[UUID, Task]:
    """``find_task`` of several at once, by id."""
    with tenant_scope(tenant_id):
        rows = Task.objects.defer(*Task.sealed_columns).filter(id__in=task_ids)
        found = {task.id: task for task in rows}
        ended = [task.id for task in found.values() if task.ended]
        if ended:
            for task_id, kept in Task.objects.filter(id__in=ended).values_list("id", "sealed_result"):
                found[task_id].sealed_result = kept
    return found


def find_overdue(tenant_id: int, now: datetime) -> list[UUID]:
    """Tasks whose time is up while they wait for an answer."""
    with tenant_scope(tenant_id):
        late = Task.objects.filter(status=Task.Status.INPUT_REQUIRED, expires_at__lt=now)
        return list(late.values_list("id", flat=True)[:1_000])


def delete_expired(tenant_id: int, now: datetime) -> int:
    """Delete tasks that ended, and whose time is up. How many those were."""
    with tenant_scope(tenant_id):
        gone = Task.objects.exclude(status__in=_OPEN).filter(expires_at__lt=now)
        ids = list(gone.values_list("id", flat=True)[:1_000])
        leave_line(ids)
        return Task.objects.filter(id__in=ids).delete()[0]


def seal(content: bytes, tenant_id: int, task_id: UUID) -> bytes:
    """What goes into a sealed column of this task."""
    return _sealer().seal(content, context=Task(tenant_id=tenant_id, id=task_id).seal_context)


def open_work(task: Task) -> Work:
    """What is to be run, for whom."""
    return Work.from_bytes(_sealer().open(bytes(task.sealed), context=task.seal_context))


def open_ended(task: Task) -> Ended:
    """What an ended task came to."""
    return Ended.from_bytes(_sealer().open(bytes(task.sealed_result or b""), context=task.seal_context))


def open_said(task: Task) -> Said:
    """What the tool of a task said."""
    if not task.sealed_said:
        return Said()
    return Said.from_bytes(_sealer().open(bytes(task.sealed_said), context=task.seal_context))


def open_answers(task: Task) -> Answers:
    """What a task was answered, and was asked before."""
    if not task.sealed_answers:
        return Answers()
    return Answers.from_bytes(_sealer().open(bytes(task.sealed_answers), context=task.seal_context))


def _sealer() -> Sealer:
    return sealer()
