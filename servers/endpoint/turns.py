"""Work of the event loop that may be long: others have their turn in between. Knows no work."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Final

TURN_SECONDS: Final = 0.002


class Turns:
    """Of one piece of work, which begins now."""

    __slots__ = ("_since",)

    def __init__(self) -> None:
        self._since = monotonic()

    async def give_way(self) -> None:
        """Have others go on, where this went on for ``TURN_SECONDS``."""
        if monotonic() - self._since > TURN_SECONDS:
            await asyncio.sleep(0)
            self._since = monotonic()
