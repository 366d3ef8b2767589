"""Tells runners that a task waits: a list in Redis, of which each entry wakes one of those that have room.

A hint says nothing but that somebody should look. What waits is in the line: a hint that is lost is made up for by the
next look round (``LOOK_SECONDS``), one too many costs a look.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import ClassVar, Final

from redis.exceptions import RedisError

from core.bus import Bus
from servers.services.runtime import get_runtime

HINTS: Final = "marina:task-hints"

LOOK_SECONDS: Final = 1.0
"""How often a runner with room looks that was told nothing."""

_MOST: Final = 256
"""Of hints that are kept: where no runner takes them, more would tell it no more when it comes."""

Hint = Callable[[], None]
"""Sends one hint: called on the event loop, must return at once and raise nothing."""


def hint_soon() -> None:
    """Have a runner look. Must run on an event loop; returns at once."""
    if _Installed.hint is not None:
        _Installed.hint()


def use_hint(hint: Hint | None) -> Hint | None:
    """Send hints another way, or with ``None`` not at all. For tests that say themselves when runners look.

    Returns the way of before, for whoever puts it back.
    """
    before, _Installed.hint = _Installed.hint, hint
    return before


async def next_hint(bus: Bus) -> bool:
    """Wait for a hint, and for no longer than ``LOOK_SECONDS``. Whether one came."""
    try:
        async with asyncio.timeout(2 * LOOK_SECONDS):
            return await bus.redis.blpop([HINTS], timeout=LOOK_SECONDS) is not None
    except TimeoutError:
        return False
    except (RedisError, OSError):
        await asyncio.sleep(LOOK_SECONDS)
        return False


def _push_soon() -> None:
    task = asyncio.get_running_loop().create_task(_push(get_runtime().bus))
    # The loop holds tasks weakly: without this set one could vanish before it ran.
    _Installed.sending.add(task)
    task.add_done_callback(_Installed.sending.discard)


async def _push(bus: Bus) -> None:
    with contextlib.suppress(RedisError, OSError):
        pipe = bus.redis.pipeline(transaction=False)
        await pipe.rpush(HINTS, 1).ltrim(HINTS, -_MOST, -1).execute()


class _Installed:
    hint: ClassVar[Hint | None] = staticmethod(_push_soon)
    sending: ClassVar[set[asyncio.Task[None]]] = set()
