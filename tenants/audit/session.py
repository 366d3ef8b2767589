"""The writer's own connection: prepared statements, pipelined over libpq. Knows no records and retries nothing.

psycopg's ``AsyncConnection`` makes the connection (TLS, SCRAM, several hosts); from then on this drives its libpq
handle from the event loop, which leaves one wake-up of the loop a round trip.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from psycopg import AsyncConnection, OperationalError
from psycopg import Error as PsycopgError
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import DiagnosticField, ExecStatus, PipelineStatus
from psycopg.pq.abc import PGconn, PGresult

from tenants.audit.statements import Command

CONNECT_SECONDS: Final = 3

_OPTIONS: Final = " ".join(
    (
        "-c synchronous_commit=on",
        # The policy for tenants reads this; the writer's own policies do not, and no tenant has this id.
        "-c app.tenant=0",
        # A head that someone holds must not hold up the other tenants; and a backend that we lost lets go of its own.
        "-c lock_timeout=250ms",
        "-c idle_in_transaction_session_timeout=5s",
        "-c plan_cache_mode=force_generic_plan",
        "-c jit=off",
        # Heads are few and hot: always by the index, in the order in which a statement names them.
        "-c enable_seqscan=off -c enable_hashjoin=off -c enable_mergejoin=off -c enable_bitmapscan=off",
    )
)
_KEEPALIVE: Final = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 5_000,
}


class ConnectionLost(Exception):
    """The connection is gone or could not be made. What was under way may or may not have happened."""


class StatementFailed(Exception):
    """PostgreSQL refused a statement; the transaction it stood in has not happened."""

    def __init__(self, sqlstate: str) -> None:
        super().__init__(f"SQLSTATE {sqlstate}")
        self.sqlstate = sqlstate


class Session:
    """One connection. One exchange at a time. Use it on the event loop that made it."""

    def __init__(self, connection: AsyncConnection, on_lost: Callable[[], None]) -> None:
        self._connection = connection
        self._conn: PGconn = connection.pgconn
        self._socket = self._conn.socket
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._readable: asyncio.Future[None] | None = None
        self._lost = False

    @classmethod
    async def connect(
        cls, dsn: str, statements: Mapping[bytes, str], *, on_lost: Callable[[], None]
    ) -> Session:
        """Connect and prepare ``statements``. ``on_lost`` is called once, whenever the connection goes."""
        given = conninfo_to_dict(dsn)
        options = f"{given.get('options') or ''} {_OPTIONS}".strip()
        conninfo = make_conninfo(
            dsn,
            options=options,
            application_name="marina writer",
            connect_timeout=CONNECT_SECONDS,
            **_KEEPALIVE,
        )
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                connection = await AsyncConnection.connect(conninfo, autocommit=True)
        except (PsycopgError, OSError, TimeoutError):
            # Its text may name host and user: the reason stays with the server's own log.
            raise ConnectionLost from None
        session = cls(connection, on_lost)
        session._conn.nonblocking = 1
        session._conn.enter_pipeline_mode()
        session._loop.add_reader(session._socket, session._read)
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                for name, sql in statements.items():
                    session._conn.send_prepare(name, sql.encode())
                session.send([], sync=True)
                await session.receive(len(statements), sync=True)
        except (TimeoutError, PsycopgError):
            await session.close()
            raise ConnectionLost from None
        except (ConnectionLost, StatementFailed, asyncio.CancelledError):
            await session.close()
            raise
        return session

    @property
    def lost(self) -> bool:
        """Whether the connection is gone."""
        return self._lost

    async def exchange(self, commands: Sequence[Command], *, sync: bool) -> list[PGresult]:
        """Send commands in one go and await all their results.

        Without ``sync`` the transaction goes on, for the next exchange. Raises ``StatementFailed`` for the first
        command that fails (those after it are skipped; ``rollback`` comes next), or ``ConnectionLost``.
        """
        self.send(commands, sync=sync)
        return await self.receive(len(commands), sync=sync)

    def send(self, commands: Sequence[Command], *, sync: bool) -> None:
        """Send commands, as far as the socket takes them now; ``receive`` comes next. Raises ``ConnectionLost``."""
        if self._lost:
            raise ConnectionLost
        try:
            for name, parameters in commands:
                self._conn.send_query_prepared(name, parameters, [1] * len(parameters), result_format=1)
            if sync:
                self._conn.pipeline_sync()
            else:
                self._conn.send_flush_request()
            self._conn.flush()
        except PsycopgError:
            self.abort()
            raise ConnectionLost from None

    async def rollback(self, rollback: Command) -> None:
        """Leave a failed or unwanted transaction."""
        if self._conn.pipeline_status == PipelineStatus.ABORTED:
            await self.exchange([], sync=True)
        await self.exchange([rollback], sync=True)

    def abort(self) -> None:
        """Give the connection up now: whoever awaits an exchange gets ``ConnectionLost``."""
        if self._lost:
            return
        self._lost = True
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        if self._readable is not None and not self._readable.done():
            self._readable.set_exception(ConnectionLost())
        self._on_lost()

    async def close(self) -> None:
        """Close the connection. Safe to call again."""
        self._on_lost = _nothing
        self.abort()
        await self._connection.close()

    async def receive(self, count: int, *, sync: bool) -> list[PGresult]:
        """Await the results of the ``count`` commands that ``send`` sent. Raises as ``exchange`` does."""
        try:
            await self._flush()
            results = [await self._result() for _ in range(count)]
            if sync:
                await self._sync_point()
        except PsycopgError:
            self.abort()
            raise ConnectionLost from None
        for result in results:
            if result.status == ExecStatus.FATAL_ERROR:
                raise StatementFailed(_sqlstate(result))
        return results

    async def _flush(self) -> None:
        while self._conn.flush():
            await self._wait(writing=True)

    async def _result(self) -> PGresult:
        result = await self._next()
        if result is None:
            raise OperationalError("no result")
        # Each command's results end with a None; none of ours has more than one.
        while await self._next() is not None:
            pass
        return result

    async def _sync_point(self) -> None:
        while True:
            result = await self._next()
            if result is not None and result.status == ExecStatus.PIPELINE_SYNC:
                return

    async def _next(self) -> PGresult | None:
        while self._conn.is_busy():
            await self._wait(writing=False)
        if self._lost:
            raise ConnectionLost
        return self._conn.get_result()

    async def _wait(self, *, writing: bool) -> None:
        if self._lost:
            raise ConnectionLost
        waiter = self._readable = self._loop.create_future()
        if writing:
            self._loop.add_writer(self._socket, _wake, waiter)
        try:
            await waiter
        finally:
            self._readable = None
            if writing and not self._lost:
                self._loop.remove_writer(self._socket)

    def _read(self) -> None:
        try:
            self._conn.consume_input()
        except PsycopgError:
            self.abort()
            return
        if self._readable is not None:
            _wake(self._readable)


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


def _nothing() -> None:
    """Called instead of ``on_lost`` once the session's owner has let go of it."""


def _sqlstate(result: PGresult) -> str:
    return (result.error_field(DiagnosticField.SQLSTATE) or b"XX000").decode()
