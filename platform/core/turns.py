"""Turns of a processor that end when others want it: for what computes for long while others wait for less."""

from __future__ import annotations

import ctypes
import os
import platform
import struct
from typing import Final

LONG_TURN_NS: Final = 100_000_000
"""The longest that Linux takes (sched_setattr(2))."""

_NUMBERS: Final = {"x86_64": 314, "aarch64": 274}
"""Of the system call, by machine: the C library has had no function for it until glibc 2.41."""
_ATTRIBUTES: Final = struct.Struct("=IIQiIQQQ")
"""``struct sched_attr``: its size, policy, flags, niceness, priority of real time, runtime, deadline, period."""


def take_long_turns(thread: int = 0) -> bool:
    """Have a thread's turns end as soon as another one wakes up whose are shorter: all that did not ask for this.

    Since Linux 6.12 a thread that runs keeps the processor until its turn is over, 1.4 ms and more, whoever wakes up
    and however nice it is; unless the other one's turns are shorter (Documentation/scheduler/sched-eevdf.rst). What is
    long computes in long ones, then: nobody waits for their end, and it loses nothing where nobody else is there.

    ``thread``: its number; 0 for who calls, and who is begun by it. ``False``: it stays as it was, as where the system
    knows no such thing. An older Linux takes no notice.
    """
    number = _NUMBERS.get(platform.machine())
    if number is None or not hasattr(os, "sched_getscheduler"):
        return False
    try:
        policy, nice = os.sched_getscheduler(thread), os.getpriority(os.PRIO_PROCESS, thread)
    except OSError:
        return False
    wanted = _ATTRIBUTES.pack(_ATTRIBUTES.size, policy, 0, nice, 0, LONG_TURN_NS, 0, 0)
    call = ctypes.CDLL(None).syscall
    refused: int = call(ctypes.c_long(number), ctypes.c_long(thread), wanted, ctypes.c_long(0))
    return not refused
