"""Tells of statements that took long: what ran, without a value in it, and how it ended. Keeps nothing itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from time import monotonic
from typing import Final

from core.errors import SourceError
from servers.execution.contract import SlowStatement

LONGEST: Final = 2_000
"""Characters of a statement that are told."""


@contextmanager
def timed(
    statements: Sequence[str],
    *,
    threshold: float,
    note: Callable[[SlowStatement], None],
    without_values: Callable[[str], str],
) -> Iterator[None]:
    """Note what the block did if it took ``threshold`` seconds or more, also where it failed.

    ``without_values`` writes a statement in one line, with a question mark for each value in its text.
    """
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
