"""Where a statement's text is parsed: a short one at once, a long one in a thread or a program. Knows no database."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

from core.aside import Aside, GaveUp, NotThere
from core.beside import Beside
from core.errors import SourceError

T = TypeVar("T")

AT_ONCE: Final = 1_024
"""Characters. Parsing takes up to 8 µs each, and nobody else runs meanwhile: 60,000 held the loop for half a second."""
IN_THREAD: Final = 8_192
"""Characters of what a thread parses, which has the interpreter in turn with the loop. A program costs 60 MB and half a
second, once."""


_ASIDE: Final = Aside("sql-aside")


class Reading:
    """One object for the sources of one kind, on one event loop. Long texts are read one after another, one of each
    team's at a time.

    Their thread works in Python, beside the loop: more of them would leave that a smaller share (three held it for
    40 ms at a time, six for 170). So what nobody waits for any more keeps the thread until it is done. The program is
    that of all kinds of this process.
    """

    def __init__(self) -> None:
        self._beside = Beside("sql-reading")

    async def read(self, sql: str, work: Callable[[], T], *, team: int, together: int = 0) -> T:
        """What ``work`` makes of the text, and raises; all of it can be pickled. ``team`` is whose it is.

        ``together``: the characters of all that one call has read, where that is more than this text. Fifty short ones
        are a long one.
        """
        length = max(len(sql), together)
        if length <= AT_ONCE:
            return work()
        if length > IN_THREAD:
            try:
                return await _ASIDE.run(work, team=team)
            except GaveUp:
                raise SourceError(
                    "The statement takes more time or memory to read than there is for one just now. Make it shorter, "
                    "or try again when less is going on.",
                    code="query_refused",
                    data={"rule": "sql.length"},
                ) from None
            except NotThere:
                # Which was told to the log. Others wait for this one, as they would have.
                pass
        return await self._beside.run(work, team=team)
