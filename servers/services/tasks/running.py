"""Runs tasks: claims them in turn, keeps their turns, stops those that are to be stopped. One object a worker process.

What a task does is decided and recorded by ``servers.services.calls``, as of any call.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from django.conf import settings
from redis.exceptions import RedisError

from core.errors import Forbidden, MarinaError, NotFound, Unauthenticated, Unavailable
from servers.execution.contract import InputRequired
from servers.services.calls import call_tool
from servers.services.reading import look_up
from servers.services.runtime import Runtime, get_runtime
from servers.services.tasks.context import TaskContext
from servers.services.tasks.ending import WORKER, TaskRecord, conclude_run, disowned, end_unrun
from servers.services.tasks.hints import hint_soon
from servers.services.tasks.line import LEASE, RENEW_SECONDS, Claim, TurnLost, claim_next, renew
from servers.services.tasks.rows import (
    CANCELLED,
    Run,
    begin_run,
    mark_begun,
    release,
    why_cancelled,
)
from servers.services.tasks.standing import standing_of
from servers.services.tasks.telling import CANCEL

SIGN: Final = "marina:task-worker"
"""The key in Redis that says that a worker for tasks is about; the last of them to say so is its value."""

SIGN_SECONDS: Final = 15
"""How long a sign holds."""

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Running:
    claim: Claim
    task: asyncio.Task[None]
    heard: float
    repeatable: bool = False
    record: TaskRecord | None = None
    given_back: bool = False
    """Whether it is stopped for this process to end, and is to run elsewhere."""

    stopping: bool = False
    """Whether it is being stopped: once, for what it writes of its end is not to be stopped."""
    why: MarinaError | None = None

    def leave(self) -> None:
        """Stop it, and write nothing of it: it is another worker's, or is to be."""
        self._stop(None)

    def stop(self, why: MarinaError) -> None:
        """Stop it for good."""
        self._stop(why)

    def begin(self, record: TaskRecord) -> None:
        """It runs from now on, and can be stopped: what was to be before is, at its next step."""
        self.record = record
        if self.stopping:
            self._cancel()

    def end(self) -> None:
        """Nothing stops it any more."""
        self.stopping = True

    def _stop(self, why: MarinaError | None) -> None:
        if not self.stopping:
            self.stopping, self.why = True, why
            if self.record is not None:
                self._cancel()

    def _cancel(self) -> None:
        if self.record is not None:
            self.record.silent = self.why is None
        self.task.cancel(self.why)


