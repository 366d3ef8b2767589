"""Runs a checked statement on a source's pool and reads its rows; checks no SQL and opens no connection.

Cancelling the task cancels the statement at the server (see ``Pool.lease``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from time import monotonic
from typing import Any, Final

import psycopg
from psycopg.adapt import Transformer
from psycopg.pq import Format

from core.errors import InvalidInput, SourceError
from servers.execution.backends.postgres.confine import confine
from servers.execution.backends.postgres.errors import UNTYPED_PARAMETER, translate_query_error
from servers.execution.backends.postgres.functions import ALLOWED_FUNCTIONS
from servers.execution.backends.postgres.parsing import Policy, Slot, Statement, refuse_attribute
from servers.execution.backends.postgres.pipeline import CURSOR_PREFIX, Limits, Reply, run_read_only
from servers.execution.backends.postgres.pools import Connection, Pool
from servers.execution.backends.postgres.syntax import without_values
from servers.execution.backends.postgres.values import (
    builtin_type_name,
    encode_parameter,
    infer_type,
    level_numeric_columns,
    quote_names,
)
from servers.execution.backends.postgres.words import DIALECT
from servers.execution.sql.results import Table, name_columns, refuse_size
from servers.execution.sql.slow import timed

_WIRE_ALLOWANCE: Final = 262_144
"""Bytes above twice a result's limit that may arrive before reading stops: protocol, and the kernel's buffer."""
_ROW_MARK: Final = " bytes in a row: too many for Marina"
_ROWS_PER_CHUNK: Final = 20
_MARGIN: Final = 0.2
"""Seconds that PostgreSQL's own time limit ends before the caller's, so that its clear answer comes first."""


@dataclass(frozen=True, slots=True)
class Bound:
    """A statement with its values: ``values`` by slot key, ``types`` by slot key where they are declared."""

    statement: Statement
    values: Mapping[str | int, Any]
    types: Mapping[str | int, int]
    paths: Mapping[str | int, str]


def policy_of(pool: Pool) -> Policy:
    """What this source's settings allow."""
    settings = pool.settings
    return Policy(schemas=settings.schemas, functions=settings.functions, confined=settings.confined)


async def fetch_table(pool: Pool, bound: Bound, *, rows: int, timeout: float) -> Table:
    """Run one statement and read at most ``rows`` rows. ``timeout`` in seconds. Raises ``SourceError``.

    One that is slow is noted.
    """
    with timed(
        [bound.statement.sql],
        threshold=pool.settings.slow_query_seconds,
        note=pool.note_slow,
        without_values=without_values,
    ):
        return await _fetch_table(pool, bound, rows=rows, timeout=timeout)


async def _fetch_table(pool: Pool, bound: Bound, *, rows: int, timeout: float) -> Table:
    started = monotonic()
    statement, settings = bound.statement, pool.settings
    parameters = [encode_parameter(bound.values[s.key], bound.paths[s.key]) for s in statement.slots]
    head, tail = ("", "") if statement.explain else _guard(settings.max_bytes)
    prefix = 0 if statement.explain else len(CURSOR_PREFIX) + len(head)
    fresh, rows_per_chunk = False, _ROWS_PER_CHUNK
    while True:
        left = timeout - (monotonic() - started)
        limits = Limits(
            rows=rows,
            wire_bytes=2 * settings.max_bytes + _WIRE_ALLOWANCE,
            timeout_ms=int(1_000 * min(settings.statement_timeout, max(0.1, left - _MARGIN))),
            rows_per_chunk=rows_per_chunk,
        )
        try:
            async with pool.lease(timeout=max(0.0, left), fresh=fresh) as held:
                check_attributes(pool, statement)
                try:
                    if statement.tables:
                        confined = await confine(held.connection, statement, pool)
                        bound = replace(bound, statement=confined)
                    request = _Request(
                        sql=head + bound.statement.sql + tail,
                        cursor=not statement.explain,
                        parameters=parameters,
                        search_path=quote_names(settings.schemas),
                        attempts=attempts_of(bound),
                    )
                    reply = await _run(held.connection, request, limits)
                except psycopg.Error:
                    if not held.reused:
                        raise
                    # The server closed it while it was idle. Reading is safe to do again, once.
                    fresh = True
                    continue
                names, oids, values = _decode(held.connection, reply, guarded=bool(head))
                types = await _name_types(pool, held.connection, oids, usable=reply.complete)
        except psycopg.Error as fault:
            raise _translate(fault, bound, prefix, limits) from None
        if reply.fault is not None:
            # PostgreSQL collects what one FETCH brings before it sends any: no earlier rows have come.
            if _ROW_MARK in (reply.fault.diag.message_primary or ""):
                refuse_size(settings.max_bytes, DIALECT)
            raise _translate(reply.fault, bound, prefix, limits) from None
        if not reply.complete and not values:
            if rows_per_chunk == 1:
                refuse_size(settings.max_bytes, DIALECT)
            # Some of the rows may fit: read again, and lose none to an incomplete chunk.
            rows_per_chunk = 1
            continue
        keys = name_columns(names)
        return Table(
            names=keys,
            types=types,
            rows=[dict(zip(keys, row, strict=False)) for row in values],
            stopped=not reply.complete,
            milliseconds=round((monotonic() - started) * 1_000, 3),
            masked=bool(bound.statement.replaced),
        )


