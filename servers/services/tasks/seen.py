"""Tasks as they were seen last, for clients that ask again and again. Only of those that work: others count at once."""

from __future__ import annotations

from collections import OrderedDict
from time import monotonic
from typing import Final
from uuid import UUID

from core.bus import Bus
from servers.models import Task
from servers.services.reading import look_up
from servers.services.tasks.rows import find_task
from servers.services.tasks.telling import ALL

SEEN_SECONDS: Final = 1.0
"""How long a change may go unnoticed that nobody was told of."""

MAX_SEEN: Final = 10_000


class SeenTasks:
    """Rows by task, on one event loop. A change that is announced is seen at once."""

    def __init__(self, bus: Bus) -> None:
        self._seen: OrderedDict[UUID, tuple[float, Task]] = OrderedDict()
        self._changes = 0
        bus.listen(ALL, self._heard, self.forget_all)

    async def find(self, tenant_id: int, task_id: UUID) -> Task | None:
        """A task of this team, as it is, or was a moment ago. Raises ``Unavailable``."""
        seen = self._seen.get(task_id)
        if seen is not None and monotonic() < seen[0] and seen[1].tenant_id == tenant_id:
            return seen[1]
        changes = self._changes
        task = await look_up(find_task, tenant_id, task_id)
        # What was read may be older than a change that was heard meanwhile.
        if task is not None and task.status == Task.Status.WORKING and changes == self._changes:
            self._seen[task_id] = monotonic() + SEEN_SECONDS, task
            self._seen.move_to_end(task_id)
            while len(self._seen) > MAX_SEEN:
                self._seen.popitem(last=False)
        return task

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
