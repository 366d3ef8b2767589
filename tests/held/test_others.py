"""Another team's calls while one sends bad input: all are answered right. ``-s`` shows their times.

How long they take is measured and not asserted; docs/performance.md says how, and what came of it. One team calls at a
steady pace all the time. Meanwhile each bad input is sent in a window of its own, in random order, and between every
two of these is a window with nothing bad: a slow minute of the machine meets both sorts. The host of a virtual machine
may take its processors away for a moment: with ``MARINA_OTHERS_STOLEN``, a window in which it took more is left out,
and that input gets another one.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import subprocess
import sys
import time
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles
from threading import Thread
from time import monotonic
from typing import Final

import pytest

from servers.services.sources import create_source
from tests.factories import make_team
from tests.held.bad_input import Bad, Place, forget
from tests.held.bad_upstreams import ALL_BAD

SECONDS: Final = float(os.environ.get("MARINA_OTHERS_SECONDS") or 0.3)
"""Of a window, or until the answer where that takes longer. Five and more give figures."""
WINDOWS: Final = int(os.environ.get("MARINA_OTHERS_WINDOWS") or 1)
"""Of each input."""
ONLY: Final = os.environ.get("MARINA_OTHERS_ONLY") or ""
"""Of inputs whose names have this."""
STOLEN: Final = float(os.environ.get("MARINA_OTHERS_STOLEN") or 1.0)
"""The part of the processors that their host may take during a window that counts."""
TRIES: Final = 3
"""How many times as many windows there are at most."""
MOST_SECONDS: Final = 12
"""What a slow input takes."""

HEAVY: Final = os.environ.get("MARINA_OTHERS_HEAVY") != "no"
"""Whether there is a heavy process, as in ``make run``."""

INPUT: Final[dict[str, tuple[str, Bad]]] = {
    # What the others are held against.
    "a call that is right": ('"rows":', lambda at: at.call("api_get", endpoint="/right")),
    **ALL_BAD,
}
ROOT: Final = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Window:
    """A time, by the monotonic clock, and the part of the processors that their host took in it."""

    begun: float
    ended: float
    stolen: float

    @property
    def counts(self) -> bool:
        return self.stolen <= STOLEN


@dataclass(frozen=True)
class Pair:
    """One with nothing bad, and the one after it with a bad input."""

    name: str
    without: Window
    beside: Window


class Calls:
    """Another team's calls: when each was due, and the milliseconds that it took."""

    def __init__(self, made: Sequence[tuple[float, float]]) -> None:
        self._due = [due for due, _ in made]
        self._taken = [taken for _, taken in made]

    def within(self, *windows: Window) -> list[float]:
        """What those of these windows took."""
        return [
            taken
            for window in windows
            for taken in self._taken[
                bisect_left(self._due, window.begun) : bisect_left(self._due, window.ended)
            ]
        ]

    def p99(self, *windows: Window) -> float:
        return quantiles(self.within(*windows), n=100)[98]


@pytest.mark.timeout(300 + len(INPUT) * WINDOWS * TRIES * (2 * SECONDS + MOST_SECONDS))
def test_others_are_answered_meanwhile(place: Place) -> None:
    names = [name for name in INPUT if ONLY in name]
    for name in names:
        # What a process does for the first time takes longer.
        send(place, name)
    with calling(place) as made:
        pairs = list(measure(place, names))
    calls = Calls(made)
    for pair in pairs:
        assert calls.within(pair.beside), f"nobody called beside {pair.name}"
    print("\n".join(describe(calls, pairs)))


def measure(place: Place, names: Sequence[str]) -> Iterator[Pair]:
    """Windows of each, until each has as many that count."""
    missing = [name for name in names for _ in range(WINDOWS)]
    for _ in range(TRIES):
        # Not the tests' own chance, which begins the same each time it is told to.
        random.SystemRandom().shuffle(missing)
        again = []
        for name in missing:
            pair = Pair(name, pass_window(), pass_window(place, name))
            if not (pair.without.counts and pair.beside.counts):
                again.append(name)
            yield pair
            # What is cleared away a moment later is not the next window's.
            time.sleep(min(2.0, SECONDS / 2))
        missing = again


