"""Tells of statements that took long: what ran, without a value in it, and how it ended. Keeps nothing itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from time import monotonic
from typing import Final

from core.errors import SourceError
from servers.execution.backends.postgres.syntax import Unreadable, scan_tokens
from servers.execution.contract import SlowStatement

LONGEST: Final = 2_000
"""Characters of a statement that are told."""

_VALUES: Final = frozenset({"SCONST", "USCONST", "BCONST", "XCONST", "ICONST", "FCONST"})
_COMMENTS: Final = frozenset({"C_COMMENT", "SQL_COMMENT"})


@contextmanager
def timed(
    statements: Sequence[str], *, threshold: float, note: Callable[[SlowStatement], None]
) -> Iterator[None]:
    """Note what the block did if it took ``threshold`` seconds or more, also where it failed."""
    started, outcome = monotonic(), "ok"
    try:
        yield
    except SourceError as fault:
        outcome = fault.code
        raise
    except BaseException:
        outcome = "cancelled"
        raise
    finally:
        seconds = monotonic() - started
        if seconds >= threshold:
            shown = "; ".join(without_values(each) for each in statements)
            note(SlowStatement(shown[:LONGEST], round(seconds, 3), outcome))


def without_values(sql: str) -> str:
    """The statement in one line, a question mark for each value in its text, and without comments."""
    try:
        tokens = scan_tokens(sql)
    except Unreadable:
        return "?"
    parts: list[str] = []
    end = 0
    for token in tokens:
        if token.name in _COMMENTS:
            continue
        if parts and token.start > end:
            parts.append(" ")
        parts.append("?" if token.name in _VALUES else sql[token.start : token.end + 1])
        end = token.end + 1
    return "".join(parts)
