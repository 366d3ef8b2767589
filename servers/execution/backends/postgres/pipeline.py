"""Runs one statement in a read-only transaction that is always rolled back, or several in one that writes.

Judges no SQL. What reads takes one round trip.

Everything goes by the extended protocol, which takes exactly one statement a message: libpq's pipeline mode
knows no other. The statement becomes a cursor (``DECLARE`` takes nothing but a query), so the server sends
no more rows than are fetched, and reading stops when too many bytes have arrived.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import psycopg
from psycopg import pq
from psycopg.errors import error_from_result
from psycopg.waiting import Wait, wait_async

from servers.execution.backends.postgres.traffic import ReceivedMeter

CURSOR_PREFIX: Final = "DECLARE marina NO SCROLL CURSOR FOR "
_READY_IN: Final = 1


@dataclass(slots=True)
class Reply:
    """What came back: rows in ``chunks``, or the server's refusal in ``fault``.

    ``complete`` is false when reading stopped at the byte limit: the connection must be closed.
    """

    chunks: list[pq.abc.PGresult] = field(default_factory=list)
    fault: psycopg.Error | None = None
    complete: bool = True

    def checked(self) -> Reply:
        """Itself, or the fault raised."""
        if self.fault is not None:
            raise self.fault
        return self


@dataclass(frozen=True, slots=True)
class Limits:
    """``rows`` to fetch, ``wire_bytes`` to read at most, ``timeout_ms`` for the server to work.

    Rows come out of libpq ``rows_per_chunk`` at a time; an incomplete chunk is lost when reading stops.
    """

    rows: int
    wire_bytes: int
    timeout_ms: int
    rows_per_chunk: int = 20


async def run_read_only(
    connection: psycopg.AsyncConnection[Any],
    sql: str,
    *,
    parameters: Sequence[bytes | None] = (),
    types: Sequence[int] = (),
    search_path: str = "",
    limits: Limits,
    cursor: bool = True,
    before: Sequence[str] = (),
) -> Reply:
    """Run ``sql`` and fetch its rows. ``search_path`` is a ready list of quoted names, empty: the role's own.

    ``before`` are commands that come first in the same transaction.

    A fault of the statement is in the reply, and the connection is fit for use again. ``psycopg.Error`` is
    raised when the connection itself fails. When the task is cancelled the statement still runs at the
    server: the caller cancels it there.
    """
    commands = [b"BEGIN READ ONLY", b"SET LOCAL statement_timeout = %d" % max(1, limits.timeout_ms)]
    if search_path:
        commands.append(b"SET LOCAL search_path = " + search_path.encode())
    commands.extend(command.encode() for command in before)
    exchange = _exchange(
        connection.pgconn,
        commands,
        (CURSOR_PREFIX + sql if cursor else sql).encode(),
        list(parameters),
        list(types),
        b"FETCH FORWARD %d FROM marina" % limits.rows if cursor else None,
        limits,
    )
    return await wait_async(exchange, connection.pgconn.socket, interval=60.0)


@dataclass(slots=True)
class Written:
    """What became of a transaction: for each statement its command and rows, or the fault and whose it was.

    ``failed`` is the 0-based number of the statement.
    """

    done: list[tuple[str, int]] = field(default_factory=list)
    fault: psycopg.Error | None = None
    failed: int = 0


async def begin_writing(
    connection: psycopg.AsyncConnection[Any], *, search_path: str, timeout_ms: int
) -> psycopg.Error | None:
    """Begin a transaction that may write; the fault where that is refused. Nothing is written yet."""
    commands = [b"BEGIN READ WRITE", b"SET LOCAL statement_timeout = %d" % max(1, timeout_ms)]
    if search_path:
        commands.append(b"SET LOCAL search_path = " + search_path.encode())
    exchange = _run_all(connection.pgconn, [(command, (), ()) for command in commands])
    return (await wait_async(exchange, connection.pgconn.socket, interval=60.0)).fault


async def write(
    connection: psycopg.AsyncConnection[Any],
    statements: Sequence[tuple[str, Sequence[bytes | None], Sequence[int]]],
) -> Written:
    """Run the statements (text, parameters, types) in the transaction that was begun. It is not committed.

    Each is one statement: the extended protocol takes no more. After a fault the server skips the others, and
    everything is rolled back. ``psycopg.Error`` is raised when the connection fails: then the server does that.
    """
    prepared = [(sql.encode(), parameters, types) for sql, parameters, types in statements]
    exchange = _run_all(connection.pgconn, prepared)
    return await wait_async(exchange, connection.pgconn.socket, interval=60.0)


async def commit(connection: psycopg.AsyncConnection[Any]) -> psycopg.Error | None:
    """Commit; the fault where that is refused (a deferred check), and everything is rolled back.

    Sent by itself, so that what is stopped before has never been committed. ``psycopg.Error`` is raised when the
    connection fails: then nobody knows.
    """
    exchange = _run_all(connection.pgconn, [(b"COMMIT", (), ())])
    return (await wait_async(exchange, connection.pgconn.socket, interval=60.0)).fault


def _run_all(
    pgconn: pq.abc.PGconn, statements: Sequence[tuple[bytes, Sequence[bytes | None], Sequence[int]]]
) -> Generator[Wait, int, Written]:
    pgconn.enter_pipeline_mode()
    for sql, parameters, types in statements:
        pgconn.send_query_params(sql, list(parameters) or None, list(types) or None)
    pgconn.pipeline_sync()
    written = Written()
    yield from _flush(pgconn)
    for number in range(len(statements)):
        while (result := (yield from _read_result(pgconn))) is not None:
            if result.status == pq.ExecStatus.FATAL_ERROR and written.fault is None:
                written.fault, written.failed = error_from_result(result, encoding="utf-8"), number
            elif written.fault is None:
                command = (result.command_status or b"").split(b" ")[0].decode(errors="replace")
                written.done.append((command, result.command_tuples or 0))
    yield from _read_result(pgconn)  # the sync
    if written.fault is not None and pgconn.transaction_status != pq.TransactionStatus.IDLE:
        pgconn.send_query_params(b"ROLLBACK", None)
        pgconn.pipeline_sync()
        yield from _flush(pgconn)
        yield from _read_command(pgconn)
        yield from _read_result(pgconn)
    pgconn.exit_pipeline_mode()
    return written


def _flush(pgconn: pq.abc.PGconn) -> Generator[Wait, int, None]:
    while pgconn.flush():
        ready = yield Wait.RW
        if ready & _READY_IN:
            pgconn.consume_input()


def _exchange(
    pgconn: pq.abc.PGconn,
    commands: Sequence[bytes],
    statement: bytes,
    parameters: list[bytes | None],
    types: list[int],
    fetch: bytes | None,
    limits: Limits,
) -> Generator[Wait, int, Reply]:
    pgconn.enter_pipeline_mode()
    for command in commands:
        pgconn.send_query_params(command, None)
    pgconn.send_query_params(statement, parameters, types or None)
    if fetch is not None:
        pgconn.send_query_params(fetch, None)
    pgconn.pipeline_sync()
    # After an error the server skips to the sync above, so this always runs.
    pgconn.send_query_params(b"ROLLBACK", None)
    pgconn.pipeline_sync()
    yield from _flush(pgconn)

    reply = Reply()
    fault: pq.abc.PGresult | None = None
    before = len(commands) + (1 if fetch is not None else 0)
    for _ in range(before):
        found = yield from _read_command(pgconn)
        fault = fault or found
    if fault is None:
        fault = yield from _read_rows(pgconn, reply, limits)
    else:
        yield from _read_command(pgconn)
    if not reply.complete:
        return reply
    yield from _read_result(pgconn)  # the first sync
    found = yield from _read_command(pgconn)
    fault = fault or found
    yield from _read_result(pgconn)  # the second sync
    pgconn.exit_pipeline_mode()
    if fault is not None:
        reply.fault = error_from_result(fault, encoding="utf-8")
    return reply


def _read_result(pgconn: pq.abc.PGconn) -> Generator[Wait, int, pq.abc.PGresult | None]:
    while pgconn.is_busy():
        yield Wait.R
        pgconn.consume_input()
    return pgconn.get_result()


def _read_command(pgconn: pq.abc.PGconn) -> Generator[Wait, int, pq.abc.PGresult | None]:
    """Read a command's result to its end; return it if it is a fault."""
    fault = None
    while (result := (yield from _read_result(pgconn))) is not None:
        if result.status == pq.ExecStatus.FATAL_ERROR:
            fault = result
    return fault


def _read_rows(
    pgconn: pq.abc.PGconn, reply: Reply, limits: Limits
) -> Generator[Wait, int, pq.abc.PGresult | None]:
    fault = None
    pgconn.set_chunked_rows_mode(limits.rows_per_chunk)
    meter = ReceivedMeter(pgconn.socket)
    while True:
        while pgconn.is_busy():
            if meter.read() > limits.wire_bytes:
                reply.complete = False
                return None
            yield Wait.R
            pgconn.consume_input()
        result = pgconn.get_result()
        if result is None:
            return fault
        if result.status == pq.ExecStatus.FATAL_ERROR:
            fault = result
        elif result.nfields or result.ntuples:
            reply.chunks.append(result)
