"""A SQLite source as the tools that all databases have in common ask it: each question in a thread of its own turn."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import Any, Final, TypeVar

import orjson

from core.errors import InvalidInput, SourceError
from servers.execution.backends.sqlite import catalog
from servers.execution.backends.sqlite.faults import translated
from servers.execution.backends.sqlite.queries import change, fetch
from servers.execution.backends.sqlite.session import Session, opened
from servers.execution.backends.sqlite.settings import SqliteSettings
from servers.execution.backends.sqlite.statements import Bound, Statement, bind_values, read_statement
from servers.execution.backends.sqlite.tokens import without_values
from servers.execution.backends.sqlite.values import quote_names
from servers.execution.backends.sqlite.words import DIALECT
from servers.execution.contract import Outcome, SlowStatement
from servers.execution.folders.places import Place
from servers.execution.folders.threads import Stop, Threads
from servers.execution.parameters import values_of
from servers.execution.sql.database import Names, Values
from servers.execution.sql.dialect import Dialect
from servers.execution.sql.reading import Reading
from servers.execution.sql.results import Table, shape_outcome
from servers.execution.sql.slow import timed
from servers.execution.sql.transactions import (
    Query,
    check_writable,
    read_queries,
    refuse_query,
    shape_written,
)

T = TypeVar("T")

_MARGIN: Final = 0.3
"""Seconds that SQLite is stopped before the call is, so that its own answer comes."""


@dataclass(frozen=True, slots=True)
class AskedFile:
    """See ``servers.execution.sql.database.Database``. One object a call."""

    settings: SqliteSettings
    place: Place
    tenant_id: int
    threads: Threads
    reading: Reading
    note_slow: Callable[[SlowStatement], None]

    @property
    def dialect(self) -> Dialect:
        return DIALECT

    @property
    def row_limit(self) -> int:
        return self.settings.row_limit

    @property
    def max_bytes(self) -> int:
        return self.settings.max_bytes

    def quote(self, names: Sequence[str]) -> str:
        return quote_names(names)

    async def read(
        self, sql: str, names: Names, values: Values, *, path: str, rows: int, timeout: float
    ) -> Table:
        statement = await self._read(sql)
        return await self._fetch(bind_values(statement, names, values, path=path), rows, timeout)

    async def run_tool(
        self, definition: Mapping[str, Any], arguments: Mapping[str, Any], *, timeout: float
    ) -> Outcome:
        """Run a SQL tool of the team's own. Raises ``SourceError``."""
        parameters: Mapping[str, Mapping[str, Any]] = definition.get("parameters") or {}
        bound = await self._bind_tool(definition, values_of(parameters, arguments))
        table = await self._fetch(bound, self.row_limit + 1, timeout)
        return shape_outcome(table, limit=self.row_limit, max_bytes=self.max_bytes, dialect=DIALECT)

    async def explain_tool(self, definition: Mapping[str, Any], *, timeout: float) -> Outcome:
        """How SQLite would run a SQL tool, without running it. It expects no number of rows, and no cost."""
        bound = await self._bind_tool(definition, dict.fromkeys(definition.get("parameters") or {}))
        if bound.statement.explain:
            message = "This is an EXPLAIN already: create the tool, and try it."
            raise InvalidInput(message, errors=[{"path": "sql", "message": message}])
        statement = await self._read(f"EXPLAIN QUERY PLAN {bound.statement.sql}")
        table = await self._fetch(Bound(statement, bound.values), 1_000, timeout)
        depths = {0: -1}
        lines = []
        for row in table.rows:
            depths[row["id"]] = depths.get(row["parent"], -1) + 1
            lines.append(f"{'  ' * depths[row['id']]}{row['detail']}")
        structured = {"plan": "\n".join(lines), "estimated_rows": None, "total_cost": None}
        text = orjson.dumps(structured)
        return Outcome(structured, text.decode(), size=len(text))

    async def execute_transaction(self, arguments: Mapping[str, Any], *, timeout: float) -> Outcome:
        """Run the ``queries`` and commit. Raises ``SourceError`` or ``InvalidInput``; then nothing was changed."""
        check_writable(self.settings.allow_writes)
        started = monotonic()

        async def read(query: Query) -> Bound:
            statement = await self._read(query.sql, writes=True, together=query.together)
            return bind_values(statement, query.names, query.values, path=query.path)

        bounds = await read_queries(arguments, read)

        def work(session: Session) -> list[tuple[str, int]]:
            return _write(session, bounds)

        done = await self._timed(bounds, work, timeout, writes=True)
        return shape_written(done, started=started)

    async def read_tables(self, schema: str | None, *, timeout: float) -> tuple[list[dict[str, Any]], bool]:
        return await self._run(lambda session: catalog.read_tables(session, schema), timeout)

    async def read_schemas(self, *, timeout: float) -> tuple[list[dict[str, Any]], bool]:
        return await self._run(catalog.read_schemas, timeout)

    async def read_structure(self, name: str | None, *, timeout: float) -> tuple[list[dict[str, Any]], bool]:
        return await self._run(lambda session: catalog.read_structure(session, name), timeout)

    async def describe(self, name: str, schema: str | None, *, timeout: float) -> dict[str, Any] | None:
        return await self._run(lambda session: catalog.describe(session, name, schema), timeout)

    async def measure(self, name: str, schema: str | None, *, timeout: float) -> dict[str, Any] | None:
        return await self._run(lambda session: catalog.measure(session, name, schema), timeout)

    async def complete_names(self, beginning: str, *, most: int, timeout: float) -> Sequence[str]:
        return await self._run(lambda session: catalog.complete_names(session, beginning, most=most), timeout)

    async def look(self, *, timeout: float) -> int:
        """How many tables and views may be read, of a file that opens as its calls open it."""

        def work(session: Session) -> int:
            session.connection.execute("PRAGMA main.schema_version").fetchall()
            if self.settings.allow_writes:
                session.connection.execute("BEGIN IMMEDIATE; ROLLBACK")
            return len(session.named)

        return await self._run(work, timeout, writes=self.settings.allow_writes)

    async def _read(self, sql: str, *, writes: bool = False, together: int = 0) -> Statement:
        work = partial(read_statement, sql, confined=self.settings.confined, writes=writes)
        return await self.reading.read(sql, work, team=self.tenant_id, together=together)

    async def _bind_tool(self, definition: Mapping[str, Any], values: dict[str, Any]) -> Bound:
        statement = await self._read(str(definition["sql"]))
        return bind_values(statement, tuple(values), dict(values.items()), path="")

    async def _fetch(self, bound: Bound, rows: int, timeout: float) -> Table:
        return await self._timed([bound], lambda session: fetch(session, bound, rows=rows), timeout)

    async def _timed(
        self, bounds: Sequence[Bound], work: Callable[[Session], T], timeout: float, *, writes: bool = False
    ) -> T:
        with timed(
            [bound.statement.sql for bound in bounds],
            threshold=self.settings.slow_query_seconds,
            note=self.note_slow,
            without_values=without_values,
        ):
            return await self._run(work, timeout, writes=writes)

    async def _run(self, work: Callable[[Session], T], timeout: float, *, writes: bool = False) -> T:
        stop = Stop(timeout)
        ends = monotonic() + timeout - _MARGIN

        def whole() -> T:
            stop.check()
            seconds = min(self.settings.statement_timeout, max(0.1, ends - monotonic()))
            with opened(self.place, self.settings, stop, seconds=seconds, writes=writes) as session:
                return work(session)

        return await self.threads.run(self.tenant_id, stop, whole)


def _write(session: Session, bounds: Sequence[Bound]) -> list[tuple[str, int]]:
    connection = session.connection
    done: list[tuple[str, int]] = []
    try:
        with translated():
            connection.execute("BEGIN IMMEDIATE")
        done.extend(change(session, bound) for bound in bounds)
        session.stop.check()
        with translated():
            connection.execute("COMMIT")
    except SourceError as fault:
        words = SourceError(
            f"{fault.message} Nothing was changed.",
            code=fault.code,
            data=fault.data,
            retryable=fault.retryable,
        )
        refuse_query(words, min(len(done), len(bounds) - 1))
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
    return done
