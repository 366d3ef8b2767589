"""Where async code hands a whole sync use case (the ORM) to a thread, once, and its connections come back.

asgiref's default runs every sync call of a raw ASGI app on one global thread; this pool does not, and it
closes the thread's database connections after each use, so that they return to their pool.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, ParamSpec, TypeVar

from django.db import connections

P = ParamSpec("P")
T = TypeVar("T")

THREADS: Final = 8
"""Threads for sync work of async callers. Each holds at most one database connection while it works."""

_pool = ThreadPoolExecutor(THREADS, thread_name_prefix="marina-sync")


async def run_sync(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run ``function`` in a worker thread, with the caller's context variables, and await its result."""
    context = contextvars.copy_context()
    return await asyncio.get_running_loop().run_in_executor(
        _pool, lambda: context.run(_call_and_close, function, args, kwargs)
    )


def _call_and_close(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    try:
        return function(*args, **kwargs)
    finally:
        connections.close_all()
