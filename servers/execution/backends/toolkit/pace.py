"""Keeps the data tools within their time, and out of the event loop's way. Knows none of them.

A little work is done at once. More is done in a thread, which lets go of the interpreter every few rows, so that
the loop waits for a fraction of a millisecond instead of for a thread's whole slice.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, TypeVar

from core.beside import Beside
from core.errors import SourceError
from servers.execution.amounts import holds_more

T = TypeVar("T")

MAX_SECONDS: Final = 10.0
"""Of work in the thread, for one call."""
MAX_AT_ONCE: Final = 2_000
"""Values in what a call is given that is worked on at once, on the event loop: a millisecond's worth."""
MAX_CHARACTERS_AT_ONCE: Final = 16_384

_ROWS_A_BREATH: Final = 32


class Pace:
    """How one call goes through its rows: it stops when its time is up, or nobody waits any more."""

    __slots__ = ("_beside", "_stopped", "_until")

    def __init__(self, seconds: float, *, beside: bool) -> None:
        self._until = time.monotonic() + seconds
        self._beside = beside
        self._stopped = False

    def each(self, items: Iterable[T]) -> Iterator[tuple[int, T]]:
        """The items with their numbers, counted from 1. Raises ``SourceError``."""
        for number, item in enumerate(items, 1):
            if number % _ROWS_A_BREATH == 0:
                self.breathe()
            yield number, item

    def breathe(self) -> None:
        """Let others work for a moment. Raises ``SourceError`` when the time is up."""
        if self._stopped or time.monotonic() > self._until:
            raise SourceError(
                f"The work was stopped after {MAX_SECONDS:g} s. Give it less data.", code="source_timeout"
            )
        if self._beside:
            # Not to wait: it lets go of the interpreter.
            time.sleep(0)

    def stop(self) -> None:
        """End the work at its next breath."""
        self._stopped = True


class Bench:
    """Where the work of all teams is done. What nobody waits for any more ends at its next breath."""

    def __init__(self) -> None:
        self._beside = Beside("marina-toolkit")

    async def run(self, work: Callable[[Pace], T], *, quick: bool, tenant_id: int, timeout: float) -> T:
        """Run ``work``, at once where it is ``quick``. ``timeout`` in seconds; the thread's own may be shorter."""
        if quick:
            return work(Pace(MAX_SECONDS, beside=False))
        pace: list[Pace] = []

        def begin() -> T:
            # Its time begins with its turn.
            pace.append(Pace(min(timeout, MAX_SECONDS), beside=True))
            return work(pace[0])

        try:
            return await self._beside.run(begin, team=tenant_id)
        except asyncio.CancelledError:
            if pace:
                pace[0].stop()
            raise

    def close(self) -> None:
        """Let the thread go; it ends what it does. The bench may be used again."""
        self._beside.close()


def is_little(given: Any) -> bool:
    """Whether a JSON value is small enough to work on at once. Looks at no more of it than that takes."""
    return not holds_more(given, MAX_AT_ONCE, characters=MAX_CHARACTERS_AT_ONCE)
