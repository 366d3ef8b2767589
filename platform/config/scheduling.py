"""When scheduled work is due. A clock that is set back does not silence it until the old time has come again."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from celery.beat import PersistentScheduler

_AHEAD: Final = timedelta(seconds=1)
"""Of another process's clock that wrote the file of last runs, so much is none."""


class SteadyScheduler(PersistentScheduler):  # type: ignore[misc] # Celery has no types
    """Celery's own, that takes a last run in the future for one that is just now."""

    def tick(self, *args: Any, **values: Any) -> float:
        """See Celery's ``Scheduler``."""
        for entry in self.schedule.values():
            now = entry.default_now()
            if entry.last_run_at > now + _AHEAD:
                entry.last_run_at = now
                # It holds when each is due, by the time that is over.
                self._heap = None
        seconds: float = super().tick(*args, **values)
        return seconds
