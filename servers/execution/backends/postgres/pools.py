"""Pools of connections: one for each source and version, bounded, opened lazily, closed when idle.

A small pool of our own rather than psycopg_pool: the caller who needs a connection opens it and so gets
the true reason when that fails, at once; nothing retries in the background against a source that is down.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import Any, Final, TypeVar
from uuid import UUID

import psycopg
from psycopg import pq

from core.errors import SourceError
from core.finishing import stop
from core.outbound import AllowAddress
from servers.execution.backends.postgres.connect import list_callable_names, open_connection
from servers.execution.backends.postgres.parsing import Statement
from servers.execution.backends.postgres.settings import PostgresSettings, read_settings
from servers.execution.contract import NoteSlow, SlowStatement, Source
from servers.execution.sql.database import Names
from servers.execution.sql.reading import Reading

IDLE_SECONDS: Final = 60.0
FAILURE_SECONDS: Final = 1.0
"""How long a failed connect answers those who queue behind it, so that they do not each wait in turn."""
CANCEL_SECONDS: Final = 2.0
_STATEMENTS_KEPT: Final = 256
_LONGEST_KEPT: Final = 8_192

Connection = psycopg.AsyncConnection[Any]
T = TypeVar("T")


@dataclass(slots=True)
class _Idle:
    connection: Connection
    since: float


@dataclass(frozen=True, slots=True)
class Lease:
    """A connection in use. ``reused`` says that it was idle before, so that the server may have closed it."""

    connection: Connection
    reused: bool


class Pool:
    """The connections of one version of one source, with what was learnt about its server."""

    def __init__(
        self,
        settings: PostgresSettings,
        *,
        team: int,
        allow: AllowAddress,
        background: Background,
        reading: Reading,
    ) -> None:
        self.settings = settings
        self.callable_names: frozenset[str] = frozenset()
        self.type_names: dict[int, str] = {}
        self.statements: OrderedDict[Any, Statement] = OrderedDict()
        self.retired = False
        self.note_slow: Callable[[SlowStatement], None] = _drop
        self._allow = allow
        self._background = background
        self._reading = reading
        self._team = team
        self.wanted = 0.0
        """When it was asked for last (``time.monotonic()``)."""
        self._free = asyncio.Semaphore(settings.pool_max)
        self._idle: list[_Idle] = []
        self._in_use = 0
        self._failure: tuple[float, SourceError] | None = None

    @property
    def empty(self) -> bool:
        return not self._idle and self._in_use == 0

    async def read(self, sql: str, work: Callable[[], T], *, together: int = 0) -> T:
        """What ``work`` makes of the text. See ``Reading``."""
        return await self._reading.read(sql, work, team=self._team, together=together)

    async def keep_statement(self, sql: str, names: Names, read: Callable[[], Statement]) -> Statement:
        """The statement of a text and its parameters, read once and kept while it is among those used last."""
        key = sql, names
        known = self.statements.get(key)
        if known is None:
            known = await self.read(sql, read)
            if len(known.sql) > _LONGEST_KEPT:
                return known
            self.statements[key] = known
            if len(self.statements) > _STATEMENTS_KEPT:
                self.statements.popitem(last=False)
        else:
            self.statements.move_to_end(key)
        return known

    @asynccontextmanager
    async def lease(self, *, timeout: float, fresh: bool = False) -> AsyncIterator[Lease]:
        """Take a connection for one use. ``timeout`` in seconds; ``fresh``: not one that was idle.

        When the block is left in the middle of an exchange (by cancellation above all), what the server
        still does for it is cancelled there, and the connection is closed.
        """
        try:
            async with asyncio.timeout(timeout):
                await self._free.acquire()
        except TimeoutError:
            raise SourceError(
                f"All {self.settings.pool_max} connections to the data source were busy for {timeout:g} s. "
                "Try again, or ask an admin to raise pool_max.",
                code="source_timeout",
                retryable=True,
            ) from None
        self._in_use += 1
        held: Lease | None = None
        try:
            held = await self._take(timeout, fresh=fresh)
            yield held
        finally:
            self._give_back(held)

    async def _take(self, timeout: float, *, fresh: bool) -> Lease:
        while self._idle:
            idle = self._idle.pop()
            if not fresh and idle.connection.pgconn.status == pq.ConnStatus.OK:
                return Lease(idle.connection, reused=True)
            await idle.connection.close()
        if self._failure is not None and monotonic() < self._failure[0]:
            known = self._failure[1]
            raise SourceError(
                known.message, code=known.code, data=dict(known.data), retryable=known.retryable
            )
        try:
            connection = await open_connection(self.settings, allow=self._allow, timeout=timeout)
        except SourceError as fault:
            self._failure = (monotonic() + FAILURE_SECONDS, fault)
            raise
        self._failure = None
        try:
            self.callable_names = await list_callable_names(connection)
        except BaseException:
            await connection.close()
            raise
        return Lease(connection, reused=False)

    def _give_back(self, held: Lease | None) -> None:
        if held is None:
            self._release()
            return
        pgconn = held.connection.pgconn
        clean = (
            pgconn.status == pq.ConnStatus.OK
            and pgconn.transaction_status == pq.TransactionStatus.IDLE
            and pgconn.pipeline_status == pq.PipelineStatus.OFF
        )
        if clean and not self.retired:
            self._idle.append(_Idle(held.connection, monotonic()))
            self._release()
        else:
            # The place in the pool stays taken until the server has been told to stop.
            self._background(self._discard(held.connection))

    async def _discard(self, connection: Connection) -> None:
        try:
            if connection.pgconn.pipeline_status != pq.PipelineStatus.OFF:
                await connection.cancel_safe(timeout=CANCEL_SECONDS)
        except psycopg.Error:
            # A server that cannot be told loses the connection, and its own statement_timeout ends the work.
            pass
        finally:
            try:
                await connection.close()
            finally:
                self._release()

    def _release(self) -> None:
        self._in_use -= 1
        self._free.release()

    async def close_idle(self, *, before: float) -> None:
        """Close connections that have been idle since ``before`` (a ``time.monotonic()`` value)."""
        stale = [idle for idle in self._idle if idle.since <= before]
        self._idle = [idle for idle in self._idle if idle.since > before]
        for idle in stale:
            await idle.connection.close()

    async def retire(self) -> None:
        """Close what is idle now, and what is in use when it comes back."""
        self.retired = True
        await self.close_idle(before=monotonic())


def _drop(slow: SlowStatement) -> None:
    """Nobody wants to know."""


Background = Callable[[Coroutine[Any, Any, None]], None]
"""Runs a coroutine beside the caller, who does not wait for it."""


class Pools:
    """All pools of one process and event loop, by source and version."""

    def __init__(
        self,
        *,
        allow: AllowAddress,
        idle_seconds: float = IDLE_SECONDS,
        note_slow: NoteSlow | None = None,
    ) -> None:
        self._allow = allow
        self._note_slow = note_slow
        self._idle_seconds = idle_seconds
        self._reading = Reading()
        self._pools: dict[tuple[UUID, int], Pool] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._sweeper: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._pools)

    def get(self, source: Source) -> Pool:
        """The pool of this version of the source; pools of its earlier versions are retired."""
        key = (source.id, source.version)
        pool = self._pools.get(key)
        if pool is None:
            settings = read_settings(source.settings)
            pool = Pool(
                settings,
                team=source.tenant_id,
                allow=self._allow,
                background=self._run,
                reading=self._reading,
            )
            if self._note_slow is not None:
                pool.note_slow = partial(self._note_slow, source)
            for id_, version in list(self._pools):
                if id_ == source.id and version < source.version:
                    self._run(self._pools.pop((id_, version)).retire())
            self._pools[key] = pool
            if self._sweeper is None or self._sweeper.done():
                self._sweeper = asyncio.get_running_loop().create_task(self._sweep())
        pool.wanted = monotonic()
        return pool

    async def close_idle(self, *, now: float | None = None) -> None:
        """Close connections idle for ``idle_seconds`` at ``now`` (``time.monotonic()``), and empty pools."""
        now = monotonic() if now is None else now
        before = now - self._idle_seconds
        for key, pool in list(self._pools.items()):
            await pool.close_idle(before=before)
            # Whoever asked for it may still be reading their statement.
            if pool.empty and pool.wanted <= before:
                self._pools.pop(key, None)

    async def close(self) -> None:
        """Close everything and wait for it. Leases still out are closed when they come back."""
        await stop(self._sweeper)
        self._sweeper = None
        pools = list(self._pools.values())
        self._pools.clear()
        for pool in pools:
            await pool.retire()
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _sweep(self) -> None:
        while self._pools:
            await asyncio.sleep(self._idle_seconds / 2)
            await self.close_idle()

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
