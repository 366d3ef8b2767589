"""Tells workers that there is something to do. How that travels is registered from outside: services know no queue.

A hint says nothing but that somebody should look. One that is lost is made up for by the next look round.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ClassVar

from core.threads import run_sync

Hint = Callable[[], None]
"""Sends one hint. It must not raise when its transport is down."""


class _Installed:
    hint: ClassVar[Hint | None] = None
    sending: ClassVar[set[asyncio.Task[None]]] = set()


def use_hint(hint: Hint | None) -> None:
    """Name how hints reach the workers (``servers.apps`` does, at start), or ``None`` to stop."""
    _Installed.hint = hint


def hint_now() -> None:
    """Have a worker look, from a thread. Waits until that is said."""
    if _Installed.hint is not None:
        _Installed.hint()


def hint_soon() -> None:
    """Have a worker look. Must run on an event loop; returns at once."""
    if _Installed.hint is not None:
        task = asyncio.get_running_loop().create_task(run_sync(_Installed.hint))
        # The loop holds tasks weakly: without this set one could vanish before it ran.
        _Installed.sending.add(task)
        task.add_done_callback(_Installed.sending.discard)
