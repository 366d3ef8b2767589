"""Runs tasks: claims them in turn, keeps their turns, stops those that are to be stopped. One object a process.

What a task does is decided and recorded by ``servers.services.calls``, as of any call.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, Final
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
from servers.services.tasks.hints import LOOK_SECONDS, hint_soon, next_hint
from servers.services.tasks.line import LEASE, RENEW_SECONDS, Claim, TurnLost, claim_next, renew
from servers.services.tasks.runs import (
    CANCELLED,
    Run,
    begin_run,
    mark_begun,
    release,
    why_cancelled,
)
from servers.services.tasks.standing import StandingCache
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
    """The tasks that run in this process, on its one event loop.

    ``slots``: how many run at once. They wait for the most part, so that it may be more than there are processors.
    """

    def __init__(self, runtime: Runtime, slots: int) -> None:
        self.runtime = runtime
        self.slots = slots
        self._running: dict[UUID, _Running] = {}
        """By the token of each one's claim."""
        self._standings = StandingCache()
        self._room = asyncio.Event()
        self._room.set()
        self._claiming = asyncio.Lock()
        self._asked = False
        self._hinted = False
        self._keeping: asyncio.Task[None] | None = None
        self._serving: asyncio.Task[None] | None = None
        self._soon: set[asyncio.Task[None]] = set()
        self._over = False

    async def start(self) -> None:
        """Open what running takes. Starting again does no more."""
        await self.runtime.start()
        if self._keeping is None:
            self._keeping = asyncio.create_task(self._keep_turns(), name="keep-turns")
            self.runtime.bus.listen(CANCEL, self._heard, self._renew_soon)
            self.runtime.changed.append(self._standings.drop)

    async def serve(self) -> None:
        """Run what waits, from now on until ``stop``: as it is hinted at, as others end, and now and then.

        Returns at once.
        """
        if self._serving is None:
            self._serving = asyncio.create_task(self._serve(), name="serve-tasks")

    async def look(self, *, hinted: bool = False) -> None:
        """Begin to run what waits, as far as there is room. ``hinted``: something does, by all that is known.

        While another one looks, that one looks once more instead.
        """
        self._asked, self._hinted = True, self._hinted or hinted
        if self._claiming.locked():
            return
        async with self._claiming:
            while self._asked and self._may_take:
                hinted, self._asked, self._hinted = self._hinted, False, False
                claim = await look_up(
                    claim_next, WORKER, most_of_team=settings.ENV.tasks.per_team, hinted=hinted
                )
                if claim is not None:
                    self._asked = True
                    loop = asyncio.get_running_loop()
                    run = loop.create_task(self._run_to_end(claim))
                    self._running[claim.token] = _Running(claim, run, loop.time())
            if len(self._running) >= self.slots:
                self._room.clear()
                if self._hinted:
                    # One that has room is to hear of it.
                    self._hinted = False
                    hint_soon()

    @property
    def _may_take(self) -> bool:
        # What the log has no room for would end before its tool began, one after the other.
        return not self._over and len(self._running) < self.slots and self.runtime.writer.accepting

    async def stop(self, seconds: float) -> None:
        """Take no more tasks, give those that run so long, and then stop them.

        What may run again runs elsewhere; the others end as cancelled.
        """
        self._over = True
        async with self._claiming:
            # What is being claimed is among those that run, from here on.
            pass
        if self._serving is not None:
            self._serving.cancel()
        tasks = [running.task for running in self._running.values()]
        if tasks:
            await asyncio.wait(tasks, timeout=seconds)
        for running in list(self._running.values()):
            running.given_back = running.record is not None and running.record.repeatable
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

    async def _serve(self) -> None:
        hinted = False
        while True:
            try:
                await self.start()
                await self.look(hinted=hinted)
                await self._room.wait()
                hinted = await next_hint(self.runtime.bus)
                continue
            except Unavailable:
                logger.warning("tasks wait: the database or the log is away")
            except Exception:
                # Whatever it was: nothing would run here any more.
                logger.exception("what waits was not looked at")
            hinted = False
            await asyncio.sleep(LOOK_SECONDS)

    async def _run_to_end(self, claim: Claim) -> None:
        try:
            await self._run(claim)
        except Exception:
            # Its turn runs out, and another worker finds out what became of it.
            logger.exception("a task's run failed", extra={"task_id": str(claim.task_id)})
        finally:
            del self._running[claim.token]
            self._room.set()
            # What waited for a place, or for its team to have fewer running, is hinted at no more.
            self._do_soon(self._look_on())

    async def _look_on(self) -> None:
        with contextlib.suppress(Unavailable):
            await self.look()

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
            running = self._running[claim.token]
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
            record.caller = caller = await self._standings.get(work.caller)
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
            context=TaskContext(run, record, self.runtime.bus),
            record=record,
        )

    async def _keep_turns(self) -> None:
        while True:
            if not self._over:
                # A Redis that hangs is not to cost what runs here its turns.
                with contextlib.suppress(RedisError, OSError):
                    async with asyncio.timeout(1.0):
                        await self.runtime.bus.redis.set(SIGN, WORKER, ex=SIGN_SECONDS)
            await asyncio.sleep(RENEW_SECONDS)
            try:
                await self._renew()
            except Exception:
                # Whatever it was: without a sign, all that runs here would be taken for lost.
                logger.exception("the turns of what runs here were not kept")

    async def _renew(self) -> None:
        """Keep the turns of what runs here, and stop what is to be stopped."""
        running = list(self._running.values())
        if not running:
            return
        now = asyncio.get_running_loop().time()
        try:
            held = await look_up(renew, [each.claim for each in running])
        except Unavailable:
            for each in running:
                # By now another worker may have it: what would be written here counts no more.
                if now - each.heard > LEASE.total_seconds():
                    each.leave()
            return
        for each in running:
            each.heard = now
            cancelled = held.get(each.claim.token)
            if cancelled is None:
                each.leave()
            elif cancelled and not each.stopping:
                each.stop(MarinaError(await self._why(each.claim), code="cancelled"))

    async def _why(self, claim: Claim) -> str:
        try:
            return await look_up(why_cancelled, claim)
        except Unavailable:
            return CANCELLED

    def _heard(self, message: bytes) -> None:
        with contextlib.suppress(ValueError):
            task_id = UUID(message.decode("ascii", "replace"))
            if any(each.claim.task_id == task_id for each in self._running.values()):
                self._renew_soon()

    def _renew_soon(self) -> None:
        self._do_soon(self._renew())

    def _do_soon(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._soon.add(task)
        task.add_done_callback(self._soon.discard)


class _Process:
    """Where the one runner of a worker process is kept; the lock is for threads that ask for the first time at once."""

    lock = threading.Lock()
    runner: Runner | None = None


def get_runner() -> Runner:
    """The process's runner."""
    runtime = get_runtime()
    with _Process.lock:
        if _Process.runner is None or _Process.runner.runtime is not runtime:
            _Process.runner = Runner(runtime, settings.ENV.tasks.slots)
        return _Process.runner


def find_runner() -> Runner | None:
    """The process's runner, if there is one."""
    return _Process.runner