def pass_window(place: Place | None = None, name: str = "") -> Window:
    """Let a window pass; with a bad input at its beginning, once ``place`` says whose."""
    taken_before, stolen_before = processor_seconds()
    begun = monotonic()
    if place is not None:
        send(place, name)
    time.sleep(max(0.0, begun + SECONDS - monotonic()))
    ended = monotonic()
    taken, stolen = processor_seconds()
    return Window(begun, ended, (stolen - stolen_before) / max(taken - taken_before, 1e-9))


def send(place: Place, name: str) -> None:
    """Have a team send a bad input, and look at its answer."""
    words, ask = INPUT[name]
    said: list[bytes] = []

    def ask_once() -> None:
        # Who sends is on this machine only here: what it takes of it should be felt least.
        os.setpriority(os.PRIO_PROCESS, 0, 19)
        until = monotonic() + 60
        while not said and monotonic() < until:
            # A body that is too large is not read to its end.
            with contextlib.suppress(ConnectionError):
                answer = ask(place)
                forget(place, answer)
                said.append(answer.body)

    sender = Thread(target=ask_once)
    sender.start()
    sender.join()
    assert said, name
    assert words in said[0].decode(), f"{name}: {said[0][:500]!r}"


@contextmanager
def calling(place: Place) -> Iterator[list[tuple[float, float]]]:
    """Inside, another team calls. Afterwards what is yielded has its calls."""
    team = make_team()
    create_source("toolkit", "toolkit", {}, caller=team.owner)
    program = [sys.executable, "-m", "tests.held.calling", str(place.marina.port), f"/mcp/{team.slug}"]
    environment = {**os.environ, "CALLING_KEY": team.key("tools:execute")}
    made: list[tuple[float, float]] = []
    with subprocess.Popen(
        program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "ready\n"
            yield made
        finally:
            process.stdin.close()
            said = process.stdout.read()
    assert process.returncode == 0, said
    made += json.loads(said)


def describe(calls: Calls, pairs: Sequence[Pair]) -> Iterator[str]:
    """A line for each input, for all of them, and for nothing bad against itself."""
    good = [pair for pair in pairs if pair.without.counts and pair.beside.counts]
    yield f"p99 in ms without and beside it, and their ratio; {len(pairs) - len(good)} pairs left out"
    for name in dict.fromkeys(
        pair.name for pair in sorted(pairs, key=lambda pair: list(INPUT).index(pair.name))
    ):
        yield f"{name}: {_compare(calls, [pair for pair in good if pair.name == name])}"
    yield f"all of these: {_compare(calls, good)}"
    quiet = [pair.without for pair in good]
    ratios = sorted(
        _ratio(calls, random.sample(quiet, 2 * WINDOWS)) for _ in range(1_000 * (len(quiet) > 2 * WINDOWS))
    )
    if ratios:
        yield (
            f"as many windows with nothing bad against as many others: {ratios[50]:.2f} to {ratios[949]:.2f} in nine "
            f"of ten cases"
        )


def _compare(calls: Calls, pairs: Sequence[Pair]) -> str:
    if not pairs:
        return f"the host took more than {100 * STOLEN:g} % in each window"
    without = calls.p99(*[pair.without for pair in pairs])
    beside = calls.p99(*[pair.beside for pair in pairs])
    return f"{without:.2f}, {beside:.2f}, {beside / without:.2f} ({len(pairs)} windows each)"


def _ratio(calls: Calls, windows: Sequence[Window]) -> float:
    half = len(windows) // 2
    return calls.p99(*windows[:half]) / calls.p99(*windows[half:])


def processor_seconds() -> tuple[float, float]:
    """Seconds of all processors since the machine began, and those that its host took (proc_stat(5): steal)."""
    ticks = [int(each) for each in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    a_second = os.sysconf("SC_CLK_TCK")
    return sum(ticks) / a_second, ticks[7] / a_second
