"""Takes a call as a task, and waits for one on behalf of a client that speaks none. Runs nothing."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID, uuid4

from core.bus import Bus
from core.errors import Conflict, MarinaError, NotFound, SourceError, Unavailable
from core.shutdown import draining
from servers.execution.context import Around, cannot_call
from servers.execution.contract import Ask, Context, GoesOn, Offered, Outcome
from servers.models import Task
from servers.services.principals import identity_of
from servers.services.reading import look_up
from servers.services.recording import CallRecord
from servers.services.tasks.ending import cancel
from servers.services.tasks.hints import hint_soon
from servers.services.tasks.payload import Answers, Work
from servers.services.tasks.plans import Long
from servers.services.tasks.rows import answer, create_task, find_by_key, find_task
from servers.services.tasks.telling import CHANGED, LOG, PROGRESS, channel_of, read

LOOK_SECONDS: Final = 2.0
"""How often a task is looked at that nothing is heard of."""

SAME_TASK: Final = "task"
"""Where a call had its result from that was made again with its idempotency key."""

MAX_SAID: Final = 1_000
"""What is said of a task and was not told on yet; the oldest goes."""

KEPT: Final = "marina-task:"
"""How a client of 2026-07-28 names the task that it waits for, in what is sealed for it when it is asked something."""


@dataclass(frozen=True, slots=True)
class HandOver:
    """What a request brings for a call that may go on without it.

    ``capabilities`` are what its client declared, ``answers`` what it answered already. ``takes_task``: it is given the
    task itself, and asks for its result. ``principal``: whose the task is to be; by default the caller's.
    """

    capabilities: Mapping[str, Any] = field(default_factory=dict)
    answers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    takes_task: bool = False
    principal: str = ""
    idempotency_key: str | None = None
    priority: int | None = None
    """How urgent it is; ``None``: as the tool's calls are."""
    scheduled_run: UUID | None = None
    """The run of a schedule that the call is."""
    patience: float = math.inf
    """Seconds that who cannot take the task waits for its end."""


class TaskCreated(Exception):
    """Ends a request whose call goes on as a task."""

    def __init__(self, task: Task) -> None:
        super().__init__(str(task.id))
        self.task = task


class Beginning(Around):
    """The context of a run that ends where its operation says that what comes now takes long."""

    __slots__ = ()

    async def go_on(self, *, keep: str = "", repeatable: bool = False) -> None:
        """See ``Context``."""
        raise GoesOn(keep, repeatable=repeatable)

    async def call(self, tool: str, arguments: Mapping[str, Any], *, key: str) -> Outcome:
        """See ``Context``."""
        raise cannot_call()

    def tool(self, name: str) -> Offered | None:
        """See ``Context``."""
        return None


async def accept(
    record: CallRecord,
    long: Long,
    arguments: Mapping[str, Any],
    *,
    hand: HandOver,
    kept: str,
    context: Context,
) -> Task:
    """Take a call that was decided and fits. Its record's intent is the task's from now on.

    Raises ``Unavailable`` where that cannot be written, or the team has too many tasks.
    """
    caller = record.caller
    principal = hand.principal or identity_of(caller)
    if hand.idempotency_key is not None:
        known = await look_up(
            find_by_key,
            caller.tenant_id,
            principal,
            hand.idempotency_key,
            record.server,
            record.subject,
            arguments,
        )
        if known is not None:
            return await _same(record, known)
    task_id = uuid4()
    record.task = str(task_id)
    await record.intend()
    intent = record.intent
    if intent is None:
        raise AssertionError("an intent that was written has a number")
    work = Work(
        caller=caller,
        server=record.server,
        tool=record.subject,
        version=record.version or 0,
        arguments=arguments,
        client=record.client,
        request_id=record.request_id,
        trace=context.trace,
        capabilities=hand.capabilities,
        log_level=context.log_level,
        schedule=record.schedule,
    )
    try:
        task = await look_up(
            create_task,
            work,
            task_id=task_id,
            principal=principal,
            long=long,
            intent_seq=intent,
            answers=Answers(given=hand.answers, kept=kept),
            idempotency_key=hand.idempotency_key,
            priority=long.priority if hand.priority is None else hand.priority,
            scheduled_run=hand.scheduled_run,
        )
    except Conflict:
        # The same call came twice at once.
        key = hand.idempotency_key or ""
        known = await look_up(
            find_by_key, caller.tenant_id, principal, key, record.server, record.subject, arguments
        )
        if known is None:
            raise
        return await _same(record, known)
    hint_soon()
    return task


