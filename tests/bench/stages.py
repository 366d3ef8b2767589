"""``python -m tests.bench.stages``: what each stage of one ``tools/call`` costs, as a table. Measures nothing itself.

The measuring is done by a process of its own (``measure_stages``), whose environment is made here: it connects to
nothing, and its key seals nothing.
"""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from config.local.options import LocalOptions, read_options
from config.local.plan import child_environment
from tests.bench.machine import Cores, choose_cores, describe_machine, find_other_load, starting_on
from tests.bench.systems import inherited_environment, run_step

WHOLE: Final = "whole call"
"""All of it, through the ASGI application, with a log that is durable at once."""

PATH: Final = "in it: call_tool"
"""The services' part of the whole, with a task of its own: from masking to the record and its waiting."""

_KEY: Final = base64.urlsafe_b64encode(bytes(32)).decode()
TOGETHER: Final = 20
"""Whole calls in flight at once, and runs of a stage in one batch: the clock, 0.3 µs to read, hardly counts."""

BATCHES: Final = 300

_NOWHERE: Final = "127.0.0.1:9"
_SECONDS: Final = 120


@dataclass(frozen=True, slots=True)
class StageCost:
    """The processor time of one run of a stage: best and median of batches, and over how many runs."""

    stage: str
    best_us: float
    median_us: float
    runs: int


def main() -> int:
    """Measure, print, write."""
    environ = inherited_environment()
    options = read_options(environ)
    home = options.home / "bench"
    home.mkdir(parents=True, exist_ok=True)
    cores = choose_cores()
    other_load = find_other_load()
    print(describe_machine())
    if other_load is not None:
        print(other_load)
    print()
    report_stages(measure_stages(cores, environ, options), home)
    return 0


def measure_stages(
    cores: Cores, environ: Mapping[str, str], options: LocalOptions, *, batches: int = BATCHES
) -> list[StageCost]:
    """Run the measuring process on the server's core. Ends the program when it fails."""
    environment = child_environment(
        environ,
        options,
        master_key=_KEY,
        database_url=f"postgresql://nobody@{_NOWHERE}/none",
        redis_url=f"redis://{_NOWHERE}/0",
    )
    with starting_on(cores.server, back_to=cores.rest):
        command = [sys.executable, "-m", "tests.bench.measure_stages", str(batches)]
        return parse_stages(run_step(command, environment, "stages", seconds=_SECONDS))


def report_stages(costs: Sequence[StageCost], home: Path) -> None:
    """Print the table, and write ``stages.json`` beside ``results.json``."""
    print(format_stages(costs))
    path = home / "stages.json"
    partial = path.with_name(path.name + ".part")
    partial.write_text(json.dumps([asdict(cost) for cost in costs], indent=2) + "\n", encoding="utf-8")
    partial.replace(path)
    print(f"\nWritten to {path}")


def parse_stages(output: str) -> list[StageCost]:
    """What the measuring process printed: its last line."""
    rows: list[dict[str, Any]] = json.loads(output.strip().splitlines()[-1])
    return [StageCost(**row) for row in rows]


def format_stages(costs: Sequence[StageCost]) -> str:
    """A line a stage, then what no stage accounts for, then the whole; shares are of the whole's median."""
    whole = next(cost for cost in costs if cost.stage == WHOLE)
    nested = [cost for cost in costs if cost.stage == PATH]
    stages = [cost for cost in costs if cost.stage not in {WHOLE, PATH}]
    rest = StageCost(
        "between the stages",
        whole.best_us - sum(cost.best_us for cost in stages),
        whole.median_us - sum(cost.median_us for cost in stages),
        whole.runs,
    )
    lines = [f"{'stage of one call':<20}{'best µs':>9}{'median µs':>11}{'share':>8}"]
    for cost in [*stages, rest, whole, *nested]:
        share = cost.median_us / whole.median_us if whole.median_us else 0.0
        lines.append(f"{cost.stage:<20}{cost.best_us:>9.2f}{cost.median_us:>11.2f}{share:>8.0%}")
    lines.append(
        f"\nProcessor time in one process without network and database, {whole.runs} runs each, {TOGETHER} calls in "
        "flight. Not in\nit: HTTP, sockets, the exchange with PostgreSQL. Between the stages: what joins them, and "
        "that in a whole call\nno stage finds the processor's caches warm from its own last run, as it does when it "
        "is repeated alone."
    )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
