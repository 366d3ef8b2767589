"""Where a statement's text is parsed: a short one at once, a long one in a thread or a program. Knows no database."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

from core.aside import Aside, GaveUp
from core.beside import Beside
from core.errors import SourceError

T = TypeVar("T")

AT_ONCE: Final = 1_024
"""Characters. Parsing takes up to 8 µs each, and nobody else runs meanwhile: 60,000 held the loop for half a second."""
IN_THREAD: Final = 8_192
"""Characters of what a thread parses, which has the interpreter in turn with the loop. A program costs 60 MB and half a
second, once."""


class Reading:
    """One object for the sources of one kind, on one event loop. Long texts are read one after another, one of each
    team's at a time.

    Their thread works in Python, beside the loop: more of them would leave that a smaller share (three held it for
    40 ms at a time, six for 170). So what nobody waits for any more keeps the thread until it is done.
    """

    def __init__(self) -> None:
        self._beside = Beside("sql-reading")
        self._aside = Aside("sql-reading-aside")

    async def read(self, sql: str, work: Callable[[], T], *, team: int) -> T:
        """What ``work`` makes of the text, and raises; all of it can be pickled. ``team`` is whose it is."""
        if len(sql) <= AT_ONCE:
            return work()
        if len(sql) <= IN_THREAD:
            return await self._beside.run(work, team=team)
        try:
            return await self._aside.run(work, team=team)
        except GaveUp:
            raise SourceError(
                "The statement takes more time or memory to read than there is for one. Make it shorter.",
                code="query_refused",
                data={"rule": "sql.length"},
            ) from None

    def close(self) -> None:
        """Let the thread and the program go. May be used again."""
        self._beside.close()
        self._aside.close()
