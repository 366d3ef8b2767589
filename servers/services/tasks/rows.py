"""The rows of tasks: each way from one state to the next, in a transaction of its own. Runs nothing, records nothing.

What a worker writes counts only while it has the task's turn (``line``): each of these raises ``TurnLost`` otherwise.
Turns are locked before tasks, everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID, uuid4

from django.conf import settings
from django.db import IntegrityError
from django.db.models.functions import Now
from django.utils import timezone

from core.crypto import Sealer
from core.errors import Conflict, Unavailable
from core.sealing import sealer
from servers.models import Task, Turn
from servers.services.tasks.line import Claim, hold, join_line, lease_end, leave_line
from servers.services.tasks.payload import Answers, Ended, Work
from servers.services.tasks.plans import Long
from tenants.audit.records import ACTOR_CHARACTERS, CLIENT_CHARACTERS, REQUEST_ID_CHARACTERS, column
from tenants.models import AuditRecord
from tenants.scoping import tenant_scope

MAX_RUNS: Final = 3
"""Runs that end with their worker, before the task is given up."""

KEPT_AFTER_END: Final = timedelta(hours=1)
"""How long its result can be fetched at least."""

MESSAGE_CHARACTERS: Final = 500
KEY_CHARACTERS: Final = 200
REASON_CHARACTERS: Final = 300

CANCELLED: Final = "The task was cancelled."

_OPEN: Final = (Task.Status.WORKING, Task.Status.INPUT_REQUIRED)


@dataclass(frozen=True, slots=True)
class Run:
    """A task as the worker that claimed it finds it. ``ended`` is what its last run had come to already."""

    claim: Claim
    work: Work
    answers: Answers
    seconds: float
    repeatable: bool
    begun: bool
    runs: int
    intent_seq: int | None
    cancelled: bool
    ended: Ended | None
    cancel_reason: str = ""
    disowned: bool = False
    """Whether its caller was told that the call failed: its row was made when nobody waited for that any more."""


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
            ttl_ms=ttl // timedelta(milliseconds=1),
            created_at=now,
            updated_at=now,
            expires_at=now + ttl,
        )
        task.sealed = _sealer().seal(work.to_bytes(), context=task.seal_context)
        task.sealed_answers = _sealer().seal(answers.to_bytes(), context=task.seal_context)
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
    work = Work.from_bytes(_sealer().open(bytes(task.sealed), context=task.seal_context))
    if (work.server, work.tool) != (server, tool) or work.arguments != arguments:
        raise Conflict(
            "This idempotency key stands for another call already. Use a new one for each call, and the same one only "
            "to send a call again.",
            code="idempotency_key_reused",
        )
    return task


def begin_run(claim: Claim) -> Run | None:
    """Take up a task that was claimed; ``None`` where nothing is left to do: its turn is gone then, too."""
    with tenant_scope(claim.tenant_id):
        turn = hold(claim)
        task = Task.objects.select_for_update().filter(id=claim.task_id).first()
        if task is None or task.ended:
            turn.delete()
            return None
        run = _run_of(task, turn, claim)
        if not task.begun and task.intent_seq is not None:
            answered = AuditRecord.objects.filter(intent_seq=task.intent_seq).exists()
            run = replace(run, disowned=answered and run.ended is None)
        now = timezone.now()
        Task.objects.filter(id=task.id).update(
            runs=task.runs + 1, started_at=task.started_at or now, updated_at=now
        )
    return replace(run, runs=run.runs + 1)


def look_at(claim: Claim) -> Run | None:
    """As ``begin_run``, for who only wants to know what became of it."""
    with tenant_scope(claim.tenant_id):
        turn = hold(claim)
        task = Task.objects.filter(id=claim.task_id).first()
        if task is None or task.ended:
            turn.delete()
            return None
        return _run_of(task, turn, claim)


def mark_begun(claim: Claim, intent_seq: int) -> None:
    """Say that from now on something may be done, under this record. Raises ``TurnLost``."""
    with _held(claim):
        Task.objects.filter(id=claim.task_id).update(begun=True, intent_seq=intent_seq, sealed_result=None)


def keep_ended(claim: Claim, ended: Ended) -> None:
    """Keep what the run came to, before it is in the log. Raises ``TurnLost``."""
    with _held(claim):
        sealed = _sealer().seal(ended.to_bytes(), context=_context(claim))
        Task.objects.filter(id=claim.task_id).update(sealed_result=sealed)


def note_progress(claim: Claim, progress: float, total: float | None, message: str) -> None:
    """Say how far the run is. Raises ``TurnLost``."""
    with _held(claim):
        Task.objects.filter(id=claim.task_id).update(
            progress=progress,
            total=total,
            message=column(message, MESSAGE_CHARACTERS),
            updated_at=timezone.now(),
        )


def conclude(claim: Claim, ended: Ended) -> None:
    """Let what the run came to be the task's state, once it is in the log. Raises ``TurnLost``."""
    with _held(claim) as turn:
        task = Task.objects.select_for_update().get(id=claim.task_id)
        now = timezone.now()
        task.updated_at = now
        task.begun = False
        if ended.status == Task.Status.INPUT_REQUIRED:
            answers = _open_answers(task)
            asks, names = _mint(ended, answers)
            kept = replace(answers, kept=ended.kept, used=[*answers.used, *asks], names=names)
            task.status = Task.Status.INPUT_REQUIRED
            task.asks = asks
            task.intent_seq = None
            task.sealed_answers = _sealer().seal(kept.to_bytes(), context=task.seal_context)
            task.sealed_result = None
            task.message = "Waits for the client's answer."
        else:
            error = ended.raised()
            task.status = Task.Status(ended.status)
            task.asks = {}
            task.message = "" if error is None else column(error.message, MESSAGE_CHARACTERS)
            task.sealed_result = _sealer().seal(ended.to_bytes(), context=task.seal_context)
            task.sealed_answers = None
            task.finished_at = now
            task.expires_at = max(task.expires_at, now + KEPT_AFTER_END)
            task.ttl_ms = (task.expires_at - task.created_at) // timedelta(milliseconds=1)
        task.save()
        turn.delete()


