"""One event loop a process: where sync code hands over a whole async use case, once.

Under ASGI it is the server's own loop; in a Celery worker or a command, a background thread's.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from django.db import connections

T = TypeVar("T")

_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None


def adopt_loop(loop: asyncio.AbstractEventLoop | None) -> None:
    """Name the process's loop (the ASGI server does at start, with ``None`` at its end)."""
    global _loop
    with _lock:
        _loop = loop


def run_async(coroutine: Coroutine[Any, Any, T], *, timeout: float | None = None) -> T:
    """Run a coroutine on the process's loop and wait for it, from a thread that is not the loop's.

    ``timeout`` in seconds; past it the coroutine is cancelled and ``TimeoutError`` raised. The thread's database
    connections go back to their pool first, unless a transaction is open: what is waited for may be somebody's slow
    server, and a few who wait would leave no connection to anybody else.
    Raises ``RuntimeError`` when called on the loop's own thread, where waiting would never end.
    """
    loop = _process_loop()
    try:
        running = asyncio.get_running_loop()
    except RuntimeError:
        running = None
    if running is loop:
        coroutine.close()
        raise RuntimeError("run_async was called on the event loop's own thread: await the coroutine instead")
    _give_back_connections()
    future = asyncio.run_coroutine_threadsafe(coroutine, loop)
    try:
        return future.result(timeout)
    except BaseException:
        future.cancel()
        raise


def post(function: Callable[..., object], *arguments: object) -> None:
    """Have the process's loop call ``function`` soon, and do not wait. From any thread."""
    _process_loop().call_soon_threadsafe(function, *arguments)


def _give_back_connections() -> None:
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close()


def _process_loop() -> asyncio.AbstractEventLoop:
    global _loop
    with _lock:
        if _loop is None or _loop.is_closed():
            loop = asyncio.new_event_loop()
            threading.Thread(target=loop.run_forever, name="marina-loop", daemon=True).start()
            _loop = loop
        return _loop
