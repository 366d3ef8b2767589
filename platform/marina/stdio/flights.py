"""The requests under way, by their ids. Each is answered once; bounded in number and bytes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from marina.stdio.wire import Id, Message, id_key

MOST: Final = 1024
"""Requests under way or in line; beyond it, no more is read from the host."""
MOST_BYTES: Final = 64 * 1024 * 1024


@dataclass(slots=True, eq=False)
class Flight:
    """What one POST carries.

    Attributes:
        message: None for a batch.
        waiting: the ids that have no answer yet.
        offered_session: the session's id that came with the answer.
    """

    body: bytes
    message: Message | None
    waiting: dict[str, Id]
    offered_session: str | None = None
    task: asyncio.Task[None] | None = None

    @property
    def method(self) -> str | None:
        """What is asked for; None for a batch."""
        return self.message.method if self.message else None

    @property
    def is_modern(self) -> bool:
        """Whether it speaks 2026-07-28 or later."""
        return self.message is not None and self.message.version is not None


class Flights:
    """All of them."""

    def __init__(self) -> None:
        self._all: dict[Flight, None] = {}
        self._by_id: dict[str, Flight] = {}
        self._bytes = 0
        self._landed = asyncio.Event()

    def __iter__(self) -> Iterator[Flight]:
        return iter(list(self._all))

    def add(self, flight: Flight) -> None:
        """Remember a flight that begins."""
        self._all[flight] = None
        self._by_id |= dict.fromkeys(flight.waiting, flight)
        self._bytes += len(flight.body)

    def remove(self, flight: Flight) -> None:
        """Forget a flight that has ended. Forgets it once only."""
        if flight not in self._all:
            return
        del self._all[flight]
        for key in flight.waiting:
            self._by_id.pop(key, None)
        self._bytes -= len(flight.body)
        self._landed.set()

    def owner(self, request_id: object) -> Flight | None:
        """Who waits for the answer to ``request_id``."""
        return self._by_id.get(id_key(request_id))

    def find_taken(self, flight: Flight) -> Id | None:
        """An id of ``flight`` that another one has."""
        return next((request_id for key, request_id in flight.waiting.items() if key in self._by_id), None)

    def settle(self, flight: Flight, request_id: object) -> None:
        """``request_id`` is answered, or nobody waits for it any more."""
        flight.waiting.pop(id_key(request_id), None)
        self._by_id.pop(id_key(request_id), None)

    async def room(self) -> None:
        """Wait until there is room for one more."""
        while len(self._all) >= MOST or self._bytes >= MOST_BYTES:
            self._landed.clear()
            await self._landed.wait()
