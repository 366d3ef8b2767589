"""The way back from an operation that runs as a task: what it says is told to whoever waits, and kept in the row."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from dataclasses import replace
from time import monotonic
from typing import Any, Final

from redis.exceptions import RedisError

from core.bus import Bus
from core.errors import Unavailable
from servers.execution.context import CAPABILITY, LEVELS, Detached, cannot_ask, covers, fits
from servers.execution.contract import Ask, AskMethod, InputRequired, LogLevel
from servers.services.principals import principal_as
from servers.services.reading import look_up
from servers.services.redaction import mask_secrets
from servers.services.tasks.ending import TaskRecord
from servers.services.tasks.runs import Run, keep_on, note_said
from servers.services.tasks.telling import LOG, PROGRESS, tell
from servers.services.updates import announce_update

KEPT_EVERY: Final = 1.0
"""Seconds between two times that what was said is written down."""

PAGES_LEVEL: Final[LogLevel] = "info"
"""The least severity of messages that tools are asked for, whatever their client wants, for the team's pages."""


class TaskContext(Detached):
    """Implements ``servers.execution.contract.Context`` for one run of a task.

    A task is in the log before it runs, has time, and nothing of it waits for a client: what would say so does nothing.
    """

    wants_progress = True
    """It is on the team's pages, whatever the client asked for."""

    def __init__(self, run: Run, record: TaskRecord, bus: Bus) -> None:
        work = run.work
        super().__init__(principal_as(work.caller, work.server, work.request_id))
        self.trace = work.trace
        self.log_level = PAGES_LEVEL if work.log_level is None else _lesser(work.log_level, PAGES_LEVEL)
        self.kept = run.answers.kept
        self._run = run
        self._record = record
        self._said = run.said
        self._bus = bus
        self._told = -math.inf
        self._kept_at = -math.inf

    async def progress(self, progress: float, total: float | None = None, message: str = "") -> None:
        """See ``Context``."""
        if not progress > self._told:
            return
        self._told = progress
        self._said.progressed(progress, total, message)
        await tell(
            self._bus,
            self._run.claim.task_id,
            PROGRESS,
            {"progress": progress, "total": total, "message": message},
        )
        await self._note()

    async def log(self, level: LogLevel, data: Any, logger: str = "") -> None:
        """See ``Context``. What the client did not ask for is on the team's pages all the same."""
        self._said.logged(level, mask_secrets(data), logger)
        least = self._run.work.log_level
        if least is not None and LEVELS.index(level) >= LEVELS.index(least):
            details = {"level": level, "data": data, "logger": logger}
            await tell(self._bus, self._run.claim.task_id, LOG, details)
        await self._note()

    @property
    def handed_on(self) -> bool:
        """See ``Context``."""
        return self._record.silent

    async def go_on(self, *, keep: str = "", repeatable: bool = False) -> None:
        """See ``Context``. There is time here; another worker can go on if this one is lost."""
        if repeatable:
            await look_up(keep_on, self._run.claim, replace(self._run.answers, kept=keep))
            self._record.repeatable = True

    def can(self, method: AskMethod, part: str = "") -> bool:
        """See ``Context``."""
        declared = self._declared(method)
        return declared is not None and (not part or isinstance(declared.get(part), Mapping))

    async def ask(self, asks: Mapping[str, Ask], *, keep: str = "") -> Mapping[str, Mapping[str, Any]]:
        """See ``Context``. No worker waits for a person: the run ends, and begins anew with the answers."""
        found: dict[str, Mapping[str, Any]] = {}
        for key, ask in asks.items():
            declared = self._declared(ask.method)
            if declared is None or not covers(declared, ask):
                raise cannot_ask(ask)
            answer = self._run.answers.given.get(key)
            if answer is not None and fits(ask, answer):
                found[key] = answer
        missing = {key: ask for key, ask in asks.items() if key not in found}
        if missing:
            raise InputRequired(missing, keep)
        return found

    async def resource_updated(self, uri: str) -> None:
        """See ``Context``."""
        with contextlib.suppress(RedisError, OSError):
            await announce_update(self._bus.redis, self._run.claim.tenant_id, uri)

    async def _note(self) -> None:
        """Write down what was said, now and then. What comes after is written with the run's end."""
        if monotonic() - self._kept_at >= KEPT_EVERY:
            self._kept_at = monotonic()
            # The work is not to end for want of a note about it.
            with contextlib.suppress(Unavailable):
                await look_up(note_said, self._run.claim, self._said.snapshot())

    def _declared(self, method: AskMethod) -> Mapping[str, Any] | None:
        found = self._run.work.capabilities.get(CAPABILITY[method])
        return found if isinstance(found, Mapping) else None


def _lesser(one: LogLevel, other: LogLevel) -> LogLevel:
    return min(one, other, key=LEVELS.index)
