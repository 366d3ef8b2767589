"""Connections to Redis, for asyncio, on which a cancellation is never lost. Knows no command.

redis-py sends under ``asyncio.wait_for``, which up to Python 3.11 loses a cancellation that comes just as it ends
(CPython gh-86296): a quarter of all that came during a command, when measured. Whoever was cancelled then went on, for
ever where it waited for something next.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final
from urllib.parse import urlsplit

from redis.asyncio.connection import Connection, SSLConnection, UnixDomainSocketConnection


class _Heedful:
    """Mixed into redis-py's connections: a cancellation that came while a command was sent is raised after it."""

    async def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        """See ``redis.asyncio.connection.AbstractConnection``."""
        task = asyncio.current_task()
        before = 0 if task is None else task.cancelling()
        await super().send_packed_command(command, check_health)  # type: ignore[misc]
        if task is not None and task.cancelling() > before:
            # An answer is on its way that nobody will read: whoever uses the connection next would take it for theirs.
            await self.disconnect(nowait=True)  # type: ignore[attr-defined]
            raise asyncio.CancelledError


class HeedfulConnection(_Heedful, Connection):
    """Over TCP."""


class HeedfulTLSConnection(_Heedful, SSLConnection):
    """Over TLS."""


class HeedfulSocketConnection(_Heedful, UnixDomainSocketConnection):
    """Over a socket of this machine."""


_KINDS: Final[dict[str, type[Connection | UnixDomainSocketConnection]]] = {
    "redis": HeedfulConnection,
    "rediss": HeedfulTLSConnection,
    "unix": HeedfulSocketConnection,
}


def heed(pool: Any, redis_url: str) -> None:
    """Let a pool that was made of this URL, and has no connection yet, make connections of ours.

    It cannot be told when it is made: for TLS and local sockets the URL has the last word on the class.
    """
    pool.connection_class = _KINDS[urlsplit(redis_url).scheme]
