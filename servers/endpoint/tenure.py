"""Whether what stands open may stay open: its credential is looked at anew from time to time. Closes nothing itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Final

from core.errors import Unavailable

CHECK_SECONDS: Final = 5.0
"""How long something may stay open after its credential has ended."""

OUTAGE_SECONDS: Final = 30.0
"""How long it outlasts that nobody can say whether its credential still holds."""


class Tenure:
    """Of one stream or connection. ``look`` raises ``MarinaError`` where its caller may not be served any more.

    Looked at by the clock, not by quiet: one that always has something to say is looked at as often.
    """

    def __init__(self, look: Callable[[], Awaitable[None]]) -> None:
        self._look = look
        self._known = self._checked = monotonic()

    @property
    def seconds_left(self) -> float:
        """How long until it is to be looked at again; 0: now."""
        return max(0.0, self._checked + CHECK_SECONDS - monotonic())

    async def check(self) -> None:
        """Raises ``MarinaError`` when it is over: ``Unavailable`` where nobody could say for too long whether it is."""
        self._checked = monotonic()
        try:
            await self._look()
        except Unavailable:
            if monotonic() - self._known >= OUTAGE_SECONDS:
                raise
        else:
            self._known = monotonic()
