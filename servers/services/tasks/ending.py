"""How tasks end: what their runs came to is kept, recorded, and then told. Also of those that nobody runs any more."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Mapping
from time import perf_counter_ns
from typing import Final
from uuid import UUID

from core.errors import MarinaError, Unavailable
from core.finishing import finish
from servers.execution.contract import Ask, InputRequired, Outcome
from servers.models import Task
from servers.services.reading import look_up
from servers.services.recording import CallRecord
from servers.services.runtime import Runtime, get_runtime
from servers.services.tasks.hints import hint_soon
from servers.services.tasks.line import Claim, TurnLost, take_over
from servers.services.tasks.payload import Ended, error_to_json
from servers.services.tasks.rows import ask_to_cancel, has_outcome
from servers.services.tasks.runs import MAX_RUNS, Run, conclude, keep_ended, look_at, release
from servers.services.tasks.telling import CHANGED, tell, tell_workers
from tenants.audit.records import KIND_CALL, Reason

WORKER: Final = f"{socket.gethostname()}:{os.getpid()}"
"""How this process is named in the line."""

logger = logging.getLogger(__name__)


class TaskRecord(CallRecord):
    """The record of one run of a task. What the run came to is kept in the task's row before it is in the log.

    So whoever takes over from a worker that ended in between finds it. ``ended`` is that, once it is recorded.
    """

    __slots__ = ("_asks", "_claim", "_kept", "_refused", "_said", "ended", "repeatable", "silent")

    def __init__(self, runtime: Runtime, run: Run) -> None:
        work = run.work
        super().__init__(
            runtime,
            KIND_CALL,
            work.tool,
            work.arguments,
            caller=work.caller,
            server=work.server,
            client=work.client,
            request_id=work.request_id,
            trace=work.trace,
        )
        self.version = work.version
        self.task = str(run.claim.task_id)
        self.schedule = work.schedule
        self._said = run.said
        self._claim = run.claim
        self._asks: Mapping[str, Ask] = {}
        self._kept = ""
        self._refused = False
        self.ended: Ended | None = None
        self.repeatable = run.repeatable
        """Whether it may run again after a run of which nobody knows how it ended."""
        self.silent = False
        """Whether the run is stopped for another worker to have it: then it comes to nothing here."""
        if run.intent_seq is not None:
            self.resume(run.intent_seq)

    async def refuse(self, refusal: MarinaError) -> None:
        """See ``CallRecord``."""
        self._refused = True
        await super().refuse(refusal)

    async def end_early(self, end: BaseException) -> None:
        """See ``CallRecord``."""
        if self.silent and isinstance(end, asyncio.CancelledError):
            return
        if isinstance(end, InputRequired):
            self._asks, self._kept = end.asks, end.kept
        await super().end_early(end)

    async def write(
        self,
        outcome: str,
        *,
        error: MarinaError | None = None,
        produced: Outcome | None = None,
        reason: Reason | None = None,
    ) -> None:
        """See ``CallRecord``. Raises ``TurnLost``: then nothing is recorded, for it is another worker's run now.

        Who is stopped meanwhile is stopped when it is written.
        """
        await finish(self._write(outcome, error, produced, reason))

    async def _write(
        self, outcome: str, error: MarinaError | None, produced: Outcome | None, reason: Reason | None
    ) -> None:
        ended = Ended(
            outcome=outcome,
            status=_status_of(outcome, error, refused=self._refused),
            structured=None if produced is None else produced.structured,
            text="" if produced is None else produced.text,
            content=None if produced is None else produced.content,
            meta=None if produced is None else produced.meta,
            rows=None if produced is None else produced.rows,
            size=0 if produced is None else produced.size,
            truncated=produced is not None and produced.truncated,
            failed=produced is not None and produced.failed,
            duration_us=(perf_counter_ns() - self.started) // 1_000,
            error=None if error is None else error_to_json(error),
            asks=self._asks,
            kept=self._kept,
        )
        await look_up(keep_ended, self._claim, ended, self._said.snapshot())
        await super().write(outcome, error=error, produced=produced, reason=reason)
        self.ended = ended


def _status_of(outcome: str, error: MarinaError | None, *, refused: bool) -> str:
    """MCP's word for it: ``failed`` is what would have been a JSON-RPC error (SEP-2663, "Task Status")."""
    if outcome == "input_required":
        return Task.Status.INPUT_REQUIRED
    if outcome == "cancelled":
        return Task.Status.CANCELLED
    if refused or isinstance(error, Unavailable) or (error and error.code in PROTOCOL_FAULTS):
        return Task.Status.FAILED
    return Task.Status.COMPLETED


