"""Measures exports of the log: how quickly, in how much memory, and that being killed changes no byte."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any, Final

import psycopg

from tests.bench.report import Result
from tests.bench.systems import run_step
from tests.plugins.own_cluster import ROOT

EXPORT: Final = "export"
RECORDS: Final = int(os.environ.get("BENCH_EXPORT_RECORDS") or 1_000_000)
FORMS: Final = ("jsonl", "csv", "parquet")
KILLED: Final = "killed"
KILLS: Final = (0.25, 0.5, 0.75)
"""How far the export is when its worker is killed."""


def measure_exports(environment: Mapping[str, str], records: int = RECORDS) -> list[Result]:
    """Make one of each form, and one of the first whose workers are killed: an error where it differs."""
    team = _run(environment, "fill", str(records))["team"]
    results, digest = [], ""
    for form in FORMS:
        export = _run(environment, "start", str(team), form)["export"]
        told = _run(environment, "make", str(team), export)
        results.append(describe_export(form, told, errors=int(told["records"] != records)))
        digest = digest or told["sha256"]
    export = _run(environment, "start", str(team), FORMS[0])["export"]
    for part in KILLS:
        _kill_at(environment, team, export, int(part * records))
    told = _run(environment, "make", str(team), export)
    results.append(describe_export(KILLED, told, errors=int(told["sha256"] != digest)))
    return results


def describe_export(form: str, told: Mapping[str, Any], *, errors: int) -> Result:
    """An export as a row of ``results.json``: ``per_second`` are records, ``p50_ms`` is how long its last process took.

    One that was killed has no rate: that process did a part of the work only.
    """
    milliseconds = round(told["seconds"] * 1_000, 3)
    rss = round(max(told["rss_mb"], told["child_rss_mb"]), 1)
    return Result(
        system="marina",
        work=f"{EXPORT}-{form}",
        connections=1,
        per_second=0.0 if form == KILLED else round(told["records"] / told["seconds"], 1),
        p50_ms=milliseconds,
        p99_ms=milliseconds,
        rss_mb=rss,
        errors=errors,
        cpu_us=round(told["cpu_seconds"] / told["records"] * 1e6, 1),
    )


def format_exports(results: list[Result]) -> str:
    """A line each."""
    lines = []
    for result in results:
        if result.work == f"{EXPORT}-{KILLED}":
            same = "other bytes than" if result.errors else "the bytes of"
            lines.append(
                f"{result.work:<15}killed {len(KILLS)} times, it has {same} the one that nobody disturbed"
            )
        else:
            lines.append(
                f"{result.work:<15}{result.per_second:>10,.0f} records/s  {result.p50_ms / 1_000:>7.1f} s  "
                f"{result.cpu_us:>5.1f} µs of processor time each  at most {result.rss_mb:.0f} MB in a process"
            )
    return "\n".join(lines)


def _run(environment: Mapping[str, str], *arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.bench.exports", *arguments]
    made = run_step(command, environment, f"{EXPORT} {arguments[0]}")
    told: dict[str, Any] = json.loads(made.splitlines()[-1])
    return told


def _kill_at(environment: Mapping[str, str], team: int, export: str, looked_at: int) -> None:
    command = [sys.executable, "-m", "tests.bench.exports", "make", str(team), export]
    with (
        psycopg.connect(environment["DATABASE_URL"], autocommit=True) as connection,
        subprocess.Popen(command, env=dict(environment), cwd=ROOT, stdout=subprocess.DEVNULL) as process,
    ):
        while process.poll() is None:
            [(reached, status)] = connection.execute(
                "SELECT looked_at, status FROM tenants_auditexport WHERE id = %s", [export]
            ).fetchall()
            if status == "done":
                raise SystemExit("The export was done before it could be killed: give it more records.")
            if reached >= looked_at:
                process.send_signal(signal.SIGKILL)
                return
            time.sleep(0.01)
        raise SystemExit("The export's process ended by itself.")
