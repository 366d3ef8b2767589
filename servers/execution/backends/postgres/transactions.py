"""Runs several statements that write in one transaction, all or nothing, where the source allows writes.

Nothing is ever tried again once a statement may have run: whoever calls decides that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from time import monotonic
from typing import Any, Final, NoReturn

import psycopg

from core.errors import SourceError
from servers.execution.backends.postgres.confine import confine
from servers.execution.backends.postgres.errors import UNTYPED_PARAMETER, translate_query_error
from servers.execution.backends.postgres.parsing import read_statement
from servers.execution.backends.postgres.pipeline import Written, begin_writing, commit, write
from servers.execution.backends.postgres.pools import Connection, Pool
from servers.execution.backends.postgres.queries import (
    Bound,
    attempts_of,
    bind_values,
    check_attributes,
    policy_of,
)
from servers.execution.backends.postgres.syntax import without_values
from servers.execution.backends.postgres.values import encode_parameter, quote_names
from servers.execution.backends.postgres.writing import WriteWalk
from servers.execution.contract import Outcome
from servers.execution.sql.arguments import refuse_spare
from servers.execution.sql.slow import timed
from servers.execution.sql.transactions import (
    Query,
    check_writable,
    read_queries,
    refuse_query,
    shape_written,
)

_MARGIN: Final = 0.5
"""Seconds that a transaction is stopped before its call is, so that its own answer comes."""


async def execute_transaction(pool: Pool, arguments: Mapping[str, Any], *, timeout: float) -> Outcome:
    """Run the ``queries`` and commit. Raises ``SourceError`` or ``InvalidInput``; then nothing was changed, unless
    the message says that this is not known."""
    check_writable(pool.settings.allow_writes)
    started = monotonic()

    async def read(query: Query) -> Bound:
        work = partial(read_statement, query.sql, policy_of(pool), names=query.names, walk=WriteWalk)
        statement = await pool.read(query.sql, work, together=query.together)
        refuse_spare(query.values, {slot.key for slot in statement.slots}, query.path)
        return bind_values(statement, query.values, path=query.path)

    bounds = await read_queries(arguments, read)
    run = _Run(pool, bounds)
    try:
        with timed(
            [bound.statement.sql for bound in bounds],
            threshold=pool.settings.slow_query_seconds,
            note=pool.note_slow,
            without_values=without_values,
        ):
            async with asyncio.timeout(max(0.1, timeout - _MARGIN)):
                done = await run.all(timeout=timeout)
    except TimeoutError:
        raise SourceError(
            f"The transaction took longer than {timeout - _MARGIN:g} s and was stopped. {run.state()}",
            code="source_timeout",
        ) from None
    return shape_written(done, started=started)


class _Run:
    """One transaction. ``committing``: the server was told to commit, so that it may have."""

    def __init__(self, pool: Pool, bounds: Sequence[Bound]) -> None:
        self.pool = pool
        self.bounds = bounds
        self.committing = False

    def state(self) -> str:
        """What has become of the data when this has not come to its end."""
        if self.committing:
            return "It was being committed: whether it was is not known. Look before you repeat it."
        return "Nothing was changed."

    async def all(self, *, timeout: float) -> list[tuple[str, int]]:
        """Run everything and commit; each statement's command and number of rows."""
        written = await self._try(0, timeout=timeout)
        if written.fault is not None and written.fault.sqlstate in UNTYPED_PARAMETER:
            # It was rolled back, so it can run again with the types that the values have.
            written = await self._try(1, timeout=timeout)
        if written.fault is not None:
            self._refuse(written.fault, written.failed)
        return written.done

    async def _try(self, attempt: int, *, timeout: float) -> Written:
        fresh = False
        while True:
            async with self.pool.lease(timeout=timeout, fresh=fresh) as held:
                try:
                    await self._begin(held.connection)
                except psycopg.Error as fault:
                    if held.reused and fault.sqlstate is None:
                        # The server closed it while it was idle, and nothing has run yet.
                        fresh = True
                        continue
                    raise self._translated(fault) from None
                try:
                    written = await write(held.connection, [_sent(bound, attempt) for bound in self.bounds])
                    if written.fault is None:
                        self.committing = True
                        refusal = await commit(held.connection)
                        self.committing = False
                        if refusal is not None:
                            written.fault, written.failed = refusal, len(self.bounds) - 1
                except psycopg.Error:
                    raise SourceError(
                        f"The connection to the database was lost while the transaction ran. {self.state()}",
                        code="source_unreachable",
                    ) from None
                return written

    async def _begin(self, connection: Connection) -> None:
        settings = self.pool.settings
        for number, bound in enumerate(self.bounds):
            try:
                check_attributes(self.pool, bound.statement)
                await confine(connection, bound.statement, self.pool, writes=True)
            except SourceError as fault:
                refuse_query(fault, number)
        refusal = await begin_writing(
            connection,
            search_path=quote_names(settings.schemas),
            timeout_ms=int(1_000 * settings.statement_timeout),
        )
        if refusal is not None:
            raise refusal

    def _refuse(self, fault: psycopg.Error, number: int) -> NoReturn:
        known = self._translated(fault, self.bounds[number].statement.locate)
        words = SourceError(
            f"{known.message} Nothing was changed.",
            code=known.code,
            data=known.data,
            retryable=known.retryable,
        )
        refuse_query(words, number)

    def _translated(
        self, fault: psycopg.Error, locate: Callable[[int], int | None] = lambda position: None
    ) -> SourceError:
        timeout_ms = int(1_000 * self.pool.settings.statement_timeout)
        return translate_query_error(fault, locate=locate, timeout_ms=timeout_ms, writes=True)


def _sent(bound: Bound, attempt: int) -> tuple[str, Sequence[bytes | None], Sequence[int]]:
    slots = bound.statement.slots
    parameters = [encode_parameter(bound.values[slot.key], bound.paths[slot.key]) for slot in slots]
    attempts = attempts_of(bound)
    return bound.statement.sql, parameters, attempts[min(attempt, len(attempts) - 1)]
