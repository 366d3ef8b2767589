"""Runs a look-up of async code in a thread, and says in Marina's words when the database is away."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, ParamSpec, TypeVar

from core.databaseaway import DATABASE_AWAY
from core.threads import run_sync_within
from servers.services.reasons import database_unavailable

P = ParamSpec("P")
T = TypeVar("T")

LOOK_UP_SECONDS: Final = 3.5
"""How long a look-up may take: with it, a request is refused within 5 seconds of the database's last answer."""


async def look_up(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Await ``function`` of the ORM. Raises ``Unavailable`` when the database is away, or hangs."""
    try:
        return await run_sync_within(LOOK_UP_SECONDS, function, *args, **kwargs)
    except (*DATABASE_AWAY, TimeoutError) as fault:
        raise database_unavailable() from fault


async def wait_for_look_up(looking: Awaitable[T]) -> T:
    """What a look-up gives that others may have begun, or that is yet to begin: no later than one of our own would.

    Raises ``Unavailable``.
    """
    try:
        async with asyncio.timeout(LOOK_UP_SECONDS):
            return await looking
    except TimeoutError as fault:
        raise database_unavailable() from fault
