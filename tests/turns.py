"""Turns of a processor: whether a thread's are long, as Linux tells, and who leaves them to others."""

from __future__ import annotations

import os
from pathlib import Path

from core.turns import LONG_TURN_NS, take_long_turns


def step_back(thread: int = 0) -> None:
    """Leave the processors to all others: for what is on this machine only in a test. ``thread``: 0 for who calls."""
    os.setpriority(os.PRIO_PROCESS, thread, 19)
    take_long_turns(thread)


def has_long_turns(thread: int) -> bool:
    """``True`` where they cannot be chosen, too: Linux before 6.12, and other systems."""
    told = Path(f"/proc/{thread}/sched")
    version = os.uname().release.split("-")[0].split(".")[:2]
    if not told.exists() or tuple(int(part) for part in version) < (6, 12):
        return True
    lines = (line.split(":") for line in told.read_text().splitlines())
    return int(next(words[1] for words in lines if words[0].strip() == "se.slice")) == LONG_TURN_NS
