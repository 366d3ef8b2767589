"""Does several things at the same moment, for tests of what holds however many ask at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TypeVar

from django.db import connection

T = TypeVar("T")


def apart(act: Callable[[], T]) -> Callable[[], T]:
    """The act, for a thread of its own: at its end the thread gives its connection back."""

    def run() -> T:
        try:
            return act()
        finally:
            connection.close()

    return run


def do_at_once(acts: Sequence[Callable[[], T]]) -> list[T]:
    """What each of the acts gave, begun together, each in a thread that gives its connection back."""
    start = Barrier(len(acts))

    def begin(act: Callable[[], T]) -> T:
        start.wait()
        return apart(act)()

    with ThreadPoolExecutor(len(acts)) as pool:
        return list(pool.map(begin, acts))