def release(claim: Claim) -> None:
    """Let another worker run the task, from its beginning. Raises ``TurnLost``.

    Where it had come to something that was kept, that counts: somebody is to look after it at once.
    """
    with _held(claim) as turn:
        if Task.objects.filter(id=claim.task_id, sealed_result__isnull=True).update(begun=False):
            turn.claim, turn.worker, turn.lease_until = None, "", None
            turn.save()
        else:
            Turn.objects.filter(task_id=claim.task_id).update(lease_until=Now())


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
        answers = _open_answers(task)
        given = {**answers.given, **{answers.names[key]: value for key, value in found.items()}}
        names = {key: name for key, name in answers.names.items() if key not in found}
        kept = replace(answers, given=given, names=names)
        task.sealed_answers = _sealer().seal(kept.to_bytes(), context=task.seal_context)
        task.asks = {key: ask for key, ask in task.asks.items() if key not in found}
        task.updated_at = timezone.now()
        ready = not task.asks
        if ready:
            task.status = Task.Status.WORKING
            task.message = ""
            # Runs that a worker's end took are counted anew: this is another one.
            task.runs = 0
            join_line(tenant_id, task_id)
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


def why_cancelled(claim: Claim) -> str:
    """Why a task is being cancelled."""
    with tenant_scope(claim.tenant_id):
        found = Task.objects.filter(id=claim.task_id).values_list("cancel_reason", flat=True).first()
    return found or CANCELLED


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


def open_ended(task: Task) -> Ended:
    """What an ended task came to."""
    return Ended.from_bytes(_sealer().open(bytes(task.sealed_result or b""), context=task.seal_context))


def _run_of(task: Task, turn: Turn, claim: Claim) -> Run:
    return Run(
        claim=claim,
        work=Work.from_bytes(_sealer().open(bytes(task.sealed), context=task.seal_context)),
        answers=_open_answers(task),
        seconds=task.seconds,
        repeatable=task.repeatable,
        begun=task.begun,
        runs=task.runs,
        intent_seq=task.intent_seq,
        cancelled=turn.cancelled,
        cancel_reason=task.cancel_reason or CANCELLED,
        ended=open_ended(task) if task.sealed_result else None,
    )


@contextmanager
def _held(claim: Claim) -> Iterator[Turn]:
    with tenant_scope(claim.tenant_id):
        yield hold(claim)


def _open_answers(task: Task) -> Answers:
    if not task.sealed_answers:
        return Answers()
    return Answers.from_bytes(_sealer().open(bytes(task.sealed_answers), context=task.seal_context))


def _mint(ended: Ended, answers: Answers) -> tuple[dict[str, Any], dict[str, str]]:
    """The questions by keys that were never used for this task, and the tool's own keys by those."""
    used = set(answers.used)
    asks: dict[str, Any] = {}
    names: dict[str, str] = {}
    for name, ask in ended.asks.items():
        key, number = name, 1
        while key in used or key in asks:
            number += 1
            key = f"{name}-{number}"
        asks[key] = {"method": ask.method, "params": _storable(dict(ask.params))}
        names[key] = name
    return asks, names


def _storable(value: Any) -> Any:
    """JSON without what PostgreSQL's has no room for: NUL and lone surrogates."""
    if isinstance(value, str):
        return column(value, len(value))
    if isinstance(value, Mapping):
        return {_storable(str(name)): _storable(each) for name, each in value.items()}
    return [_storable(each) for each in value] if isinstance(value, list | tuple) else value


def _context(claim: Claim) -> str:
    return Task(tenant_id=claim.tenant_id, id=claim.task_id).seal_context


def _sealer() -> Sealer:
    return sealer()
