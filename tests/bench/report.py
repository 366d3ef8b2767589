"""Medians, the tables on the terminal, and ``results.json``. Measures nothing."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.bench.load import Load
from tests.bench.offered import UPSTREAMS


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


def describe_import(operations: int, seconds: float) -> Result:
    """An OpenAPI document taken over once, as a row of ``results.json``: ``p50_ms`` is how long it took."""
    milliseconds = round(seconds * 1_000, 3)
    return Result("marina", f"import-{operations}", 1, 0.0, milliseconds, milliseconds, 0.0, 0, 0.0)


def format_import(result: Result) -> str:
    """The line on it."""
    operations = result.work.rpartition("-")[2]
    return (
        f"An OpenAPI document of {int(operations):,} operations is tools after {result.p50_ms / 1_000:.2f} s."
    )


def compare_works(results: Sequence[Result]) -> list[str]:
    """What works of Marina's tell beside another of its works at as many connections, a line each."""
    found = {(result.work, result.connections): result for result in results if result.system == "marina"}
    of_sdk = {(result.work, result.connections): result for result in results if result.system == "sdk"}
    lines = []
    for (work, connections), result in found.items():
        call, page = found.get(("call", connections)), found.get(("list-500", connections))
        if work == "list-10000" and page is not None and page.per_second:
            ratio = result.per_second / page.per_second
            lines.append(
                f"A page of the tools of {UPSTREAMS} upstream servers, at {connections} connections: {ratio:.2f} x the "
                f"pages a second of one source's, in {result.rss_mb:.0f} MB."
            )
        if call is None or not call.per_second:
            continue
        where = f"at {connections} connections" if connections > 1 else "at 1 connection"
        if work == "call-1000":
            ratio = result.per_second / call.per_second
            lines.append(f"On a server of a thousand more tools, {where}: {ratio:.2f} x the calls a second.")
        elif work == "cached":
            ratio = result.per_second / call.per_second
            lines.append(f"Results that were kept, {where}: {ratio:.2f} x the calls a second.")
        elif work == "call-beside":
            ratio = result.p99_ms / call.p99_ms
            lines.append(
                f"Beside a team that sends bad input, {where}: p99 is {ratio:.2f} x what it is without."
            )
        elif work == "pipeline-10" and connections == 1:
            more = result.p50_ms - call.p50_ms
            lines.append(f"A pipeline of ten steps takes {more:.2f} ms more than one call, {where}.")
        elif work == "upstream" and connections == 1 and ("upstream", 1) in of_sdk:
            itself = of_sdk["upstream", 1].p50_ms
            more = result.p50_ms - call.p50_ms - itself
            lines.append(
                f"A call of an upstream's tool takes {result.p50_ms:.2f} ms, {where}: {call.p50_ms:.2f} as any call, "
                f"{itself:.2f} the upstream itself, asked by the load, and about {more:.2f} more."
            )
    return lines


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
