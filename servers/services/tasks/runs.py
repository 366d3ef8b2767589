"""What a worker reads and writes of the task whose turn it has. Runs nothing, records nothing.

What is written counts only while the turn is held (``line``): each of these raises ``TurnLost`` otherwise. Turns are
locked before tasks, everywhere. What each run goes through is one statement a step: of three queries and the two ends
of a transaction, most of the time is the way to the database and back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from django.db.models.functions import Now
from django.utils import timezone

from servers.models import Task, Turn
from servers.services.tasks.line import Claim, TurnLost, give_back, hold
from servers.services.tasks.payload import Answers, Ended, Work
from servers.services.tasks.rows import (
    MESSAGE_CHARACTERS,
    open_answers,
    open_ended,
    open_said,
    open_work,
    seal,
)
from servers.services.tasks.saying import Said
from servers.services.tasks.scheduled import note_scheduled_end
from tenants.audit.records import column
from tenants.scoping import run_scoped, tenant_scope

MAX_RUNS: Final = 3
"""Runs that end with their worker, before the task is given up."""

KEPT_AFTER_END: Final = timedelta(hours=1)
"""How long its result can be fetched at least."""

CANCELLED: Final = "The task was cancelled."

# Locks the turn, as ``hold`` does.
_HELD: Final = """
WITH held AS MATERIALIZED (
    SELECT task_id, cancelled FROM servers_turn WHERE task_id = %s AND claim = %s FOR UPDATE
)"""

_COLUMNS: Final = (
    *("tenant_id", "id", "sealed", "sealed_answers", "sealed_result", "sealed_said", "seconds", "repeatable"),
    *("begun", "runs", "intent_seq", "cancel_reason", "scheduled_run"),
)
"""Of a task, what a run is made of. None of them is read in another way than it is stored."""

# The outcome of a call that has not begun is in the log where its caller was told that it failed.
_BEGIN: Final = f"""{_HELD}
UPDATE servers_task AS task
SET runs = runs + 1, started_at = coalesce(started_at, %s), updated_at = %s
FROM held
WHERE task.id = held.task_id AND task.tenant_id = %s AND task.status IN ('working', 'input_required')
RETURNING held.cancelled,
    NOT begun AND sealed_result IS NULL AND EXISTS (
        SELECT FROM tenants_auditrecord AS record
        WHERE record.tenant_id = task.tenant_id AND record.intent_seq = task.intent_seq
    ),
    {", ".join(f"task.{name}" for name in _COLUMNS)}
"""  # noqa: S608 (constants only)

_END: Final = f"""{_HELD}, gone AS (
    DELETE FROM servers_turn USING held WHERE servers_turn.task_id = held.task_id
)
UPDATE servers_task
SET status = %s, message = %s, sealed_result = %s, sealed_answers = NULL, asks = '{{}}', begun = false,
    finished_at = %s, updated_at = %s, expires_at = greatest(expires_at, %s),
    ttl_ms = floor(extract(epoch FROM greatest(expires_at, %s) - created_at) * 1000)
FROM held
WHERE servers_task.id = held.task_id AND servers_task.tenant_id = %s
RETURNING intent_seq
"""  # noqa: S608 (constants only)


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
    said: Said = field(default_factory=Said)
    scheduled_run: UUID | None = None
    """The run of a schedule that it is."""
    disowned: bool = False
    """Whether its caller was told that the call failed: its row was made when nobody waited for that any more."""


def begin_run(claim: Claim) -> Run | None:
    """Take up a task that was claimed; ``None`` where nothing is left to do: its turn is gone then, too.

    It is on disk with what the run does first (``mark_begun``), or with its end.
    """
    now = timezone.now()
    tenant_id = claim.tenant_id
    given = [claim.task_id, claim.token, now, now, tenant_id]
    rows = run_scoped(tenant_id, _BEGIN, given, durable=False)
    if not rows:
        return look_at(claim)
    cancelled, disowned, *values = rows[0]
    task = Task(**dict(zip(_COLUMNS, values, strict=True)))
    return replace(_run_of(task, claim, cancelled=cancelled), disowned=disowned)


def look_at(claim: Claim) -> Run | None:
    """As ``begin_run``, for who only wants to know what became of it."""
    with tenant_scope(claim.tenant_id):
        turn = hold(claim)
        task = Task.objects.filter(id=claim.task_id).first()
        if task is None or task.ended:
            turn.delete()
            return None
        return _run_of(task, claim, cancelled=turn.cancelled)


def mark_begun(claim: Claim, intent_seq: int) -> None:
    """Say that from now on something may be done, under this record. Raises ``TurnLost``."""
    _write(claim, {"begun": True, "intent_seq": intent_seq, "sealed_result": None})


def keep_on(claim: Claim, answers: Answers) -> None:
    """Keep what the next run begins with, should this one be lost: it may begin then. Raises ``TurnLost``."""
    sealed = seal(answers.to_bytes(), claim.tenant_id, claim.task_id)
    _write(claim, {"sealed_answers": sealed, "repeatable": True})


def keep_ended(claim: Claim, ended: Ended, said: Said) -> None:
    """Keep what the run came to, and what was said, before it is in the log. Raises ``TurnLost``.

    It is on disk with the record, which comes after it.
    """
    sealed = seal(ended.to_bytes(), claim.tenant_id, claim.task_id)
    _write(claim, {"sealed_result": sealed, **_said(claim, said)}, durable=False)


def note_said(claim: Claim, said: Said) -> None:
    """Keep what the run said so far, and how far it is. Raises ``TurnLost``."""
    _write(claim, {**_said(claim, said), "updated_at": timezone.now()})


def conclude(run: Run, ended: Ended) -> None:
    """Let what the run came to be the task's state, once it is in the log. Raises ``TurnLost``."""
    claim = run.claim
    if ended.status == Task.Status.INPUT_REQUIRED:
        _wait_for_answer(claim, ended)
    elif run.scheduled_run is None:
        _end(claim, ended)
    else:
        with tenant_scope(claim.tenant_id):
            seq = _end(claim, ended)
            note_scheduled_end(run.scheduled_run, ended, task_id=claim.task_id, seq=seq)


