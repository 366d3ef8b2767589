"""Where a statement's text is parsed: a short one at once, a long one in a thread. Knows no database."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

from core.beside import Beside

T = TypeVar("T")

AT_ONCE: Final = 1_024
"""Characters. Parsing takes up to 8 µs each, and nobody else runs meanwhile: 60,000 held the loop for half a second."""


class Reading:
    """One object for the sources of one kind, on one event loop. Long texts are read one after another, one of each
    team's at a time.

    Their thread works in Python, beside the loop: more of them would leave that a smaller share (three held it for
    40 ms at a time, six for 170). So what nobody waits for any more keeps the thread until it is done.
    """

    def __init__(self) -> None:
        self._beside = Beside("sql-reading")

    async def read(self, sql: str, work: Callable[[], T], *, team: int) -> T:
        """What ``work`` makes of the text, and raises. ``team`` is whose it is."""
        if len(sql) <= AT_ONCE:
            return work()
        return await self._beside.run(work, team=team)