class Runner:
    """The tasks that run in this process, on its one event loop."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self._running: dict[UUID, _Running] = {}
        self._keeping: asyncio.Task[None] | None = None
        self._looking: set[asyncio.Task[None]] = set()
        self._over = False

    async def start(self) -> None:
        """Open what running takes. Starting again does no more."""
        await self.runtime.start()
        if self._keeping is None:
            self._keeping = asyncio.create_task(self._keep_turns(), name="keep-turns")
            self.runtime.bus.listen(CANCEL, self._heard, self._look)

    async def run_next(self) -> bool:
        """Claim a task and run it to its end. Whether there was one."""
        if self._over:
            return False
        claim = await look_up(claim_next, WORKER, most_of_team=settings.ENV.tasks.per_team)
        if claim is None:
            return False
        loop = asyncio.get_running_loop()
        running = _Running(claim, loop.create_task(self._run(claim)), loop.time())
        self._running[claim.task_id] = running
        try:
            await asyncio.wait([running.task])
            if not running.task.cancelled() and (fault := running.task.exception()) is not None:
                # Its turn runs out, and another worker finds out what became of it.
                logger.error("a task's run failed", extra={"task_id": str(claim.task_id)}, exc_info=fault)
        finally:
            del self._running[claim.task_id]
        return True

    async def stop(self, seconds: float) -> None:
        """Take no more tasks, give those that run so long, and then stop them.

        What may run again runs elsewhere; the others end as cancelled.
        """
        self._over = True
        tasks = [running.task for running in self._running.values()]
        if tasks:
            await asyncio.wait(tasks, timeout=seconds)
        for running in list(self._running.values()):
            running.given_back = running.repeatable
            if running.given_back:
                running.leave()
            else:
                running.stop(
                    MarinaError(
                        "The worker that ran the task was stopped before its end.", code="worker_stopped"
                    )
                )
        tasks = [running.task for running in self._running.values()]
        if tasks:
            await asyncio.wait(tasks, timeout=LEASE.total_seconds())
        if self._keeping is not None:
            self._keeping.cancel()

    async def _run(self, claim: Claim) -> None:
        with contextlib.suppress(TurnLost):
            run = await look_up(begin_run, claim)
            if run is None:
                return
            if run.disowned:
                await conclude_run(run, disowned())
                return
            if run.cancelled:
                await end_unrun(run, "cancelled", MarinaError(run.cancel_reason, code="cancelled"))
                return
            record = TaskRecord(self.runtime, run)
            running = self._running[claim.task_id]
            running.repeatable = run.repeatable
            running.begin(record)
            try:
                await self._perform(run, record)
            except (InputRequired, Forbidden, NotFound, Unauthenticated):
                # It is in the log, with what it came to.
                pass
            except Unavailable:
                # The log or the database is away. What the run came to is kept where it could be: the turn runs out.
                logger.warning("a task's end waits for the database", extra={"task_id": str(claim.task_id)})
                return
            except asyncio.CancelledError:
                if running.given_back and record.ended is None:
                    await look_up(release, claim)
                    hint_soon()
                    return
                if record.ended is None and running.why is not None:
                    # It was stopped before it began.
                    running.end()
                    await record.write("cancelled", error=running.why)
            except MarinaError as fault:
                logger.warning("a task ended in a fault", extra={"code": fault.code})
            except Exception:
                logger.exception("a task failed", extra={"task_id": str(claim.task_id)})
            running.end()
            if record.ended is not None:
                await conclude_run(run, record.ended)

    async def _perform(self, run: Run, record: TaskRecord) -> None:
        work = run.work
        if run.intent_seq is None:
            await record.intend()
        intent = record.intent
        if intent is None:
            raise AssertionError("a task's run has an intent")
        try:
            record.caller = caller = await look_up(standing_of, work.caller)
        except Unauthenticated as ended:
            await record.refuse(Forbidden(ended.message, rule="credential:ended", code="credential_ended"))
            raise
        surface = await self.runtime.surfaces.get(work.caller.tenant_id, work.server)
        if surface is None or (caller.anonymous and not surface.public):
            gone = NotFound("The server of this task is not there any more.", code="server_not_found")
            await record.refuse(gone)
            raise gone
        surface = await self.runtime.surfaces.as_begun(surface.seen_by(caller), work.tool, work.version)
        await look_up(mark_begun, run.claim, intent)
        await call_tool(
            caller=caller,
            surface=surface,
            tool_name=work.tool,
            arguments=work.arguments,
            client=work.client,
            request_id=work.request_id,
            timeout=run.seconds,
            context=TaskContext(run, self.runtime.bus),
            record=record,
        )

    async def _keep_turns(self) -> None:
        while True:
            if not self._over:
                with contextlib.suppress(RedisError, OSError):
                    await self.runtime.bus.redis.set(SIGN, WORKER, ex=SIGN_SECONDS)
            await asyncio.sleep(RENEW_SECONDS)
            try:
                await self._renew()
            except Exception:
                # Whatever it was: without a sign, all that runs here would be taken for lost.
                logger.exception("the turns of what runs here were not kept")

    async def _renew(self) -> None:
        """Keep the turns of what runs here, and stop what is to be stopped."""
        running = dict(self._running)
        if not running:
            return
        now = asyncio.get_running_loop().time()
        try:
            held = await look_up(renew, [each.claim for each in running.values()])
        except Unavailable:
            for each in running.values():
                # By now another worker may have it: what would be written here counts no more.
                if now - each.heard > LEASE.total_seconds():
                    each.leave()
            return
        for task_id, each in running.items():
            each.heard = now
            if task_id not in held:
                each.leave()
            elif held[task_id] and not each.stopping:
                each.stop(MarinaError(await self._why(each.claim), code="cancelled"))

    async def _why(self, claim: Claim) -> str:
        try:
            return await look_up(why_cancelled, claim)
        except Unavailable:
            return CANCELLED

    def _heard(self, message: bytes) -> None:
        with contextlib.suppress(ValueError):
            if UUID(message.decode("ascii", "replace")) in self._running:
                self._look()

    def _look(self) -> None:
        task = asyncio.get_running_loop().create_task(self._renew())
        self._looking.add(task)
        task.add_done_callback(self._looking.discard)


class _Process:
    """Where the one runner of a worker process is kept; the lock is for threads that ask for the first time at once."""

    lock = threading.Lock()
    runner: Runner | None = None


def get_runner() -> Runner:
    """The process's runner."""
    runtime = get_runtime()
    with _Process.lock:
        if _Process.runner is None or _Process.runner.runtime is not runtime:
            _Process.runner = Runner(runtime)
        return _Process.runner


def find_runner() -> Runner | None:
    """The process's runner, if there is one."""
    return _Process.runner
