"""Tasks as they were seen last, for clients that ask again and again. Only of those that work: others count at once."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from time import monotonic
from typing import Final
from uuid import UUID

from core.bus import Bus
from core.finishing import heed
from servers.models import Task
from servers.services.reading import look_up, wait_for_look_up
from servers.services.tasks.rows import find_tasks
from servers.services.tasks.telling import ALL

SEEN_SECONDS: Final = 1.0
"""How long a change may go unnoticed that nobody was told of."""

MAX_SEEN: Final = 10_000


class _Batch:
    """What is asked for until the look at the database begins that is for all of it."""

    __slots__ = ("ids", "looking")

    def __init__(self) -> None:
        self.ids: set[UUID] = set()
        self.looking: asyncio.Task[dict[UUID, Task]] | None = None


class SeenTasks:
    """Rows by task, on one event loop. A change that is announced is seen at once.

    Of one team's tasks one look at the database is under way at a time, and the next one is for all that were asked for
    meanwhile: a thousand clients that ask at once are some looks, not a thousand.
    """

    def __init__(self, bus: Bus) -> None:
        self._seen: OrderedDict[UUID, tuple[float, Task]] = OrderedDict()
        self._next: dict[int, _Batch] = {}
        self._under_way: dict[int, asyncio.Task[dict[UUID, Task]]] = {}
        self._changes = 0
        bus.listen(ALL, self._heard, self.forget_all)

    async def find(self, tenant_id: int, task_id: UUID) -> Task | None:
        """A task of this team, as it is, or was a moment ago. Raises ``Unavailable``."""
        seen = self._seen.get(task_id)
        if seen is not None and monotonic() < seen[0] and seen[1].tenant_id == tenant_id:
            return seen[1]
        batch = self._next.get(tenant_id)
        if batch is None:
            batch = self._next[tenant_id] = _Batch()
        if batch.looking is None:
            before = self._under_way.get(tenant_id)
            batch.looking = asyncio.get_running_loop().create_task(self._look(tenant_id, batch, before))
            batch.looking.add_done_callback(heed)
        batch.ids.add(task_id)
        # Who goes away leaves it to the others that wait for the same look.
        return (await wait_for_look_up(asyncio.shield(batch.looking))).get(task_id)

    async def _look(
        self, tenant_id: int, batch: _Batch, before: asyncio.Task[dict[UUID, Task]] | None
    ) -> dict[UUID, Task]:
        if before is not None:
            await asyncio.wait([before])
        # Who asks from now on is for the next look: this one may be older than what they heard of.
        del self._next[tenant_id]
        if batch.looking is not None:
            self._under_way[tenant_id] = batch.looking
        changes = self._changes
        try:
            found = await look_up(find_tasks, tenant_id, batch.ids)
        finally:
            if tenant_id not in self._next:
                del self._under_way[tenant_id]
        for task in found.values():
            if task.status == Task.Status.WORKING and changes == self._changes:
                self._keep(task)
        return found

    def _keep(self, task: Task) -> None:
        self._seen[task.id] = monotonic() + SEEN_SECONDS, task
        self._seen.move_to_end(task.id)
        while len(self._seen) > MAX_SEEN:
            self._seen.popitem(last=False)

    def forget(self, task_id: UUID) -> None:
        """The task has changed."""
        self._changes += 1
        self._seen.pop(task_id, None)

    def forget_all(self) -> None:
        """Changes may have been missed."""
        self._changes += 1
        self._seen.clear()

    def _heard(self, message: bytes) -> None:
        try:
            self.forget(UUID(message.decode("ascii", "replace")))
        except ValueError:
            self.forget_all()
