"""What is said of tasks between processes: one channel a task, of hints. Who must not miss one looks at the row."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

import orjson
from redis.exceptions import RedisError

from core.bus import Bus

CHANGED: Final = "changed"
"""The task's row has changed: its state, or what it asks."""

PROGRESS: Final = "progress"
LOG: Final = "log"

ALL: Final = "marina:tasks"
"""Where the ids of tasks are said whose rows have changed."""

CANCEL: Final = "marina:task-cancel"
"""Workers hear here the ids of tasks that are to be cancelled."""

MAX_BYTES: Final = 64 * 1024
"""Of one hint. What is larger is left out."""


def channel_of(task_id: UUID) -> str:
    """Where those who wait for a task listen."""
    return f"marina:task:{task_id}"


async def tell(bus: Bus, task_id: UUID, what: str, details: Mapping[str, Any] | None = None) -> None:
    """Say something of a task to whoever waits for it."""
    try:
        message = orjson.dumps([what, details or {}], default=str)
    except TypeError:
        # What no JSON can say (half of a pair) is left out: it is a hint.
        message = orjson.dumps([CHANGED, {}])
    if len(message) <= MAX_BYTES:
        with contextlib.suppress(RedisError, OSError):
            if what == CHANGED:
                await bus.publish(ALL, str(task_id))
            await bus.publish(channel_of(task_id), message)


async def tell_workers(bus: Bus, task_id: UUID) -> None:
    """Have the worker that runs a task look whether it is to be cancelled."""
    with contextlib.suppress(RedisError, OSError):
        await bus.publish(CANCEL, str(task_id))


def read(message: bytes) -> tuple[str, Mapping[str, Any]]:
    """What was said."""
    what, details = orjson.loads(message)
    return str(what), details
