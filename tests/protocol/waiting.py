"""Waits for what another thread or process brings about, and does something meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")

_SECONDS = 60.0


def wait_for(holds: Callable[[], bool], seconds: float = _SECONDS) -> None:
    """Ask again and again until it holds; fail when it does not within ``seconds``."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.02)


@contextmanager
def in_thread(work: Callable[[], T]) -> Iterator[Callable[[], T]]:
    """Do something meanwhile. What it gives is a function that waits for the result."""
    with ThreadPoolExecutor(1) as thread:
        doing = thread.submit(work)
        yield lambda: doing.result(_SECONDS)