PROTOCOL_FAULTS: Final = frozenset(
    {"internal", "outcome_unknown", "task_parked", "task_expired", "task_failed", "credential_ended"}
)


async def cancel(tenant_id: int, task_id: UUID, *, why: str = "The task was cancelled.") -> bool:
    """Have a task stopped. One that waits ends here; one that runs is stopped by its worker. False: it had ended.

    Raises ``Unavailable`` when the database or the log is away.
    """
    runtime = get_runtime()
    found = await look_up(ask_to_cancel, tenant_id, task_id, WORKER, why)
    if isinstance(found, bool):
        if found:
            await tell_workers(runtime.bus, task_id)
        return found
    try:
        run = await look_up(look_at, found)
        if run is not None:
            await end_unrun(run, "cancelled", MarinaError(why, code="cancelled"))
    except TurnLost:
        # Somebody else ends it, or had begun to run it.
        await tell_workers(runtime.bus, task_id)
    return True


async def end_overdue(tenant_id: int, task_id: UUID) -> None:
    """End a task whose client was asked and did not answer in time. Raises ``Unavailable``."""
    await get_runtime().start()
    found = await look_up(ask_to_cancel, tenant_id, task_id, WORKER, asking=True)
    run = None if isinstance(found, bool) else await look_up(look_at, found)
    if run is not None:
        await end_unrun(run, "error", _expired())


async def settle(claim: Claim) -> None:
    """Find out what became of a task whose worker gave no sign any more, and let it go on or end.

    What its run came to counts where it was kept. One that may have done something, and would do it again, is not run
    again: nobody knows how it ended.
    """
    ours = await look_up(take_over, claim, WORKER)
    run = None if ours is None else await look_up(look_at, ours)
    if run is None:
        return
    if run.ended is not None:
        await _finish(run, run.ended)
    elif run.cancelled:
        await end_unrun(run, "cancelled", MarinaError(run.cancel_reason, code="cancelled"))
    elif run.runs >= MAX_RUNS:
        logger.error(
            "a task was given up: its workers ended each time",
            extra={"tenant_id": run.claim.tenant_id, "task_id": str(run.claim.task_id), "runs": run.runs},
        )
        await end_unrun(run, "error", _parked(run.runs))
    elif run.begun and not run.repeatable:
        await end_unrun(run, "error", _unknown())
    else:
        await look_up(release, run.claim)
        hint_soon()


async def end_unrun(run: Run, outcome: str, error: MarinaError) -> None:
    """Record that a task ends that nobody runs, and let it end. Raises ``Unavailable`` and ``TurnLost``."""
    record = TaskRecord(get_runtime(), run)
    await record.write(outcome, error=error)
    if record.ended is None:
        raise AssertionError("a record that was written says how the run ended")
    await _conclude(run, record.ended)


async def _finish(run: Run, ended: Ended) -> None:
    """Let what was kept of a run be its end; the log may have it or not."""
    if run.intent_seq is None or not await look_up(has_outcome, run.claim.tenant_id, run.intent_seq):
        record = TaskRecord(get_runtime(), run)
        reason = Reason(code="input_required") if ended.asks else None
        await CallRecord.write(
            record, ended.outcome, error=ended.raised(), produced=ended.produced, reason=reason
        )
    await _conclude(run, ended)


async def _conclude(run: Run, ended: Ended) -> None:
    await look_up(conclude, run, ended)
    await tell(get_runtime().bus, run.claim.task_id, CHANGED)


async def conclude_run(run: Run, ended: Ended) -> None:
    """Let a run that is in the log be the task's state, and tell those who wait; whoever took over does the same."""
    try:
        await _conclude(run, ended)
    except TurnLost:
        logger.warning("a task was taken over as it ended", extra={"task_id": str(run.claim.task_id)})


def disowned() -> Ended:
    """The end of a task whose caller was told that their call failed, and whose row was made all the same."""
    error = MarinaError("The call was answered with a failure before the task began.", code="internal")
    return Ended("error", Task.Status.FAILED, error=error_to_json(error))


def _parked(runs: int) -> MarinaError:
    return MarinaError(
        f"The task was begun {runs} times, and its worker ended each time. It is not tried again: look at what it "
        "does, and tell whoever runs Marina.",
        code="task_parked",
        data={"runs": runs},
    )


def _unknown() -> MarinaError:
    return MarinaError(
        "The worker that ran this task ended before it could say how it went. It may have taken effect, so it was not "
        "run again: check, and begin it anew where it did not.",
        code="outcome_unknown",
    )


def _expired() -> MarinaError:
    """What becomes of a task whose client was asked and did not answer in time."""
    return MarinaError(
        "The client did not answer what it was asked while there was time, so the task ended.",
        code="task_expired",
    )
