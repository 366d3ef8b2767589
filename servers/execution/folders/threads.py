"""Threads in which files are read and written: few, for nothing else, and shared out between tenants.

A disk that does not answer keeps a thread for as long as it takes, also when nobody waits for it any more: a tenant's
place is free again when its work ends, not when whoever waited has gone. Others do not wait for such a thread: there
are more than may work at the same time.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from time import monotonic, sleep
from typing import Any, Final, TypeVar

T = TypeVar("T")

THREADS: Final = 4
TURN_SECONDS: Final = 0.001
PAUSE_SECONDS: Final = 0.000_1
AT_ONCE: Final = 2
"""What one tenant may have under way in one process, of each pool."""
MOST_THREADS: Final = 32
"""Of one pool, those that hang among them."""
HUNG_SECONDS: Final = 1.0
"""Work that has not looked at its ``Stop`` for so long waits for the disk."""


class Stopped(Exception):
    """Work ended because nobody waits for it any more."""


class Stop:
    """Tells work in a thread to end: its call was cancelled. ``until`` is when it should give what it has."""

    __slots__ = ("_asked", "_seen", "_turn", "until")

    def __init__(self, seconds: float) -> None:
        self._asked = False
        self._turn = 0.0
        self._seen = monotonic()
        self.until = monotonic() + seconds

    def ask(self) -> None:
        """Have the work end as soon as it looks."""
        self._asked = True

    def check(self) -> None:
        """Raise ``Stopped`` where the work was asked to end. Work in Python calls it every millisecond or so."""
        if self._asked:
            raise Stopped
        self._seen = now = monotonic()
        if now > self._turn:
            # The interpreter lets a busy thread go on for 5 ms while the event loop waits for its turn, and one that
            # sleeps for no time at all is first again.
            sleep(PAUSE_SECONDS)
            self._turn = now + TURN_SECONDS

    def touch(self) -> None:
        """The work begins: what it waited before does not count."""
        self._seen = monotonic()

    def idle(self) -> float:
        """Seconds since the work looked here, or began."""
        return monotonic() - self._seen

    def late(self) -> bool:
        """Whether the time is over in which the work should be done."""
        return monotonic() > self.until


class Threads:
    """One pool. Used from one event loop.

    ``threads`` work at the same time. Work that hangs in the system, so that it does not look at its ``Stop`` any more,
    is none of them: what hangs is its tenant's loss. Up to ``most`` threads are there for both together.
    """

    def __init__(
        self, name: str, *, threads: int = THREADS, at_once: int = AT_ONCE, most: int = MOST_THREADS
    ) -> None:
        self._name = name
        self._threads = threads
        self._at_once = at_once
        self._most = most
        self._pool: ThreadPoolExecutor | None = None
        self._turns = asyncio.Semaphore(threads)
        self._places: dict[int, _Places] = {}

    async def run(self, tenant_id: int, stop: Stop, work: Callable[[], T]) -> T:
        """Run ``work`` in a thread once the tenant has a place. Cancelled, it asks the work to stop."""
        places = self._places.setdefault(tenant_id, _Places(self._at_once))
        places.users += 1
        try:
            await places.turns.acquire()
        except BaseException:
            self._leave(tenant_id, places)
            raise
        try:
            await self._turns.acquire()
        except BaseException:
            self._free(tenant_id, places)
            raise
        loop = asyncio.get_running_loop()
        turn = _Turn(self._turns, stop, loop)

        def ended(_: Future[Any]) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended: nobody waits for a place
                loop.call_soon_threadsafe(self._end, tenant_id, places, turn)

        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._most, thread_name_prefix=self._name)
        started = self._pool.submit(work)
        started.add_done_callback(ended)
        try:
            return await asyncio.wrap_future(started)
        except asyncio.CancelledError:
            stop.ask()
            raise

    def close(self) -> None:
        """Let the threads end with their work. The pool may be used again."""
        pool, self._pool = self._pool, None
        self._turns = asyncio.Semaphore(self._threads)
        if pool is not None:
            pool.shutdown(wait=False, cancel_futures=True)

    def _end(self, tenant_id: int, places: _Places, turn: _Turn) -> None:
        turn.end()
        self._free(tenant_id, places)

    def _free(self, tenant_id: int, places: _Places) -> None:
        places.turns.release()
        self._leave(tenant_id, places)

    def _leave(self, tenant_id: int, places: _Places) -> None:
        places.users -= 1
        if not places.users:
            self._places.pop(tenant_id, None)


class _Places:
    """The places of one tenant, and how many hold or want one."""

    __slots__ = ("turns", "users")

    def __init__(self, at_once: int) -> None:
        self.turns = asyncio.Semaphore(at_once)
        self.users = 0


class _Turn:
    """A turn among all tenants, given back when the work ends, or hangs."""

    __slots__ = ("_looking", "_loop", "_stop", "_turns")

    def __init__(self, turns: asyncio.Semaphore, stop: Stop, loop: asyncio.AbstractEventLoop) -> None:
        self._turns: asyncio.Semaphore | None = turns
        self._stop = stop
        self._loop = loop
        stop.touch()
        self._looking = loop.call_later(HUNG_SECONDS, self._look)

    def end(self) -> None:
        """Give the turn back, once."""
        self._looking.cancel()
        turns, self._turns = self._turns, None
        if turns is not None:
            turns.release()

    def _look(self) -> None:
        left = HUNG_SECONDS - self._stop.idle()
        if left <= 0:
            self.end()
        else:
            self._looking = self._loop.call_later(left, self._look)
