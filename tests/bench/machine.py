"""Where things run: the measured server alone on one core, everything else on another. Linux only; else as it comes."""

from __future__ import annotations

import os
import platform
import resource
from collections.abc import Iterator, Sequence
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
    pair: tuple[int, ...] = ()
    """Where a server of two processes runs: beside the rest where there is room, else on the rest's core too."""

    def describe(self) -> str:
        """One line for the head of the tables."""
        if self.server is None:
            return "nothing is pinned to a core here, so figures vary more"
        return f"server on core {self.server}; PostgreSQL, Redis and wrk on core {self.rest}"

    def describe_pair(self) -> str:
        """One line on where a server of two processes runs."""
        if self.rest is None:
            return "two processes, pinned to no core"
        if self.rest in self.pair:
            return (
                f"two processes on cores {self.pair[0]} and {self.pair[1]}, which they share with PostgreSQL, Redis "
                "and wrk:\nwhat two processes do with a core each, this machine cannot show"
            )
        return f"two processes on cores {self.pair[0]} and {self.pair[1]}, with nothing else on them"


def choose_cores() -> Cores:
    """The first cores that we may use."""
    if not hasattr(os, "sched_getaffinity"):
        return Cores(None, None)
    return pick_cores(sorted(os.sched_getaffinity(0)))


def pick_cores(usable: Sequence[int]) -> Cores:
    """Who gets which of these cores: none is pinned where there is but one."""
    if len(usable) < 2:
        return Cores(None, None)
    return Cores(usable[0], usable[1], (usable[0], usable[2] if len(usable) > 2 else usable[1]))


def stay_on(*cores: int | None) -> None:
    """Move this thread, and what it starts from now on, to these cores; ``None`` stands for none."""
    named = {core for core in cores if core is not None}
    if named:
        os.sched_setaffinity(0, named)


@contextmanager
def starting_on(*cores: int | None, back_to: int | None) -> Iterator[None]:
    """Processes started inside run on these cores from their first instruction."""
    stay_on(*cores)
    try:
        yield
    finally:
        stay_on(back_to)


def allow_files(count: int) -> None:
    """Let this process have so many files open, as far as the system does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


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
