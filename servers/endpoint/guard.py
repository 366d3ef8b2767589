"""Comes by at every request that is being served, one timer for all of them. Knows nothing of what it calls."""

from __future__ import annotations

import asyncio
import logging
from typing import Final, Protocol

ROUND_SECONDS: Final = 0.05
"""A request that is answered within a round needs no watch: most are. A timer for each would cost it 1 µs."""

logger = logging.getLogger(__name__)


class Watched(Protocol):
    """Something that takes a while, perhaps."""

    def look(self) -> bool:
        """The guard comes by. Says whether it need not come again."""
        ...


class Guard:
    """One a process, on one event loop."""

    def __init__(self) -> None:
        self._watched: dict[Watched, None] = {}
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, watched: Watched) -> None:
        """Come by from now on, until ``forget`` or until it says that it is enough."""
        self._watched[watched] = None
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(ROUND_SECONDS, self._round)

    def forget(self, watched: Watched) -> None:
        """Come by no more."""
        self._watched.pop(watched, None)

    def _round(self) -> None:
        self._timer = None
        try:
            for watched in list(self._watched):
                if watched.look():
                    self._watched.pop(watched, None)
        except Exception:
            logger.exception("the guard stumbled")
        finally:
            if self._watched:
                self._timer = asyncio.get_running_loop().call_later(ROUND_SECONDS, self._round)
