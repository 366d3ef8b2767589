"""Where things run: the measured server alone on one core, everything else on another. Linux only; else as it comes."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_QUIET: Final = 0.5


@dataclass(frozen=True, slots=True)
class Cores:
    """The core of the measured server, and the one of load, database and Redis. None where nothing is pinned."""

    server: int | None
    rest: int | None

    def describe(self) -> str:
        """One line for the head of the tables."""
        if self.server is None:
            return "nothing is pinned to a core here, so figures vary more"
        return f"server on core {self.server}; PostgreSQL, Redis and wrk on core {self.rest}"


def choose_cores() -> Cores:
    """The first two cores that we may use."""
    if not hasattr(os, "sched_getaffinity"):
        return Cores(None, None)
    usable = sorted(os.sched_getaffinity(0))
    return Cores(usable[0], usable[1]) if len(usable) > 1 else Cores(None, None)


def stay_on(core: int | None) -> None:
    """Move this thread, and what it starts from now on, to a core."""
    if core is not None:
        os.sched_setaffinity(0, {core})


@contextmanager
def starting_on(core: int | None, *, back_to: int | None) -> Iterator[None]:
    """Processes started inside run on ``core`` from their first instruction."""
    stay_on(core)
    try:
        yield
    finally:
        stay_on(back_to)


def describe_machine() -> str:
    """Processor and interpreter, for the head of the tables."""
    model = platform.processor() or platform.machine()
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8") as lines:
            model = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return f"{model}, {os.cpu_count()} cores, Python {platform.python_version()}"


def find_other_load() -> str | None:
    """A warning when other programs keep the machine busy; ask before anything of ours runs."""
    if not hasattr(os, "getloadavg"):
        return None
    waiting = os.getloadavg()[0]
    if waiting < _QUIET:
        return None
    return f"OTHER PROGRAMS ARE RUNNING (load average {waiting:.1f}): absolute figures will be too low."
