"""The way back from an operation that runs as a task: what it says is told to whoever waits, and kept in the row."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Awaitable, Callable, Mapping
from time import monotonic
from typing import Any, Final, get_args

from redis.exceptions import RedisError

from core.bus import Bus
from core.errors import Unavailable
from servers.execution.context import CAPABILITY, cannot_ask, cannot_call, covers, fits
from servers.execution.contract import (
    Ask,
    AskMethod,
    Context,
    InputRequired,
    LogLevel,
    Offered,
    Outcome,
    Principal,
    Trace,
)
from servers.services.principals import principal_as
from servers.services.reading import look_up
from servers.services.tasks.rows import Run, note_progress
from servers.services.tasks.telling import LOG, PROGRESS, tell
from servers.services.updates import announce_update

LEVELS: Final[tuple[LogLevel, ...]] = get_args(LogLevel)

KEPT_EVERY: Final = 1.0
"""Seconds between two times that progress is written down."""


class TaskContext(Context):
    """Implements ``servers.execution.contract.Context`` for one run of a task."""

    __slots__ = ("_bus", "_kept_at", "_run", "_told")

    def __init__(self, run: Run, bus: Bus) -> None:
        self._run = run
        self._bus = bus
        self._told = -math.inf
        self._kept_at = -math.inf

    @property
    def principal(self) -> Principal:
        """See ``Context``."""
        work = self._run.work
        return principal_as(work.caller, work.server, work.request_id)

    @property
    def trace(self) -> Trace | None:
        """See ``Context``."""
        return self._run.work.trace

    @property
    def wants_progress(self) -> bool:
        """See ``Context``. It is on the team's pages, whatever the client asked for."""
        return True

    @property
    def log_level(self) -> LogLevel | None:
        """See ``Context``."""
        return self._run.work.log_level

    @property
    def kept(self) -> str:
        """See ``Context``."""
        return self._run.answers.kept

    async def progress(self, progress: float, total: float | None = None, message: str = "") -> None:
        """See ``Context``."""
        if not progress > self._told:
            return
        self._told = progress
        await tell(
            self._bus,
            self._run.claim.task_id,
            PROGRESS,
            {"progress": progress, "total": total, "message": message},
        )
        if monotonic() - self._kept_at >= KEPT_EVERY:
            self._kept_at = monotonic()
            # The work is not to end for want of a note about it.
            with contextlib.suppress(Unavailable):
                await look_up(note_progress, self._run.claim, progress, total, message)

    async def log(self, level: LogLevel, data: Any, logger: str = "") -> None:
        """See ``Context``."""
        least = self.log_level
        if least is None or LEVELS.index(level) < LEVELS.index(least):
            return
        await tell(self._bus, self._run.claim.task_id, LOG, {"level": level, "data": data, "logger": logger})

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

    def precede(self, first: Callable[[], Awaitable[None]]) -> None:
        """See ``Context``. Every task is in the log before it runs."""
        return

    def keep(self, deadline: asyncio.Timeout) -> None:
        """See ``Context``. Nothing of a run waits for a client."""
        return

    async def call(self, tool: str, arguments: Mapping[str, Any], *, key: str) -> Outcome:
        """See ``Context``. A run that may call others has a context around this one."""
        raise cannot_call()

    def tool(self, name: str) -> Offered | None:
        """See ``Context``, and ``call``."""
        return None

    async def go_on(self, *, keep: str = "") -> None:
        """See ``Context``. Here is time."""
        return

    async def resource_updated(self, uri: str) -> None:
        """See ``Context``."""
        with contextlib.suppress(RedisError, OSError):
            await announce_update(self._bus.redis, self._run.claim.tenant_id, uri)

    async def release_stream(self) -> None:
        """See ``Context``. There is none."""
        return

    def _declared(self, method: AskMethod) -> Mapping[str, Any] | None:
        found = self._run.work.capabilities.get(CAPABILITY[method])
        return found if isinstance(found, Mapping) else None
