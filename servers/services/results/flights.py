"""Work that is done once for all calls that wait for it at the same time, in this process. Keeps no result.

Each call waits as long as it may: its deadline, or its client that goes away, ends its own waiting only. The work goes
on while anybody waits, and is cancelled with the last.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final, Generic, TypeVar

from core.finishing import stop
from servers.execution.contract import Context
from servers.services.results.contexts import Company

T = TypeVar("T")

MAX_FLIGHTS: Final = 10_000
"""Works at once. What would be one more is joined by nobody."""

MAX_WAITING: Final = 1_000
"""Calls that wait for one work. The next begins another."""

Work = Callable[[Context], Coroutine[Any, Any, T]]


class TooLate(Exception):
    """The call's own time is up. The work may go on for others."""


class Flight(Generic[T]):
    """One work, and who waits for it: a future each."""

    __slots__ = ("company", "key", "task", "tenant_id", "waiting")

    task: asyncio.Task[T]

    def __init__(self, tenant_id: int, key: bytes) -> None:
        self.tenant_id = tenant_id
        self.key = key
        self.company = Company()
        self.waiting: list[asyncio.Future[T]] = []

    def land(self, task: asyncio.Task[T]) -> None:
        """Give everybody who waits what became of the work."""
        fault = None if task.cancelled() else task.exception()
        for waiter in self.waiting:
            if waiter.done():
                continue
            if task.cancelled():
                waiter.cancel()
            elif fault is not None:
                waiter.set_exception(fault)
            else:
                waiter.set_result(task.result())


class Flights(Generic[T]):
    """The works of one process that are under way, on one event loop. ``longest``: what a work takes at most."""

    def __init__(self, *, longest: float) -> None:
        self._longest = longest
        self._flying: dict[int, dict[bytes, Flight[T]]] = {}
        self._all: set[Flight[T]] = set()

    async def join(
        self, tenant_id: int, key: bytes, work: Work[T], *, context: Context, timeout: float
    ) -> tuple[T, bool]:
        """The result of the work with this key, and whether another call had begun it.

        Raises what the work raises, to everybody alike, and ``TooLate`` after ``timeout`` seconds.
        """
        loop = asyncio.get_running_loop()
        flights = self._flying.get(tenant_id)
        flight = None if flights is None else flights.get(key)
        joined = flight is not None and len(flight.waiting) < MAX_WAITING
        if flight is None or not joined:
            flight = Flight(tenant_id, key)
            flight.task = loop.create_task(work(flight.company))
            flight.task.add_done_callback(lambda task: self._land(flight, task))
            self._all.add(flight)
            if len(self._all) <= MAX_FLIGHTS:
                self._flying.setdefault(tenant_id, {})[key] = flight
        waiter: asyncio.Future[T] = loop.create_future()
        flight.waiting.append(waiter)
        flight.company.join(context)
        # Who may wait as long as any work takes needs no clock of their own.
        timer = None if timeout >= self._longest else loop.call_later(timeout, _expire, waiter)
        try:
            return await waiter, joined
        except Exception as fault:  # noqa: BLE001 - handed on, not handled
            # One exception for all: none of them is to carry the way that another one took it.
            raise fault.with_traceback(None) from fault.__cause__
        finally:
            if timer is not None:
                timer.cancel()
            flight.waiting.remove(waiter)
            flight.company.leave(context)
            if not flight.waiting and not flight.task.done():
                # Nobody may join a work that is being cancelled.
                self._part(flight)
                flight.task.cancel()

    def begin_anew(self, tenant_id: int) -> None:
        """Something may have changed: what a call asks for from now on is not of work that began before."""
        self._flying.pop(tenant_id, None)

    async def close(self) -> None:
        """Cancel what is under way."""
        under_way = [flight.task for flight in self._all]
        await stop(*under_way)

    def _land(self, flight: Flight[T], task: asyncio.Task[T]) -> None:
        self._all.discard(flight)
        self._part(flight)
        flight.land(task)

    def _part(self, flight: Flight[T]) -> None:
        flights = self._flying.get(flight.tenant_id)
        if flights is not None and flights.get(flight.key) is flight:
            del flights[flight.key]
            if not flights:
                del self._flying[flight.tenant_id]


def _expire(waiter: asyncio.Future[T]) -> None:
    if not waiter.done():
        waiter.set_exception(TooLate())
