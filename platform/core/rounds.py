"""Scheduled work that is not cheap: one round at a time, and none that was due long ago.

Where rounds take longer than it is until the next, or nothing was done for a while, hints lie in the queue that all
scheduled work shares. What they would do, one round does: the other hints find that it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final
from zlib import crc32

import psycopg
from celery import Task
from django.conf import settings

_PERIOD: Final = 0.8
"""As a share of what the schedule says: a hint that was taken late does not cost the one after it."""

_REST: Final = 0.2
"""So much of it lies between a round's end and the next, for other work; hints of meanwhile come to nothing."""

_LOCKS: Final = 0x726F756E
"""The first half of the numbers of this module's locks."""

# By the database's clock alone. A time that lies ahead was at a moment when that was wrong.
_BEGIN: Final = """
INSERT INTO core_round AS last (name, begun_at) VALUES (%(name)s, now())
ON CONFLICT (name) DO UPDATE SET begun_at = now(), ended_at = NULL
    WHERE last.begun_at NOT BETWEEN now() - make_interval(secs => %(period)s) AND now()
        AND (last.ended_at IS NULL OR last.ended_at NOT BETWEEN now() - make_interval(secs => %(rest)s) AND now())
"""


class InRounds(Task):  # type: ignore[misc] # Celery has no types
    """A task of the schedule that does nothing where its round is under way or was a moment ago.

    That holds for what comes out of the queue: called directly, it is done.
    """

    abstract = True

    def __call__(self, *args: Any, **values: Any) -> Any:
        """See Celery's ``Task``."""
        if self.request.called_directly:
            return super().__call__(*args, **values)
        with _round(self.name, self._seconds()) as ours:
            return self.run(*args, **values) if ours else None

    def _seconds(self) -> float:
        """How often it is due."""
        schedule = self.app.conf.beat_schedule.values()
        return min(float(entry["schedule"]) for entry in schedule if entry["task"] == self.name)


@contextmanager
def _round(name: str, seconds: float) -> Iterator[bool]:
    """Whether a round of what is due so often begins here, and is over when the block is.

    On a connection of its own, and not the pool's: whatever becomes of the process, the lock goes with it.
    """
    values = {"name": name, "period": _PERIOD * seconds, "rest": _REST * seconds}
    dsn = settings.ENV.app_database_url
    with psycopg.connect(dsn, autocommit=True, connect_timeout=5, application_name="marina") as connection:
        row = connection.execute("SELECT pg_try_advisory_lock(%s, %s)", [_LOCKS, _half(name)]).fetchone()
        if row is None or not row[0] or connection.execute(_BEGIN, values).rowcount == 0:
            yield False
            return
        try:
            yield True
        finally:
            # A database that went away meanwhile has let go of the lock, and is no fault of the round's.
            with suppress(psycopg.OperationalError):
                connection.execute(
                    "UPDATE core_round SET ended_at = clock_timestamp() WHERE name = %s", [name]
                )


def _half(name: str) -> int:
    """A number for the name that PostgreSQL takes for an ``integer``."""
    return crc32(name.encode()) - (1 << 31)
