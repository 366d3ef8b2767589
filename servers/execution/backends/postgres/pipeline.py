"""Runs one statement in a read-only transaction that is always rolled back, in one round trip; judges no SQL.

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
) -> Reply:
    """Run ``sql`` and fetch its rows. ``search_path`` is a ready list of quoted names, empty: the role's own.

    A fault of the statement is in the reply, and the connection is fit for use again. ``psycopg.Error`` is
    raised when the connection itself fails. When the task is cancelled the statement still runs at the
    server: the caller cancels it there.
    """
    commands = [b"BEGIN READ ONLY", b"SET LOCAL statement_timeout = %d" % max(1, limits.timeout_ms)]
    if search_path:
        commands.append(b"SET LOCAL search_path = " + search_path.encode())
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
    while pgconn.flush():
        ready = yield Wait.RW
        if ready & _READY_IN:
            pgconn.consume_input()

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
