"""Medians, the tables on the terminal, and ``results.json``. Measures nothing."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.bench.load import Load


@dataclass(frozen=True, slots=True)
class Result:
    """A system's median at one work and number of connections. ``cpu_us`` is in the table only."""

    system: str
    work: str
    connections: int
    per_second: float
    p50_ms: float
    p99_ms: float
    rss_mb: float
    errors: int
    cpu_us: float


def summarise(system: str, work: str, connections: int, loads: Sequence[Load], rss_mb: float) -> Result:
    """Medians of the runs; errors are the sum of all runs."""
    return Result(
        system=system,
        work=work,
        connections=connections,
        per_second=round(statistics.median(load.per_second for load in loads), 1),
        p50_ms=round(statistics.median(load.p50_ms for load in loads), 3),
        p99_ms=round(statistics.median(load.p99_ms for load in loads), 3),
        rss_mb=round(rss_mb, 1),
        errors=sum(load.errors for load in loads),
        cpu_us=round(statistics.median(load.cpu_us for load in loads), 1),
    )


def describe_streams(count: int, grown_mb: float, errors: int) -> Result:
    """So many open streams as a row of ``results.json``: ``rss_mb`` is by how much the process grew."""
    return Result(
        system="marina",
        work=f"streams-{count}",
        connections=count,
        per_second=0.0,
        p50_ms=0.0,
        p99_ms=0.0,
        rss_mb=round(grown_mb, 1),
        errors=errors,
        cpu_us=0.0,
    )


def format_streams(result: Result) -> str:
    """The line on open streams."""
    if result.errors:
        return f"{result.connections:,} open streams: not measured, for not all of them could be opened."
    return (
        f"{result.connections:,} open streams, half of each era: {result.rss_mb:.1f} MB more in one process, "
        f"{result.rss_mb * 1000 / result.connections:.0f} kB each."
    )


def write_results(path: Path, results: Sequence[Result]) -> None:
    """Replace the file in one step."""
    partial = path.with_name(path.name + ".part")
    rows = [asdict(result) for result in results]
    for row in rows:
        del row["cpu_us"]
    partial.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    partial.replace(path)


def format_table(results: Sequence[Result]) -> str:
    """A line a measurement, with each system's ratio to the SDK and to the limit at the same work."""
    found = {(result.system, result.work, result.connections): result for result in results}
    head = (
        f"{'work':<13}{'conns':>6}  {'system':<8}{'per s':>10}{'p50 ms':>9}{'p99 ms':>9}{'cpu µs':>9}"
        f"{'x sdk':>8}{'x limit':>9}{'RSS MB':>8}{'errors':>8}"
    )
    lines = [head]
    last = None
    for result in results:
        if last not in {None, (result.work, result.connections)}:
            lines.append("")
        last = (result.work, result.connections)
        lines.append(
            f"{result.work:<13}{result.connections:>6}  {result.system:<8}{result.per_second:>10,.0f}"
            f"{result.p50_ms:>9.2f}{result.p99_ms:>9.2f}{result.cpu_us:>9.0f}"
            f"{_ratio(result, found.get(('sdk', *last))):>8}{_ratio(result, found.get(('limit', *last))):>9}"
            f"{result.rss_mb:>8.0f}{result.errors:>8}"
        )
    return "\n".join(lines)


def _ratio(result: Result, other: Result | None) -> str:
    if other is None or other.per_second == 0:
        return "-"
    return f"{result.per_second / other.per_second:.2f}"
