"""Another team's calls while one sends bad input again and again: all are answered right. ``-rP`` shows their times.

How long they take is measured and not asserted; docs/performance.md says how, and what came of it. Windows with bad
input and without take turns, so that a slow minute of the machine meets both.
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
from typing import Final

import pytest

from servers.services.sources import create_source
from tests.factories import make_team
from tests.held.bad_input import Place, forget
from tests.held.bad_upstreams import ALL_BAD

SECONDS: Final = float(os.environ.get("MARINA_OTHERS_SECONDS") or 0.5)
"""Of a window. Five and more give figures."""
ROUNDS: Final = int(os.environ.get("MARINA_OTHERS_ROUNDS") or 1)
PAUSE_SECONDS: Final = float(os.environ.get("MARINA_OTHERS_PAUSE") or min(1.0, SECONDS / 10))
"""Between an answer and the next bad input."""

HEAVY: Final = os.environ.get("MARINA_OTHERS_HEAVY") != "no"
"""Whether there is a heavy process, as in ``make run``."""

NOTHING: Final = "nothing bad"
ROOT: Final = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Others:
    """Another team, which calls."""

    port: int
    path: str
    key: str
    without: list[float] = field(default_factory=list)
    """Milliseconds of all calls so far of windows without bad input, of whichever test."""
    beside: list[float] = field(default_factory=list)

    def compared(self) -> str:
        """p99 of all windows so far."""
        return compare(self.without, self.beside)

    def call(self, meanwhile: AbstractContextManager[object]) -> list[float]:
        """How long each call of a window took, in milliseconds; ``meanwhile`` begins with the first."""
        program = [sys.executable, "-m", "tests.held.calling", str(self.port), self.path, str(SECONDS)]
        environment = {**os.environ, "CALLING_KEY": self.key}
        with subprocess.Popen(
            program, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment
        ) as calling:
            assert calling.stdout is not None
            assert calling.stdout.readline() == "ready\n"
            with meanwhile:
                taken: list[float] = json.loads(calling.stdout.read())
        assert calling.returncode == 0
        return taken


@pytest.fixture(scope="module")
def others(place: Place) -> Iterator[Others]:
    team = make_team()
    create_source("toolkit", "toolkit", {}, caller=team.owner)
    others = Others(place.marina.port, f"/mcp/{team.slug}", team.key("tools:execute"))
    yield others
    print(f"all of these: {others.compared()}")


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", [NOTHING, *ALL_BAD])
def test_others_are_answered_meanwhile(place: Place, others: Others, name: str) -> None:
    without: list[float] = []
    beside: list[float] = []
    for _ in range(ROUNDS):
        without += others.call(nullcontext())
        beside += others.call(nullcontext() if name == NOTHING else sending(place, name))
    others.without.extend(without)
    others.beside.extend(beside)
    print(f"{name}: {compare(without, beside)}")


@contextmanager
def sending(place: Place, name: str) -> Iterator[None]:
    """One team sends it again and again, and waits for each answer."""
    words, ask = ALL_BAD[name]
    over = threading.Event()
    said: list[bytes] = []

    def send() -> None:
        # Who sends is on this machine only here: what it takes of it should be felt least.
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)
        while not over.is_set():
            # A body that is too large is not read to its end.
            with contextlib.suppress(ConnectionError):
                answer = ask(place)
                forget(place, answer)
                said.append(answer.body)
            over.wait(PAUSE_SECONDS)

    sender = threading.Thread(target=send)
    sender.start()
    try:
        yield
    finally:
        over.set()
        sender.join()
    assert said
    assert all(words in body.decode() for body in said), said[0][:500]


def compare(without: list[float], beside: list[float]) -> str:
    before, after = ninety_ninth(without), ninety_ninth(beside)
    return f"p99 {before:.2f} ms without, {after:.2f} ms beside it, {after / before:.2f}"


def ninety_ninth(taken: list[float]) -> float:
    return quantiles(taken, n=100)[98]
