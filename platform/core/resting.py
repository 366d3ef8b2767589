"""Long work of a thread, in a process whose event loop others wait for: it stands still from time to time.

A thread and the loop share one interpreter, and the loop asks for it a dozen times a call. Beside a thread that never
rests each of these is a wait, and where calls come in faster than they then go, they queue.
"""

from __future__ import annotations

import threading
import time
from typing import Final

WORK_SECONDS: Final = 0.001
"""Of a processor's time, between two rests."""
REST_TIMES: Final = 3.0
"""For so many times as long as it worked."""


class _Thread(threading.local):
    """What one thread had used of a processor when it rested last."""

    used = 0.0


_thread: Final = _Thread()
_beside_a_loop = threading.Event()
_awake = threading.Event()


def begin_resting() -> None:
    """From now on there is a loop that others wait for, until the process ends."""
    if not _awake.is_set():
        _beside_a_loop.set()


def stay_awake() -> None:
    """Work on without rests: all who wait for this process's loop wait for such work themselves."""
    _awake.set()


def rest() -> None:
    """Stand still where this thread worked for long: to be called often, by what may go on for a tenth of a second."""
    if not _beside_a_loop.is_set():
        return
    used = time.thread_time()
    # The first of a piece of work is also of what the thread did before: that is bounded below.
    worked = used - _thread.used
    if worked >= WORK_SECONDS:
        time.sleep(min(worked, 10 * WORK_SECONDS) * REST_TIMES)
        _thread.used = time.thread_time()
