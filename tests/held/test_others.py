"""Another team's calls while one sends bad input: all are answered right. ``-s`` shows their times.

How long they take is measured and not asserted; docs/performance.md says how, and what came of it. One team calls at a
steady pace all the time. Each bad input is sent in windows of its own, at random; beside each of these is one without
it, and which of the two comes first is by chance. ``NOTHING`` is treated as if it were a bad input, five times as
often: how much its windows differ is what cannot be told from nothing.

The host of a virtual machine takes its processors away now and then. With ``MARINA_OTHERS_STOLEN`` a pair of windows in
which it took more than that part of what was used is left out, and another one made; both are told. Of the other
windows those calls are left out that were under way in a fiftieth of a second in which it took any.
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
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles
from threading import Event, Thread
from time import monotonic
from typing import Final

import psutil
import pytest

from servers.services.sources import create_source
from tests.factories import make_team
from tests.held.bad_input import Bad, Place, forget
from tests.held.bad_upstreams import ALL_BAD
from tests.turns import step_back

SECONDS: Final = float(os.environ.get("MARINA_OTHERS_SECONDS") or 0.3)
"""Of a window. Five and more give figures."""
A_SECOND: Final = int(os.environ.get("MARINA_OTHERS_CALLS") or (200 if SECONDS >= 1 else 40))
"""Calls of the other team a second. Whatever else is measured, calls, database and bad input should fit the machine."""
WINDOWS: Final = int(os.environ.get("MARINA_OTHERS_WINDOWS") or 1)
"""Of each input."""
NOTHINGS: Final = 5
"""As many times more of ``NOTHING``."""
ONLY: Final = (os.environ.get("MARINA_OTHERS_ONLY") or "").split(",")
"""Of inputs whose names have one of these."""
STOLEN: Final = float(os.environ.get("MARINA_OTHERS_STOLEN") or 1.0)
"""The part of the used processors' time that their host may take in a pair of windows that counts."""
SAMPLE_SECONDS: Final = 0.02
"""How often it is looked whether it took any: Linux counts it in hundredths of a second."""
TRIES: Final = 3
"""How many times as many windows there are at most."""
MOST_SECONDS: Final = 12
"""What a slow input takes."""
AFTER_SECONDS: Final = min(2.0, SECONDS / 2)
"""What an answer may leave to be done: its window lasts so much longer, and the next one begins so much later."""

HEAVY: Final = os.environ.get("MARINA_OTHERS_HEAVY") != "no"
"""Whether there is a heavy process, as in ``make run``."""

NOTHING: Final = "nothing bad"
INPUT: Final[dict[str, tuple[str, Bad]]] = {
    "a call that is right": ('"rows":', lambda at: at.call("api_get", endpoint="/right")),
    **ALL_BAD,
}
ROOT: Final = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Window:
    """A time, by the monotonic clock, and the seconds of processors that were used in it and that their host took."""

    begun: float
    ended: float
    used: float
    stolen: float


@dataclass(frozen=True)
class Pair:
    """A window without a bad input, and one with it."""

    name: str
    without: Window
    beside: Window

    @property
    def counts(self) -> bool:
        stolen = self.without.stolen + self.beside.stolen
        return stolen <= STOLEN * (stolen + self.without.used + self.beside.used)


class Calls:
    """Another team's calls: when each was due, and the milliseconds that it took."""

    def __init__(
        self, made: Sequence[tuple[float, float]], stolen: Sequence[tuple[float, float]] = ()
    ) -> None:
        """``stolen``: times, one after the other. A call that was under way in one of them is left out."""
        ends = [end for _, end in stolen]

        def counts(due: float, taken: float) -> bool:
            first = bisect_left(ends, due)
            return first == len(stolen) or stolen[first][0] > due + taken / 1_000

        left = [call for call in made if counts(*call)]
        self._due = [due for due, _ in left]
        self._taken = [taken for _, taken in left]
        self.left_out = 1 - len(left) / max(1, len(made))

    def within(self, windows: Sequence[Window]) -> list[float]:
        """What those of these windows took."""
        return [
            taken
            for window in windows
            for taken in self._taken[
                bisect_left(self._due, window.begun) : bisect_left(self._due, window.ended)
            ]
        ]

    def compare(self, pairs: Sequence[Pair]) -> tuple[float, float, float]:
        """p99 without, beside, and their ratio."""
        without, beside = (
            quantiles(self.within(windows), n=100)[98]
            for windows in ([pair.without for pair in pairs], [pair.beside for pair in pairs])
        )
        return without, beside, beside / without


@pytest.mark.timeout(300 + (len(INPUT) + NOTHINGS) * WINDOWS * TRIES * (2 * SECONDS + MOST_SECONDS))
def test_others_are_answered_meanwhile(place: Place) -> None:
    names = [name for name in INPUT if any(word in name for word in ONLY)]
    assert names, f"no input is called like {ONLY}"
    for name in names:
        # What a process does for the first time takes longer.
        send(place, name)
    pairs = []
    with watching() as stolen, calling(place) as (process, made):
        for name in in_turn(names):
            pairs.append(make_pair(place, name))
            assert process.poll() is None, "who calls has ended"
            most = TRIES * WINDOWS * (NOTHINGS if name == NOTHING else 1)
            if not pairs[-1].counts and sum(pair.name == name for pair in pairs) < most:
                pairs.append(make_pair(place, name))
    calls = Calls(made)
    for pair in pairs:
        assert calls.within([pair.beside]), f"nobody called beside {pair.name}"
    print("\n".join(describe(Calls(made, stolen if STOLEN < 1 else ()), pairs)))


