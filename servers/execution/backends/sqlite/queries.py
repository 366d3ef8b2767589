"""Runs a checked statement in an open session: gives the rows of one that reads, or the count of one that writes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from time import monotonic
from typing import Any, Final

import apsw

from core.errors import SourceError
from servers.execution.backends.sqlite.faults import translated
from servers.execution.backends.sqlite.rules import Rules
from servers.execution.backends.sqlite.session import Session
from servers.execution.backends.sqlite.statements import Bound
from servers.execution.backends.sqlite.values import decode_value, type_names
from servers.execution.backends.sqlite.words import DIALECT
from servers.execution.sql.results import Table, name_columns, refuse_size

_OPENING: Final = frozenset({"OpenRead", "OpenWrite", "ReopenIdx"})


def fetch(session: Session, bound: Bound, *, rows: int) -> Table:
    """At most ``rows`` rows of a query, and as many bytes as a result holds. Raises ``SourceError``."""
    started, connection = monotonic(), session.connection
    rules = session.rules()
    most = session.settings.max_bytes
    seen: list[Any] = []
    size, stopped = 0, False
    allowed = _roots(session) if session.settings.tables and not bound.statement.explain else None
    with translated(rules, bound.statement.sql), _ruled(connection, rules):
        if allowed is not None:
            _check_opened(session, bound, allowed)
        cursor = connection.cursor()
        watch = _Watch(writes=False)
        cursor.exec_trace = watch
        for row in cursor.execute(bound.statement.sql, tuple(bound.values), can_cache=False):
            size += sum(len(value) if isinstance(value, str | bytes) else 8 for value in row)
            if size > most and seen:
                stopped = True
                break
            seen.append(row)
            if len(seen) >= rows:
                break
            if len(seen) % 64 == 0:
                session.stop.check()
        cursor.close(force=True)
    if size > 2 * most and len(seen) == 1:
        refuse_size(most, DIALECT)
    names = name_columns([name for name, _ in watch.columns])
    return Table(
        names=names,
        types=type_names([type_ for _, type_ in watch.columns], seen),
        rows=[dict(zip(names, map(decode_value, row), strict=True)) for row in seen],
        stopped=stopped,
        milliseconds=round((monotonic() - started) * 1_000, 3),
        masked=rules.masked,
    )


def change(session: Session, bound: Bound) -> tuple[str, int]:
    """Run one statement that writes, within the session's transaction: its command, and how many rows it changed."""
    connection = session.connection
    rules = session.rules(writes=True)
    with translated(rules, bound.statement.sql), _ruled(connection, rules):
        cursor = connection.cursor()
        cursor.exec_trace = _Watch(writes=True)
        before = connection.total_changes()
        for _ in cursor.execute(bound.statement.sql, tuple(bound.values), can_cache=False):
            pass
        rows = connection.changes() if connection.total_changes() > before else 0
    command = bound.statement.command
    return (rules.changed if command == "WITH" else command), rows


class _Watch:
    """Looks at each statement that SQLite found in a text before it runs: there is one, and it is what it said."""

    def __init__(self, *, writes: bool) -> None:
        self.columns: Sequence[tuple[str, str | None]] = ()
        self._writes = writes
        self._seen = False

    def __call__(self, cursor: apsw.Cursor, sql: str, values: Any) -> bool:
        if self._seen:
            raise _refusal("sql.single", "Only one statement at a time is taken. Make one call a statement.")
        self._seen = True
        self.columns = [(name, declared) for name, declared in cursor.get_description()]
        if self._writes and self.columns:
            raise _refusal(
                "sql.returning",
                "RETURNING is not allowed here: the result has row counts. Read the rows with query_database.",
            )
        if not self._writes and not (cursor.is_readonly or cursor.is_explain):
            raise _refusal("sql.statement", "Queries only read: this one writes.")
        return True


def _roots(session: Session) -> frozenset[int]:
    """Where in the file what the query may read begins."""
    found = session.rows("SELECT rootpage, lower(tbl_name) FROM main.sqlite_schema")
    return frozenset(root for root, table in found if table in session.named or table in session.hidden)


def _check_opened(session: Session, bound: Bound, allowed: frozenset[int]) -> None:
    """Refuse a query whose program opens what is not on the list of tables, whatever SQLite asked about before."""
    cursor = session.connection.cursor()
    program = cursor.execute(bound.statement.sql, tuple(bound.values), can_cache=False, explain=1)
    for _, operation, _, root, database, *_ in program:
        if operation in _OPENING and database == 0 and root not in allowed:
            raise _refusal(
                "sql.table",
                "The query reads a table that is not among those that may be read here. list_tables shows them all.",
            )


@contextmanager
def _ruled(connection: apsw.Connection, rules: Rules) -> Iterator[None]:
    """Have SQLite ask the rules while the block runs."""
    connection.authorizer = rules
    try:
        yield
    finally:
        connection.authorizer = None


def _refusal(rule: str, message: str) -> SourceError:
    return SourceError(message, code="query_refused", data={"rule": rule})
