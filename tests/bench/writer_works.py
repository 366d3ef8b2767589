"""Measures the log's writer alone: how many records a second are durable, and how long one waits for that."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any, Final

from tests.bench.machine import Cores, starting_on
from tests.bench.report import Result
from tests.bench.systems import run_step

WRITER: Final = "writer"
TEAMS: Final = (50, 500)
WAITING: Final = 64


def measure_writer(
    environment: Mapping[str, str], cores: Cores, *, rounds: int, seconds: int
) -> list[Result]:
    """A row for each number of teams; they take turns. Each run has a process on the server's core, and new teams."""
    told: dict[int, list[dict[str, float]]] = {teams: [] for teams in TEAMS}
    for _ in range(rounds):
        for teams, runs in told.items():
            runs.append(_run(environment, cores, teams, seconds))
    return [describe_writer(teams, runs) for teams, runs in told.items()]


def describe_writer(teams: int, runs: Sequence[Mapping[str, float]]) -> Result:
    """The medians of runs as a row of ``results.json``: ``connections`` are records that wait at once."""
    return Result(
        system="marina",
        work=f"{WRITER}-{teams}",
        connections=WAITING,
        per_second=round(median(run["records"] / run["seconds"] for run in runs), 1),
        p50_ms=round(median(run["p50_ms"] for run in runs), 3),
        p99_ms=round(median(run["p99_ms"] for run in runs), 3),
        rss_mb=round(max(run["rss_mb"] for run in runs), 1),
        errors=0,
        cpu_us=round(median(run["cpu_seconds"] / run["records"] * 1e6 for run in runs), 1),
    )


def format_writer(results: Sequence[Result]) -> str:
    """A line each."""
    return "\n".join(
        f"{result.work:<15}{result.per_second:>10,.0f} records/s  {result.connections} waiting, "
        f"p50 {result.p50_ms:.1f} ms  p99 {result.p99_ms:.1f} ms  {result.cpu_us:.1f} µs of its process's time each"
        for result in results
    )


def _run(environment: Mapping[str, str], cores: Cores, teams: int, seconds: int) -> dict[str, Any]:
    with starting_on(cores.server, back_to=cores.rest):
        command = [sys.executable, "-m", "tests.bench.log_writer", str(teams), str(WAITING), str(seconds)]
        written = run_step(command, environment, WRITER)
    told: dict[str, Any] = json.loads(written.splitlines()[-1])
    return told
