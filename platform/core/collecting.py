"""Keeps Python's collector from work that everybody would wait for: it looks at objects with all threads stopped.

It counts objects that are made, less those that are gone again, looks at all new ones when they are ten thousand, and
at what is left of six such looks once more. Whoever made some hundred thousand objects of one document had it look
fifty times, for up to 35 ms, and nothing was found. They are gone soon after the request.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from time import monotonic
from typing import Final

MANY_OBJECTS: Final = 500_000
"""Made in a ``bulk`` before the collector looks at them: what is no good in it takes 100 MB at most."""

LONG_SECONDS: Final = 0.1
"""What took less made few objects."""


class _Work:
    """How much of it is under way, and how often the collector looks without any."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.count = 0
        self.usual = gc.get_threshold()


_work: Final = _Work()


@contextmanager
def bulk(end_later: Callable[[Callable[[], None]], object] | None = None) -> Iterator[None]:
    """While the block runs, new objects are looked at when they are many. In any thread, any number at once.

    ``end_later`` has what it is given called some time after a block that took long: what that made may be held for a
    moment longer.
    """
    began = monotonic()
    with _work.lock:
        _work.count += 1
        if _work.count == 1:
            _work.usual = gc.get_threshold()
            gc.set_threshold(max(_work.usual[0], MANY_OBJECTS), *_work.usual[1:])
    try:
        yield
    finally:
        if end_later is None or monotonic() - began < LONG_SECONDS:
            _end()
        else:
            end_later(_end)


def _end() -> None:
    with _work.lock:
        _work.count -= 1
        if not _work.count:
            gc.set_threshold(*_work.usual)
