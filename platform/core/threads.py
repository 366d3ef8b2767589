"""Where async code hands a whole sync use case (the ORM) to a thread, once, and its connections come back.

asgiref's default runs every sync call of a raw ASGI app on one global thread; this pool does not, and it
closes the thread's database connections after each use, so that they return to their pool.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import os
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, ParamSpec, TypeVar

import psycopg
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.base.base import BaseDatabaseWrapper

P = ParamSpec("P")
T = TypeVar("T")

THREADS: Final = 8
"""Threads for sync work of async callers. Each holds at most one database connection while it works."""

CUT_AGAIN_SECONDS: Final = 0.5
"""How often work that was given up is cut off from the database, until it ends."""

CUTS: Final = 40
"""Work that was given up before it had a thread never begins, and so never ends."""

_pool = ThreadPoolExecutor(THREADS, thread_name_prefix="marina-sync")


async def run_sync(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run ``function`` in a worker thread, with the caller's context variables, and await its result."""
    return await _hand_over(_Work(), function, args, kwargs)


async def run_sync_within(seconds: float, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """``run_sync`` with a deadline. Past it the work is given up and ``TimeoutError`` raised.

    A thread that then still waits for the database gets its connection cut: a database that hangs answers
    nobody, and would keep one thread after another until none is left.
    """
    work = _Work()
    try:
        async with asyncio.timeout(seconds):
            return await _hand_over(work, function, args, kwargs)
    except TimeoutError:
        _cut_until_it_ends(work, asyncio.get_running_loop(), CUTS)
        raise


def _cut_until_it_ends(work: _Work, loop: asyncio.AbstractEventLoop, left: int) -> None:
    """Cut the work's connection, and again after a while: it may only have been about to connect."""
    if not work.ended and left:
        work.cut()
        loop.call_later(CUT_AGAIN_SECONDS, _cut_until_it_ends, work, loop, left - 1)


async def _hand_over(
    work: _Work, function: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> T:
    context = contextvars.copy_context()
    return await asyncio.get_running_loop().run_in_executor(
        _pool, lambda: context.run(work.run, function, args, kwargs)
    )


class _Work:
    """One use case in its thread, and the database connection that it may be waiting for."""

    __slots__ = ("_database", "_lock", "ended")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._database: BaseDatabaseWrapper | None = None
        self.ended = False

    def run(self, function: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]) -> T:
        with self._lock:
            self._database = connections[DEFAULT_DB_ALIAS]
        try:
            return function(*args, **kwargs)
        finally:
            # From here on the connection is its pool's again, and nobody may cut it.
            with self._lock:
                self._database = None
            self.ended = True
            connections.close_all()

    def cut(self) -> None:
        """End the connection's traffic, from another thread: whoever waits on it gets an error at once."""
        with self._lock:
            connection = None if self._database is None else self._database.connection
            if connection is None:
                return
            # A copy of the descriptor: libpq keeps, and closes, its own. No descriptor: it is gone already.
            with (
                contextlib.suppress(OSError, psycopg.Error),
                socket.socket(fileno=os.dup(connection.fileno())) as wire,
            ):
                wire.shutdown(socket.SHUT_RDWR)
