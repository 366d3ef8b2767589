"""Records on their way into the log, and the bounded queue where they wait for their batch. Writes nothing."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence, Set
from typing import Final

from core.errors import Unavailable
from tenants.audit.records import Entry
from tenants.audit.statements import Cells, cells_of

BATCH_RECORDS: Final = 1_024
BATCH_BYTES: Final = 4 * 1024 * 1024
QUEUE_RECORDS: Final = 8_192
QUEUE_BYTES: Final = 64 * 1024 * 1024

ADMITTED: Final = 0.75
"""Up to this share of the queue new work is begun. The rest is for the records of what has run already."""


class Waiting:
    """A record on its way: its packed columns, who waits for it, and (in a batch) its place in the chain."""

    __slots__ = ("at_us", "body", "cells", "done", "hash", "seq", "since", "tenant_id")

    def __init__(
        self, tenant_id: int, entry: Entry, body: bytes, done: asyncio.Future[int], since: float
    ) -> None:
        self.tenant_id = tenant_id
        self.at_us = entry.at
        self.body = body
        self.cells: Cells = cells_of(tenant_id, entry, body)
        self.done = done
        self.since = since
        self.seq = 0
        self.hash = b""

    @property
    def refused(self) -> bool:
        """Whether its caller was told no. (A caller who left is not: the record is still written.)"""
        return self.done.done() and not self.done.cancelled()

    def answer(self) -> None:
        """Tell its caller that it is on disk."""
        if not self.done.done():
            self.done.set_result(self.seq)

    def refuse(self) -> None:
        """Tell its caller that it could not be written."""
        if not self.done.done():
            self.done.set_exception(unavailable())


class Queue:
    """What waits for the next batch, first come first served. Refused records are left out as they come up.

    It takes no record beyond ``most``.
    """

    __slots__ = ("_bytes", "_most", "_waiting")

    def __init__(self, most: int = QUEUE_RECORDS) -> None:
        self._most = most
        self._waiting: deque[Waiting] = deque()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def is_full(self) -> bool:
        """Whether not one more record is taken."""
        return len(self._waiting) >= self._most or self._bytes >= QUEUE_BYTES

    @property
    def is_filling(self) -> bool:
        """Whether no new work should be begun: what is left is kept for the records of work under way."""
        return len(self._waiting) >= self._most * ADMITTED or self._bytes >= QUEUE_BYTES * ADMITTED

    def add(self, waiting: Waiting) -> int:
        """Put one at the end. How many wait now."""
        self._waiting.append(waiting)
        self._bytes += len(waiting.body)
        return len(self._waiting)

    def put_back(self, batch: Sequence[Waiting]) -> None:
        """Put a batch back to the front, in its order."""
        kept = [waiting for waiting in batch if not waiting.refused]
        self._waiting.extendleft(reversed(kept))
        self._bytes += sum(len(waiting.body) for waiting in kept)

    def take_batch(self, held: Set[int]) -> list[Waiting]:
        """The next records to write. Of tenants whose heads are ``held`` by somebody else, one record each."""
        batch: list[Waiting] = []
        aside: list[Waiting] = []
        tried: set[int] = set()
        size = 0
        while self._waiting and len(batch) < BATCH_RECORDS and size < BATCH_BYTES:
            waiting = self._take()
            if waiting.refused:
                continue
            if waiting.tenant_id in held:
                # One record is enough to try; the rest must not crowd out the other tenants.
                if waiting.tenant_id in tried:
                    aside.append(waiting)
                    continue
                tried.add(waiting.tenant_id)
            batch.append(waiting)
            size += len(waiting.body)
        self.put_back(aside)
        return batch

    def refuse_overdue(self, since: float) -> None:
        """Refuse what has waited from ``since`` or longer."""
        while self._waiting and (self._waiting[0].since <= since or self._waiting[0].refused):
            self._take().refuse()

    def refuse_all(self) -> None:
        """Refuse everything that waits."""
        while self._waiting:
            self._take().refuse()

    def _take(self) -> Waiting:
        waiting = self._waiting.popleft()
        self._bytes -= len(waiting.body)
        return waiting


def unavailable() -> Unavailable:
    """The one answer while the log cannot be written."""
    return Unavailable(
        "The log cannot be written now, so calls are refused. Try again in a moment; if it stays so, "
        "an operator should look at the database.",
        code="log_unavailable",
    )
