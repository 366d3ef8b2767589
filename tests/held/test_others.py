"""Another team's calls while one sends bad input again and again: all are answered right. ``-rP`` shows their times.

How long they take is measured and not asserted; docs/performance.md says how, and what came of it. Windows with bad
input and without take turns, and either goes first, so that a slow minute of the machine meets both. On a virtual
machine, the host may take its processors away in the middle of a window: then that is the figure. What it took is
printed, and with ``MARINA_OTHERS_STOLEN`` a window of either sort in which it took more is left, and another begun.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from statistics import quantiles
from time import monotonic
from typing import Final

import pytest

from servers.services.sources import create_source
from tests.factories import make_team
from tests.held.bad_input import Bad, Place, forget
from tests.held.bad_upstreams import ALL_BAD

SECONDS: Final = float(os.environ.get("MARINA_OTHERS_SECONDS") or 0.5)
"""Of a window. Five and more give figures."""
ROUNDS: Final = int(os.environ.get("MARINA_OTHERS_ROUNDS") or 1)
PAUSE_SECONDS: Final = float(os.environ.get("MARINA_OTHERS_PAUSE") or min(1.0, SECONDS / 10))
"""Between an answer and the next bad input."""
STOLEN: Final = float(os.environ.get("MARINA_OTHERS_STOLEN") or 1.0)
"""The part of the processors that their host may take during a window that counts."""
TRIES: Final = 8
"""For a window that counts."""

HEAVY: Final = os.environ.get("MARINA_OTHERS_HEAVY") != "no"
"""Whether there is a heavy process, as in ``make run``."""

NOTHING: Final = "nothing bad"
INPUT: Final[dict[str, tuple[str, Bad]]] = {
    # What the others are held against.
    "a call that is right": ('"rows":', lambda at: at.call("api_get", endpoint="/right")),
    **ALL_BAD,
}
ROOT: Final = Path(__file__).resolve().parents[2]


@dataclass
class Windows:
    """Windows of one sort."""

    taken: list[float] = field(default_factory=list)
    """Milliseconds of each call."""
    processors: float = 0.0
    """Seconds of all processors."""
    stolen: float = 0.0
    """Those of them that the host took, where this is a virtual machine."""

    count: int = 0
    left: int = 0
    """That did not count, since the host took more than a little."""

    def p99(self) -> float:
        return quantiles(self.taken, n=100)[98]

    def add(self, other: Windows) -> None:
        self.taken += other.taken
        self.count += other.count
        self.left += other.left
        self.processors += other.processors
        self.stolen += other.stolen


@dataclass(frozen=True)
class Others:
    """Another team, which calls."""

    port: int
    path: str
    key: str
    without: Windows = field(default_factory=Windows)
    """All windows so far without bad input, of whichever test."""
    beside: Windows = field(default_factory=Windows)

    def compared(self) -> str:
        """p99 of all windows so far."""
        return compare(self.without, self.beside)

    def call(self, meanwhile: AbstractContextManager[object]) -> Windows:
        """A window of calls; ``meanwhile`` begins with the first."""
        program = [sys.executable, "-m", "tests.held.calling", str(self.port), self.path, str(SECONDS)]
        environment = {**os.environ, "CALLING_KEY": self.key}
        with subprocess.Popen(
            program, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment
        ) as calling:
            assert calling.stdout is not None
            assert calling.stdout.readline() == "ready\n"
            before = processor_seconds()
            with meanwhile:
                taken: list[float] = json.loads(calling.stdout.read())
                # What comes then is the rest of an answer to bad input.
                now = processor_seconds()
        assert calling.returncode == 0
        return Windows(taken, now[0] - before[0], now[1] - before[1], count=1)


@pytest.fixture(scope="module")
def others(place: Place) -> Iterator[Others]:
    team = make_team()
    create_source("toolkit", "toolkit", {}, caller=team.owner)
    others = Others(place.marina.port, f"/mcp/{team.slug}", team.key("tools:execute"))
    others.call(nullcontext())  # The first calls of a process are slow.
    yield others
    print(f"all of these: {others.compared()}")


@pytest.mark.timeout(300 + ROUNDS * TRIES * (2 * SECONDS + 10))
@pytest.mark.parametrize("name", [NOTHING, *INPUT])
def test_others_are_answered_meanwhile(place: Place, others: Others, name: str) -> None:
    if name != NOTHING:
        # What a process does for the first time takes longer.
        with sending(place, name):
            pass
    without, beside = Windows(), Windows()
    for number in range(ROUNDS):
        for bad in (number % 2 == 1, number % 2 == 0):
            sort = beside if bad else without
            for _ in range(TRIES):
                window = others.call(sending(place, name) if bad and name != NOTHING else nullcontext())
                if window.stolen <= STOLEN * window.processors:
                    sort.add(window)
                    break
                sort.left += 1
    others.without.add(without)
    others.beside.add(beside)
    print(f"{name}: {compare(without, beside)}")


@contextmanager
def sending(place: Place, name: str) -> Iterator[None]:
    """One team sends it again and again, and waits for each answer."""
    words, ask = INPUT[name]
    over = threading.Event()
    said: list[bytes] = []
    until = monotonic() + 60

    def send() -> None:
        # Who sends is on this machine only here: what it takes of it should be felt least.
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)
        while True:
            # A body that is too large is not read to its end.
            with contextlib.suppress(ConnectionError):
                answer = ask(place)
                forget(place, answer)
                said.append(answer.body)
            if over.wait(PAUSE_SECONDS) and (said or monotonic() > until):
                break

    sender = threading.Thread(target=send)
    sender.start()
    try:
        yield
    finally:
        over.set()
        sender.join()
    assert said
    assert all(words in body.decode() for body in said), said[0][:500]


def compare(without: Windows, beside: Windows) -> str:
    said = []
    for name, each in (("without", without), ("beside it", beside)):
        if not each.count:
            return f"the host took more than {100 * STOLEN:g} % in each of {each.left} windows {name}"
        stolen = 100 * each.stolen / max(each.processors, 1e-9)
        said.append(
            f"{each.p99():.2f} ms {name} ({each.count} windows, {stolen:.1f} % stolen, {each.left} left out)"
        )
    return f"p99 {', '.join(said)}, {beside.p99() / without.p99():.2f}"


def processor_seconds() -> tuple[float, float]:
    """Seconds of all processors since the machine began, and those that its host took (proc_stat(5): steal)."""
    ticks = [int(each) for each in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    a_second = os.sysconf("SC_CLK_TCK")
    return sum(ticks) / a_second, ticks[7] / a_second
