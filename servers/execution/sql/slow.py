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
_LOOKED_AT: Final = 8_192
"""Characters of each that are looked at for them: reading all of 60,000 held the loop for 50 ms."""


@contextmanager
def timed(
    statements: Sequence[str],
    *,
    threshold: float,
    note: Callable[[SlowStatement], None],
    without_values: Callable[[str], str],
) -> Iterator[None]:
    """Note what the block did if it took ``threshold`` seconds or more, also where it failed.

    ``without_values`` writes a statement in one line, with a question mark for each value in its text. The text may
    end anywhere.
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
            note(SlowStatement(_shown(statements, without_values), round(seconds, 3), outcome))


def _shown(statements: Sequence[str], without_values: Callable[[str], str]) -> str:
    shown = ""
    for each in statements:
        shown += ("; " if shown else "") + without_values(each[:_LOOKED_AT])
        if len(shown) >= LONGEST:
            break
    return shown[:LONGEST]