async def _same(record: CallRecord, task: Task) -> Task:
    """The task of a call that is made again, by somebody who did not hear the answer: it is the same call."""
    record.task, record.served_from = str(task.id), SAME_TASK
    await record.write("ok")
    return task


async def wait_for_end(
    bus: Bus, tenant_id: int, task_id: UUID, context: Context, *, patience: float = math.inf
) -> Task:
    """Wait for a task, as its client's request: what is said goes on to it, and what is asked is put to it.

    A client that goes away cancels the task. Raises ``InputRequired`` where it is to come back with the answer,
    ``NotFound`` when the task is gone, and ``Conflict`` when it goes on after ``patience`` seconds.
    """
    woken = asyncio.Event()
    said: deque[tuple[str, Mapping[str, Any]]] = deque(maxlen=MAX_SAID)

    def heard(message: bytes) -> None:
        said.append(read(message))
        woken.set()

    listener = await bus.subscribe(channel_of(task_id), heard, woken.set)
    try:
        ends = asyncio.get_running_loop().time() + patience
        return await _until_ended(bus, tenant_id, task_id, context, said, woken, ends)
    except SourceError as fault:
        # The client cannot be asked, or does not answer: nobody else could.
        with contextlib.suppress(MarinaError):
            await cancel(tenant_id, task_id, why=fault.message)
        raise
    except asyncio.CancelledError:
        # Whoever waits alone for a result that nobody else can fetch has it stopped with them.
        if not draining():
            with contextlib.suppress(MarinaError):
                await asyncio.shield(
                    cancel(tenant_id, task_id, why="The client went away before the call ended.")
                )
        raise
    finally:
        bus.leave(listener)


async def _until_ended(
    bus: Bus,
    tenant_id: int,
    task_id: UUID,
    context: Context,
    said: deque[tuple[str, Mapping[str, Any]]],
    woken: asyncio.Event,
    ends: float,
) -> Task:
    while True:
        task: Task | None = None
        with contextlib.suppress(Unavailable):
            task = await look_up(find_task, tenant_id, task_id)
            if task is None:
                raise NotFound("This task is gone: its time was up.", code="task_unknown")
        if task is not None and task.ended:
            await _tell_on(said, context)
            return task
        if task is not None and task.status == Task.Status.INPUT_REQUIRED and task.asks:
            asks = {key: Ask(each["method"], each["params"]) for key, each in task.asks.items()}
            answers = await context.ask(asks, keep=f"{KEPT}{task_id}")
            if await look_up(answer, tenant_id, task_id, answers):
                hint_soon()
            continue
        if asyncio.get_running_loop().time() >= ends:
            raise Conflict(
                f"The call takes longer, and goes on as the task {task_id}. Its result is there when it has ended.",
                code="task_goes_on",
                data={"task_id": str(task_id)},
            )
        changed = False
        while not changed:
            try:
                async with asyncio.timeout(LOOK_SECONDS):
                    await woken.wait()
            except TimeoutError:
                break
            woken.clear()
            # A gap in what is heard wakes, too, and brings nothing.
            changed = not said or await _tell_on(said, context)


async def _tell_on(said: deque[tuple[str, Mapping[str, Any]]], context: Context) -> bool:
    """Pass on what was said. Whether the task's row has changed."""
    changed = False
    while said:
        what, details = said.popleft()
        if what == PROGRESS:
            await context.progress(details["progress"], details["total"], details["message"])
        elif what == LOG:
            await context.log(details["level"], details["data"], details["logger"])
        changed = changed or what == CHANGED
    return changed


def waited_for(kept: str) -> UUID | None:
    """The task that a client comes back to, which it was sealed for when it was asked something."""
    return UUID(kept.removeprefix(KEPT)) if kept.startswith(KEPT) else None
