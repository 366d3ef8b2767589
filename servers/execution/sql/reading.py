"""Where a statement's text is parsed: a short one at once, a long one in a thread. Knows no database."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, TypeVar

T = TypeVar("T")

AT_ONCE: Final = 2_048
"""Characters. Parsing takes up to 8 µs each, and nobody else runs meanwhile: 60,000 held the loop for half a second."""


class Reading:
    """One object for the sources of one kind, on one event loop. Long texts are read one after another.

    Their thread works in Python, beside the loop: more of them would leave that a smaller share.
    """

    def __init__(self) -> None:
        self._turn = asyncio.Lock()

    async def read(self, sql: str, work: Callable[[], T]) -> T:
        """What ``work`` makes of the text, and raises."""
        if len(sql) <= AT_ONCE:
            return work()
        async with self._turn:
            return await asyncio.to_thread(work)
