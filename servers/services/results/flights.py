"""Work that is done once for all calls that wait for it at the same time, in this process. Keeps no result.

Each call waits as long as it may: its deadline, or its client that goes away, ends its own waiting only. The work goes
on while anybody waits, and is cancelled with the last.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

from servers.execution.contract import Context
from servers.services.results.contexts import Company

T = TypeVar("T")

MAX_FLIGHTS: Final = 10_000
"""Works at once. What would be one more is done by itself."""

MAX_WAITING: Final = 1_000
"""Calls that wait for one work. The next begins another."""

Work = Callable[[Context], Awaitable[T]]


class TooLate(Exception):
    """The call's own time is up. The work may go on for others."""


class _Flight(Generic[T]):
    """One work, and who waits for it."""

    __slots__ = ("company", "task", "waiting")

    def __init__(self, work: Work[T]) -> None:
        self.company = Company()
        self.waiting: set[asyncio.Future[T]] = set()
        self.task = asyncio.ensure_future(work(self.company))

    def land(self) -> None:
        """Give everybody who waits what became of the work."""
        task = self.task
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
    """The works of one process that are under way, on one event loop."""

    def __init__(self) -> None:
        self._flying: dict[int, dict[bytes, _Flight[T]]] = {}
        self._all: set[asyncio.Future[T]] = set()

    async def join(
        self, tenant_id: int, key: bytes, work: Work[T], *, context: Context, timeout: float
    ) -> tuple[T, bool]:
        """The result of the work with this key, and whether another call had begun it.

        Raises what the work raises, to everybody alike, and ``TooLate`` after ``timeout`` seconds.
        """
        flight = self._flying.get(tenant_id, {}).get(key)
        joined = flight is not None and len(flight.waiting) < MAX_WAITING
        if flight is None or not joined:
            flight = self._begin(tenant_id, key, work)
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[T] = loop.create_future()
        flight.waiting.add(waiter)
        flight.company.join(context)
        timer = loop.call_later(timeout, _expire, waiter)
        try:
            return await waiter, joined
        except Exception as fault:  # noqa: BLE001 - handed on, not handled
            # One exception for all: none of them is to carry the way that another one took it.
            raise fault.with_traceback(None) from fault.__cause__
        finally:
            timer.cancel()
            flight.waiting.discard(waiter)
            flight.company.leave(context)
            if not flight.waiting and not flight.task.done():
                # Nobody may join a work that is being cancelled.
                self._part(tenant_id, key, flight)
                flight.task.cancel()

    def begin_anew(self, tenant_id: int) -> None:
        """Something may have changed: what a call asks for from now on is not of work that began before."""
        self._flying.pop(tenant_id, None)

    async def close(self) -> None:
        """Cancel what is under way."""
        under_way = list(self._all)
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)

    def _begin(self, tenant_id: int, key: bytes, work: Work[T]) -> _Flight[T]:
        flight = _Flight(work)
        self._all.add(flight.task)
        if len(self._all) <= MAX_FLIGHTS:
            self._flying.setdefault(tenant_id, {})[key] = flight
        flight.task.add_done_callback(lambda _: self._land(tenant_id, key, flight))
        return flight

    def _land(self, tenant_id: int, key: bytes, flight: _Flight[T]) -> None:
        self._all.discard(flight.task)
        self._part(tenant_id, key, flight)
        flight.land()

    def _part(self, tenant_id: int, key: bytes, flight: _Flight[T]) -> None:
        flights = self._flying.get(tenant_id)
        if flights is not None and flights.get(key) is flight:
            del flights[key]
            if not flights:
                del self._flying[tenant_id]


def _expire(waiter: asyncio.Future[T]) -> None:
    if not waiter.done():
        waiter.set_exception(TooLate())