def in_turn(names: Sequence[str]) -> Iterator[str]:
    """Each name as often as it has windows, spread over the whole time. No figure of one that has a lucky hour."""
    # Not the tests' own chance, which begins the same each time that it is told to.
    chance = random.SystemRandom()
    for _ in range(WINDOWS):
        turns = [*names, *[NOTHING] * NOTHINGS]
        chance.shuffle(turns)
        yield from turns


def make_pair(place: Place, name: str) -> Pair:
    """Let a window pass without it and one beside it, whichever is first."""
    # The team's database is on another machine elsewhere, as its servers are.
    for process in place.database_processes():
        with contextlib.suppress(ProcessLookupError):
            step_back(process)
    bad_first = random.SystemRandom().random() < 0.5
    windows = {}
    for is_bad in (bad_first, not bad_first):
        windows[is_bad] = pass_window((lambda: send(place, name)) if is_bad and name != NOTHING else None)
        time.sleep(AFTER_SECONDS)
    return Pair(name, windows[False], windows[True])


def pass_window(do: Callable[[], None] | None) -> Window:
    """Let a window pass, at whose beginning this is done."""
    used_before, stolen_before = processor_seconds()
    begun = monotonic()
    if do is not None:
        do()
    time.sleep(max(AFTER_SECONDS, begun + SECONDS - monotonic()))
    ended = monotonic()
    used, stolen = processor_seconds()
    return Window(begun, ended, used - used_before, stolen - stolen_before)


def send(place: Place, name: str) -> None:
    """Have a team send a bad input, and look at its answer."""
    words, ask = INPUT[name]
    said: list[bytes] = []

    def ask_once() -> None:
        # Who sends is on this machine only here: what it takes of it should be felt least.
        step_back()
        until = monotonic() + 100
        while not said and monotonic() < until:
            # A body that is too large is not read to its end, and its answer is not always.
            with contextlib.suppress(ConnectionError):
                answer = ask(place)
                forget(place, answer)
                said.append(answer.body)
            time.sleep(0.05)

    sender = Thread(target=ask_once)
    sender.start()
    sender.join()
    assert said, name
    assert words in said[0].decode(), f"{name}: {said[0][:500]!r}"


@contextmanager
def calling(place: Place) -> Iterator[tuple[subprocess.Popen[str], list[tuple[float, float]]]]:
    """Inside, another team calls, by this program. Afterwards the list has its calls."""
    team = make_team()
    create_source("toolkit", "toolkit", {}, caller=team.owner)
    address = str(place.marina.port), f"/mcp/{team.slug}"
    program = [sys.executable, "-m", "tests.held.calling", *address, str(A_SECOND)]
    environment = {**os.environ, "CALLING_KEY": team.key("tools:execute")}
    made: list[tuple[float, float]] = []
    with subprocess.Popen(
        program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "ready\n"
            yield process, made
        finally:
            process.stdin.close()
            said = process.stdout.read()
    assert process.returncode == 0, "who calls ended with a fault, which it wrote to its standard error"
    made += json.loads(said)


@contextmanager
def watching() -> Iterator[list[tuple[float, float]]]:
    """Inside, the list gets the times, each of ``SAMPLE_SECONDS`` or more, in which the host took processors away."""
    over = Event()
    stolen: list[tuple[float, float]] = []

    def watch() -> None:
        since, before = monotonic(), processor_seconds()[1]
        while not over.wait(SAMPLE_SECONDS):
            now, taken = monotonic(), processor_seconds()[1]
            if taken > before:
                stolen.append((since, now))
            since, before = now, taken

    watcher = Thread(target=watch)
    watcher.start()
    try:
        yield stolen
    finally:
        over.set()
        watcher.join()


def describe(calls: Calls, pairs: Sequence[Pair]) -> Iterator[str]:
    """A line for each input, for all of them, and for what nothing makes of itself."""
    good = [pair for pair in pairs if pair.counts]
    nothing = [pair for pair in good if pair.name == NOTHING]
    yield f"p99 in ms without and beside it, their ratio; {len(pairs) - len(good)} of {len(pairs)} pairs "
    yield f"left out, and {100 * calls.left_out:.0f} % of the calls"
    for name in (NOTHING, *INPUT):
        if any(pair.name == name for pair in pairs):
            yield f"{name}: {_told(calls, [pair for pair in pairs if pair.name == name])}"
    yield f"all of these: {_told(calls, [pair for pair in pairs if pair.name != NOTHING])}"
    if len(nothing) > 2 * WINDOWS:
        ratios = sorted(calls.compare(random.choices(nothing, k=WINDOWS))[2] for _ in range(1_000))
        yield (
            f"{WINDOWS} windows of nothing against as many others: {ratios[25]:.2f} to {ratios[974]:.2f} in nineteen "
            f"of twenty cases, and {ratios[-1]:.2f} at most in a thousand"
        )


def _told(calls: Calls, pairs: Sequence[Pair]) -> str:
    good = [pair for pair in pairs if pair.counts]
    left = f"{len(pairs) - len(good)} left out, with these {calls.compare(pairs)[2]:.2f}"
    if not good:
        return f"none counts ({left})"
    without, beside, ratio = calls.compare(good)
    stolen = _stolen([pair.without for pair in good]), _stolen([pair.beside for pair in good])
    return (
        f"{without:.2f}, {beside:.2f}, {ratio:.2f} ({len(good)} pairs; {stolen[0]:.1f} and {stolen[1]:.1f} % stolen; "
        f"{left})"
    )


def _stolen(windows: Sequence[Window]) -> float:
    stolen = sum(window.stolen for window in windows)
    return 100 * stolen / max(1e-9, stolen + sum(window.used for window in windows))


def processor_seconds() -> tuple[float, float]:
    """Seconds for which processors were used since the machine began, and those that its host took."""
    times = psutil.cpu_times()
    return times.user + times.nice + times.system + times.irq + times.softirq, times.steal
