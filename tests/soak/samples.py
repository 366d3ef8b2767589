"""Samples what a running Marina holds, and says whether that grew. Makes no load.

Growth is judged by medians: that of the run's last quarter against that of its second. The first quarter is warm-up
(caches fill, pools open, Python's allocator finds its size), and a median forgets what a busy moment added. So the
verdict does not depend on how fast the machine is, only on whether the same work leaves something behind.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from statistics import median
from typing import Final

import psutil
import psycopg
from redis import Redis

SOON_SECONDS: Final = 600
"""A key that Redis drops within this time leaves nothing behind: replayable events, answered questions."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What was held at one moment. RSS and files are of the process that holds most."""

    rss_mb: float
    files: float
    connections: float
    lasting_keys: float
    keys: float


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How much more is still flat: the larger of a share and an amount."""

    share: float
    amount: float

    def allows(self, before: float, after: float) -> bool:
        return after - before <= max(self.share * before, self.amount)


TOLERANCES: Final = {
    # Memory that is freed is not always given back; one arena more or less is no leak.
    "rss_mb": Tolerance(0.06, 8),
    # Connections of clients are files too, and there are as many as the load has in flight.
    "files": Tolerance(0.10, 12),
    # Pools open a connection where two calls met that had not met before.
    "connections": Tolerance(0.10, 4),
    # Sessions in use at the moment, and one key each of a few tenants.
    "lasting_keys": Tolerance(0.10, 24),
}


def take_sample(pids: Sequence[int], postgres: psycopg.Connection[tuple[int]], redis: Redis) -> Sample:
    """Look at the processes, their connections in PostgreSQL, and the keys in Redis."""
    processes = [psutil.Process(pid) for pid in pids]
    row = postgres.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    ).fetchone()
    assert row is not None
    lasting, total = _count_keys(redis)
    return Sample(
        rss_mb=max(process.memory_info().rss for process in processes) / 1e6,
        files=max(process.num_fds() for process in processes),
        connections=row[0],
        lasting_keys=lasting,
        keys=total,
    )


def _count_keys(redis: Redis) -> tuple[int, int]:
    names = list(redis.scan_iter(count=1000))
    with redis.pipeline(transaction=False) as pipe:
        for name in names:
            pipe.ttl(name)
        lives = pipe.execute()
    return sum(life == -1 or life > SOON_SECONDS for life in lives), len(names)


def judge(samples: Sequence[Sample]) -> tuple[str, list[str]]:
    """The table to print, and what grew."""
    quarter = len(samples) // 4
    assert quarter, f"{len(samples)} samples are too few to judge by"
    second, last = samples[quarter : 2 * quarter], samples[-quarter:]
    lines, grew = [f"{'':14}{'first':>10}{'2nd quarter':>13}{'last quarter':>14}"], []
    for field in fields(Sample):
        before = median(getattr(sample, field.name) for sample in second)
        after = median(getattr(sample, field.name) for sample in last)
        first = getattr(samples[0], field.name)
        lines.append(f"{field.name:14}{first:>10.1f}{before:>13.1f}{after:>14.1f}")
        tolerance = TOLERANCES.get(field.name)
        if tolerance is not None and not tolerance.allows(before, after):
            grew.append(f"{field.name} grew from {before:.1f} to {after:.1f}")
    return "\n".join(lines), grew
