"""``python -m core.doing``: does what it is given, one piece after another (``core.aside``). Knows no work.

Its standard input is a connection both ways. It says ``READY``, then each piece comes as a pickled function without
parameters, and goes back as a pickled pair: whether it was done, and what it gave or raised. Before that is ``MORE``,
or ``LAST`` where it takes no more since it has grown. ``ENDING`` says that nothing came for a while.
"""

from __future__ import annotations

import os
import pickle
import resource
import signal
import sys
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, Final

from core.memory import resident_bytes

READY: Final = b"ready"
ENDING: Final = b"ending"
MORE: Final = b"+"
LAST: Final = b"-"
PIECE_SECONDS: Final = 10
"""Of a processor, for one piece. The longest statement of SQL takes two seconds, with masks in it."""
CLOCK_SECONDS: Final = 55
"""For one piece, where others take the processors."""
IDLE_SECONDS: Final = 300.0
MEMORY_BYTES: Final = 1024 * 1024 * 1024
GROWN_BYTES: Final = 256 * 1024 * 1024

_MARGIN_SECONDS: Final = 2
"""Who waits for it ends it at its time. It ends itself where nobody does any more."""


def do(given: bytes) -> bytes:
    """What is to be told of a piece of work: whether it was done, and what came of it."""
    try:
        work: Callable[[], Any] = pickle.loads(given)  # noqa: S301 - from whoever started this
        told = True, work()
    except Exception as fault:  # noqa: BLE001 - whatever it is, it is raised where it was asked for
        # A traceback cannot go over. Its lines can.
        fault.add_note("".join(traceback.format_tb(fault.__traceback__)))
        told = False, fault
    try:
        return pickle.dumps(told)
    except (pickle.PicklingError, AttributeError, TypeError):
        return pickle.dumps((False, TypeError("what came of it cannot be told")))


def main() -> None:
    """Work until nobody wants anything."""
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    memory = MEMORY_BYTES if most == resource.RLIM_INFINITY else min(MEMORY_BYTES, most)
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with Connection(os.dup(sys.stdin.fileno())) as asking:
        asking.send_bytes(READY)
        while asking.poll(IDLE_SECONDS):
            try:
                given = asking.recv_bytes()
            except EOFError:
                return
            # What these two signals do by themselves ends the program, also in the middle of a parser in C.
            signal.setitimer(signal.ITIMER_PROF, PIECE_SECONDS)
            signal.alarm(CLOCK_SECONDS + _MARGIN_SECONDS)
            told = do(given)
            signal.alarm(0)
            signal.setitimer(signal.ITIMER_PROF, 0)
            has_grown = resident_bytes(os.getpid()) > GROWN_BYTES
            asking.send_bytes((LAST if has_grown else MORE) + told)
            if has_grown:
                return
        asking.send_bytes(ENDING)


if __name__ == "__main__":
    main()
