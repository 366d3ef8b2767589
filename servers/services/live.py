"""Tells open pages that calls arrived: at most one hint a tenant every 500 ms. Never delays or fails a call.

A hint carries no data. How it travels is registered from outside (``use_sender``), for services know no
Channels; with no sender, hints go nowhere and pages ask from time to time instead.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from time import monotonic
from typing import Any, ClassVar, Final

HINT_INTERVAL: Final = 0.5
"""Seconds between two hints to one tenant's pages."""

WATCHING: Final = "marina:watching"
"""Channel of the bus on which open pages say that they are there: the tenant's id, every ``SEEN_SECONDS``."""

SEEN_SECONDS: Final = 20.0

_FORGOTTEN_SECONDS: Final = 2.5 * SEEN_SECONDS

Sender = Callable[[int], Coroutine[Any, Any, None]]
"""Sends one hint to a tenant's open pages. It must not raise when its transport is down."""


class Hints:
    """Throttles hints: the first goes at once, those that follow within the interval become one at its end."""

    def __init__(self, sender: Sender, *, interval: float = HINT_INTERVAL) -> None:
        self._sender = sender
        self._interval = interval
        self._resting: dict[int, bool] = {}
        self._sending: set[asyncio.Task[None]] = set()

    def notify(self, tenant_id: int) -> None:
        """Note that a call of this tenant was recorded. Must run on an event loop; returns at once."""
        if tenant_id in self._resting:
            self._resting[tenant_id] = True
            return
        self._send(tenant_id)

    def _send(self, tenant_id: int) -> None:
        loop = asyncio.get_running_loop()
        self._resting[tenant_id] = False
        loop.call_later(self._interval, self._rested, tenant_id)
        task = loop.create_task(self._sender(tenant_id))
        # The loop holds tasks weakly: without this set one could vanish before it ran.
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    def _rested(self, tenant_id: int) -> None:
        if self._resting.pop(tenant_id):
            self._send(tenant_id)


class _Installed:
    hints: ClassVar[Hints | None] = None
    watched: ClassVar[dict[int, float]] = {}
    """Tenants with open pages somewhere, and until when they count as open."""


def note_watched(message: bytes) -> None:
    """An open page of a tenant said that it is there: hints for that tenant have somebody to reach."""
    if message.isdigit():
        now = monotonic()
        watched = _Installed.watched
        watched[int(message)] = now + _FORGOTTEN_SECONDS
        for tenant_id in [each for each, until in watched.items() if until < now]:
            del watched[tenant_id]


def use_sender(sender: Sender | None) -> None:
    """Name how hints reach this process's peers (``config/asgi.py`` does, at start), or ``None`` to stop."""
    _Installed.hints = None if sender is None else Hints(sender)


def notify_calls(tenant_id: int) -> None:
    """Hint to a tenant's open pages, if there are any, that its log grew. Call it on the process's event loop."""
    if tenant_id not in _Installed.watched or _Installed.hints is None:
        return
    if _Installed.watched[tenant_id] < monotonic():
        del _Installed.watched[tenant_id]
    else:
        _Installed.hints.notify(tenant_id)