def release(claim: Claim) -> None:
    """Let another worker run the task, from its beginning. Raises ``TurnLost``.

    Where it had come to something that was kept, that counts: somebody is to look after it at once.
    """
    with tenant_scope(claim.tenant_id):
        hold(claim)
        if Task.objects.filter(id=claim.task_id, sealed_result__isnull=True).update(begun=False):
            give_back(claim)
        else:
            Turn.objects.filter(task_id=claim.task_id).update(lease_until=Now())


def why_cancelled(claim: Claim) -> str:
    """Why a task is being cancelled."""
    with tenant_scope(claim.tenant_id):
        found = Task.objects.filter(id=claim.task_id).values_list("cancel_reason", flat=True).first()
    return found or CANCELLED


def _wait_for_answer(claim: Claim, ended: Ended) -> None:
    with tenant_scope(claim.tenant_id):
        turn = hold(claim)
        task = Task.objects.select_for_update().get(id=claim.task_id)
        answers = open_answers(task)
        asks, names = _mint(ended, answers)
        kept = replace(answers, kept=ended.kept, used=[*answers.used, *asks], names=names)
        task.status = Task.Status.INPUT_REQUIRED
        task.message = "Waits for the client's answer."
        task.asks = asks
        task.intent_seq = None
        task.sealed_answers = seal(kept.to_bytes(), task.tenant_id, task.id)
        task.sealed_result = None
        task.begun = False
        task.updated_at = timezone.now()
        task.save()
        turn.delete()


def _end(claim: Claim, ended: Ended) -> int | None:
    """The number of the record of the run."""
    now = timezone.now()
    kept = now + KEPT_AFTER_END
    error = ended.raised()
    message = "" if error is None else column(error.message, MESSAGE_CHARACTERS)
    sealed = seal(ended.to_bytes(), claim.tenant_id, claim.task_id)
    state = [str(ended.status), message, sealed, now, now, kept, kept]
    rows = run_scoped(claim.tenant_id, _END, [claim.task_id, claim.token, *state, claim.tenant_id])
    if not rows:
        raise TurnLost
    seq: int | None = rows[0][0]
    return seq


def _write(claim: Claim, values: Mapping[str, Any], *, durable: bool = True) -> None:
    """Write these columns of the task."""
    statement = f"""{_HELD}
        UPDATE servers_task SET {", ".join(f"{name} = %s" for name in values)} FROM held
        WHERE servers_task.id = held.task_id AND servers_task.tenant_id = %s
        RETURNING servers_task.id
    """  # noqa: S608 (names of this module)
    given = [claim.task_id, claim.token, *values.values(), claim.tenant_id]
    if not run_scoped(claim.tenant_id, statement, given, durable=durable):
        raise TurnLost


def _run_of(task: Task, claim: Claim, *, cancelled: bool) -> Run:
    return Run(
        claim=claim,
        work=open_work(task),
        answers=open_answers(task),
        seconds=task.seconds,
        repeatable=task.repeatable,
        begun=task.begun,
        runs=task.runs,
        intent_seq=task.intent_seq,
        cancelled=cancelled,
        cancel_reason=task.cancel_reason or CANCELLED,
        ended=open_ended(task) if task.sealed_result else None,
        said=open_said(task),
        scheduled_run=task.scheduled_run,
    )


def _said(claim: Claim, said: Said) -> dict[str, Any]:
    if not said.lines:
        return {}
    kept: dict[str, Any] = {"sealed_said": seal(said.to_bytes(), claim.tenant_id, claim.task_id)}
    far = said.furthest
    if far is not None:
        message = column(far.text, MESSAGE_CHARACTERS)
        kept |= {"progress": far.progress, "total": far.total, "message": message}
    return kept


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
