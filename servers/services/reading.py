"""Runs a look-up of async code in a thread, and says in Marina's words when the database is away."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from django.db import InterfaceError, OperationalError

from core.threads import run_sync
from servers.services.reasons import database_unavailable

P = ParamSpec("P")
T = TypeVar("T")


async def look_up(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Await ``function`` of the ORM. Raises ``Unavailable`` when the database does not answer."""
    try:
        return await run_sync(function, *args, **kwargs)
    except (OperationalError, InterfaceError) as fault:
        raise database_unavailable() from fault