@dataclass(frozen=True, slots=True)
class _Request:
    """What goes to the server. ``attempts`` are lists of parameter types, tried while they do not suffice."""

    sql: str
    cursor: bool
    parameters: Sequence[bytes | None]
    search_path: str
    attempts: Sequence[Sequence[int]]


def _guard(max_bytes: int) -> tuple[str, str]:
    """What goes before and after a query so that the server itself stops at a row that is far too large.

    Without it one value could bring a gigabyte: libpq reads a row as a whole. The size is computed in the
    select list, so only for rows that come out; OFFSET 0 keeps the query's own expressions from being
    computed twice. The line breaks end a comment at either end of the query.
    """
    size = "pg_catalog.pg_column_size(marina.*)"
    head = (
        "SELECT marina.*, "  # noqa: S608 (what follows in the parentheses was parsed as one query)
        f"CASE WHEN {size} OPERATOR(pg_catalog.>) {max_bytes} THEN "
        f"({size}::pg_catalog.text OPERATOR(pg_catalog.||) '{_ROW_MARK}')::pg_catalog.int4 END "
        "FROM (SELECT * FROM (\n"
    )
    return head, "\n) marina OFFSET 0) marina"


def attempts_of(bound: Bound) -> list[list[int]]:
    """PostgreSQL infers a parameter's type from its place best; where it cannot, the declared type helps."""
    slots = bound.statement.slots
    inferred = [_type(bound, slot) if slot.typed else 0 for slot in slots]
    declared = [_type(bound, slot) for slot in slots]
    return [inferred] if inferred == declared else [inferred, declared]


def _translate(fault: psycopg.Error, bound: Bound, prefix: int, limits: Limits) -> SourceError:
    return translate_query_error(
        fault, locate=lambda at: bound.statement.locate(at - prefix), timeout_ms=limits.timeout_ms
    )


def check_attributes(pool: Pool, statement: Statement) -> None:
    """Raise ``SourceError`` where ``x.name`` would call a function that queries may not call."""
    allowed = {name.rpartition(".")[2] for name in pool.settings.functions}
    for name in statement.attributes - ALLOWED_FUNCTIONS - allowed:
        if name in pool.callable_names:
            refuse_attribute(name)


async def _run(connection: Connection, request: _Request, limits: Limits) -> Reply:
    first: Reply | None = None
    for types in request.attempts:
        reply = await run_read_only(
            connection,
            request.sql,
            parameters=request.parameters,
            types=types,
            search_path=request.search_path,
            limits=limits,
            cursor=request.cursor,
        )
        if reply.fault is None or reply.fault.sqlstate not in UNTYPED_PARAMETER:
            # A later attempt that fails otherwise says less than the first did.
            return reply if reply.fault is None or first is None else first
        first = first or reply
    if first is None:
        raise AssertionError
    return first


def _type(bound: Bound, slot: Slot) -> int:
    return bound.types.get(slot.key) or infer_type(bound.values[slot.key])


def _decode(
    connection: Connection, reply: Reply, *, guarded: bool
) -> tuple[list[str], list[int], list[list[Any]]]:
    """Names, types and rows. Of a guarded query the rows still have the guard's own value at their end."""
    if not reply.chunks:
        return [], [], []
    first = reply.chunks[0]
    width = first.nfields - 1 if guarded else first.nfields
    names = [(first.fname(i) or b"").decode(errors="replace") for i in range(width)]
    oids = [first.ftype(i) for i in range(width)]
    values: list[list[Any]] = []
    transformer = Transformer(connection)
    for chunk in reply.chunks:
        transformer.set_pgresult(chunk, format=Format.TEXT)
        values += transformer.load_rows(0, chunk.ntuples, list)
    level_numeric_columns(values, oids)
    return names, oids, values


async def _name_types(pool: Pool, connection: Connection, oids: Sequence[int], *, usable: bool) -> list[str]:
    unknown = {oid for oid in oids if builtin_type_name(oid) is None and oid not in pool.type_names}
    if unknown and usable:
        wanted = ",".join(str(oid) for oid in sorted(unknown))
        reply = await run_read_only(
            connection,
            "SELECT oid, pg_catalog.format_type(oid, NULL) "  # noqa: S608 (of numbers only)
            "FROM pg_catalog.pg_type "
            f"WHERE oid = ANY ('{{{wanted}}}'::pg_catalog.oid[])",
            limits=Limits(rows=len(unknown), wire_bytes=1_048_576, timeout_ms=2_000),
        )
        for chunk in reply.checked().chunks:
            for row in range(chunk.ntuples):
                oid, name = chunk.get_value(row, 0), chunk.get_value(row, 1)
                pool.type_names[int(oid or b"0")] = (name or b"").decode(errors="replace")
    return [builtin_type_name(oid) or pool.type_names.get(oid, "unknown") for oid in oids]


def bind_values(
    statement: Statement,
    values: Mapping[str | int, Any],
    *,
    path: str,
    types: Mapping[str | int, int] | None = None,
) -> Bound:
    """Pair a statement's slots with values. ``path`` is where the caller gave them, for error messages."""
    missing = [slot.key for slot in statement.slots if slot.key not in values]
    if missing:
        errors = [{"path": f"{path}.{key}", "message": "This parameter has no value."} for key in missing]
        raise InvalidInput("The query needs a value for every parameter.", errors=errors)
    paths = {slot.key: f"{path}.{slot.key}" if path else str(slot.key) for slot in statement.slots}
    return Bound(statement, values, types or {}, paths)
