"""Threads in which names of hosts are looked up: few, and for nothing else. Judges no address.

A resolver that does not answer keeps a thread for as long as the system's patience lasts, also when nobody waits for
it any more. In the threads that the event loop shares out, a few names that a stranger chose would hold up all else.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final


class Crowded(Exception):
    """So many look-ups are under way that one more would wait for too long."""


class Lookups:
    """At most ``threads`` look-ups at once, and ``waiting`` that wait for one of them to end."""

    def __init__(self, name: str, *, threads: int, waiting: int) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._most = threads + waiting
        self._under_way = 0
        self._lock = threading.Lock()

    async def addresses(self, host: str, port: int) -> list[str]:
        """The addresses of a host, in the resolver's order. Raises ``Crowded``, and what ``getaddrinfo`` raises."""
        with self._lock:
            if self._under_way >= self._most:
                raise Crowded
            self._under_way += 1
        asked = self._pool.submit(
            socket.getaddrinfo, host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP
        )
        # When the look-up ends, not when whoever waited for it has gone.
        asked.add_done_callback(self._ended)
        answers = await asyncio.wrap_future(asked)
        return list(dict.fromkeys(str(answer[4][0]) for answer in answers))

    def _ended(self, _: Future[Any]) -> None:
        with self._lock:
            self._under_way -= 1


OF_SOURCES: Final = Lookups("look-up-source", threads=8, waiting=64)
"""Hosts that teams entered."""

OF_COMMANDS: Final = Lookups("look-up-command", threads=8, waiting=256)
"""Hosts that hosted commands ask for. Names below a listed one are theirs to invent: slow ones hold up other commands,
and nothing else."""

OF_STRANGERS: Final = Lookups("look-up-stranger", threads=4, waiting=12)
"""Hosts that anybody may name: of documents that describe OAuth clients, and of issuers."""
