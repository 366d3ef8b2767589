"""``python -m tests.bench``: measures Marina beside the plain SDK and the bare limit, in one run, interleaved."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections import defaultdict
from contextlib import nullcontext
from dataclasses import replace

import httpx2

from config.compiled import is_fresh
from config.env import wants_compiled
from config.local.failure import StartError
from config.local.options import read_options
from tests.bench.document import OPERATIONS
from tests.bench.export_works import EXPORT, format_exports, measure_exports
from tests.bench.load import Load, find_wrk, run_load
from tests.bench.machine import allow_files, choose_cores, describe_machine, find_other_load
from tests.bench.report import (
    Result,
    compare_works,
    describe_import,
    describe_streams,
    format_import,
    format_streams,
    format_table,
    summarise,
    write_results,
)
from tests.bench.stages import measure_stages, report_stages
from tests.bench.systems import PAIR_CONNECTIONS, PAIR_WORKS, Doors, Stage, System, inherited_environment
from tests.bench.works import WORKS, Work, WrongAnswer, prepare, verify
from tests.bench.writer_works import WRITER, format_writer, measure_writer
from tests.replicas.leanclient import Refused
from tests.soak.streams import open_streams

STAGES = "stages"
STREAMS = 1000
_STREAMS_WORK = f"streams-{STREAMS}"
_STREAMS_SECONDS = 120
_FILES = 4 * STREAMS
ROUNDS = 3
CONNECTIONS = (1, 16, 64)
_WARM_SECONDS = 1


def main(arguments: list[str]) -> int:
    """Start, verify, measure, report. 0 where every answer was right."""
    chosen = _parse(arguments)
    program = find_wrk() if chosen.works else ""
    environ = inherited_environment()
    options = read_options(environ)
    home = options.home / "bench"
    cores = choose_cores()
    stage = Stage(home, cores, environ, options)
    other_load = find_other_load()
    marina = "compiled" if wants_compiled(environ) and is_fresh() else "interpreted"
    print(f"{describe_machine()}; {cores.describe()}; Marina {marina}")
    if other_load is not None:
        print(other_load)
    if chosen.stages:
        # Before anything else runs here.
        print()
        report_stages(measure_stages(cores, environ, options), home)
    if not (chosen.works or chosen.streams or chosen.writer or chosen.exports):
        return 0
    results: list[Result] = []
    try:
        print("\nStarting the systems …", flush=True)
        environment = stage.start_storage()
        systems = _start(stage, environment, chosen) if chosen.works or chosen.streams else []
        if chosen.works:
            print(f"Medians of {chosen.rounds} runs of {chosen.seconds} s, interleaved.\n", flush=True)
            results = _measure(program, systems, chosen, stage)
            print(format_table(results))
            for line in compare_works(results):
                print(f"\n{line}")
            results.append(describe_import(OPERATIONS, stage.import_seconds))
            print(f"\n{format_import(results[-1])}")
        if any(system.name == "marina-2" for system in systems):
            print(f"\nmarina-2: {cores.describe_pair()}.\nIts memory is that of all its processes.")
        if chosen.streams:
            results.append(_measure_streams(stage.start_for_streams(environment)))
            print(f"\n{format_streams(results[-1])}")
        if chosen.writer:
            written = measure_writer(environment, cores, rounds=chosen.rounds, seconds=chosen.seconds)
            results += written
            print(f"\n{format_writer(written)}")
        if chosen.exports:
            exports = measure_exports(environment)
            results += exports
            print(f"\n{format_exports(exports)}")
    except (StartError, WrongAnswer) as refusal:
        print(f"The bench stopped: {refusal}", file=sys.stderr)
        return 1
    finally:
        stage.close()
    write_results(home / "results.json", results)
    print(f"\nWritten to {home / 'results.json'}")
    wrong = sum(result.errors for result in results)
    if wrong:
        print(f"{wrong} answers were wrong or missing: these figures do not count.", file=sys.stderr)
    return 1 if wrong else 0


def _start(stage: Stage, environment: dict[str, str], chosen: argparse.Namespace) -> list[System]:
    works: list[Work] = chosen.works
    marina = stage.start_marina(environment)
    if not works:
        return [marina]
    # Marina first: the limit's answers are made as long as Marina's.
    sizes = {work.name: verify(work, marina.targets[work.name]) for work in works}
    sdk = stage.start_sdk(environment)
    for work in works:
        if work.name in sdk.targets:
            verify(work, sdk.targets[work.name])
    systems = [marina, sdk, stage.start_limit(sizes)]
    paired = [work for work in works if work.name in PAIR_WORKS]
    if paired and PAIR_CONNECTIONS in chosen.connections:
        pair = stage.start_pair(environment)
        for work in paired:
            verify(work, pair.targets[work.name])
        systems.append(pair)
    return systems


def _measure_streams(doors: Doors) -> Result:
    """Open them at a process that has served nothing yet. What could not be opened is an error of the row."""
    allow_files(_FILES)

    async def measure() -> float:
        async with asyncio.timeout(_STREAMS_SECONDS):
            return await open_streams(STREAMS, doors.url, doors.keys, pid=doors.pid)

    try:
        return describe_streams(STREAMS, asyncio.run(measure()), errors=0)
    except (Refused, httpx2.HTTPError, TimeoutError) as fault:
        print(f"The streams could not be opened: {type(fault).__name__}: {fault}", file=sys.stderr)
        return describe_streams(STREAMS, 0.0, errors=STREAMS)


def _measure(program: str, systems: list[System], chosen: argparse.Namespace, stage: Stage) -> list[Result]:
    loads: dict[tuple[str, str, int], list[Load]] = defaultdict(list)
    rss: dict[tuple[str, str], float] = defaultdict(float)
    for number in range(chosen.rounds):
        for work in chosen.works:
            for connections in chosen.connections:
                # Another order each round, so that none always follows the same one.
                for system in systems[number % len(systems) :] + systems[: number % len(systems)]:
                    if not system.does(work.name, connections):
                        continue
                    with stage.neighbour() if work.beside else nullcontext():
                        load = _run(program, system, work, connections, chosen.seconds, warm=number == 0)
                    loads[system.name, work.name, connections].append(load)
                    key = (system.name, work.name)
                    rss[key] = max(rss[key], system.rss_mb(work.name))
                    print(
                        f"  round {number + 1}  {work.name:<13}{connections:>3} connections  {system.name:<8}"
                        f"{load.per_second:>10,.0f}/s  p99 {load.p99_ms:.2f} ms  errors {load.errors}",
                        file=sys.stderr,
                        flush=True,
                    )
    return [
        summarise(
            system.name,
            work.name,
            connections,
            loads[system.name, work.name, connections],
            rss[system.name, work.name],
        )
        for work in chosen.works
        for connections in chosen.connections
        for system in systems
        if system.does(work.name, connections)
    ]


def _run(program: str, system: System, work: Work, connections: int, seconds: int, *, warm: bool) -> Load:
    target = system.targets[work.name]
    request = prepare(work, target)
    wanted = '"result"' if system.name == "limit" else work.wanted
    if warm:
        # Every answer is read here, also of works whose long answers are not read while measuring.
        trial = run_load(
            program, request, connections=connections, seconds=_WARM_SECONDS, wanted=wanted, checks_all=True
        )
        if trial.errors:
            raise WrongAnswer(
                f"{system.name}, {work.name}: {trial.errors} of {trial.requests} answers were wrong"
            )
    before = system.cpu_seconds(work.name)
    load = run_load(
        program, request, connections=connections, seconds=seconds, wanted=wanted, checks_all=work.checks_all
    )
    spent = system.cpu_seconds(work.name) - before
    return replace(load, cpu_us=1e6 * spent / max(1, load.requests))


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    works = {work.name: work for work in WORKS}
    known = [STAGES, *works, _STREAMS_WORK, WRITER, EXPORT]
    parser.add_argument("--works", default=",".join(known), help="some of: %(default)s")
    parser.add_argument("--connections", default=",".join(map(str, CONNECTIONS)), help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="runs, of which medians are taken")
    parser.add_argument("--seconds", type=int, default=int(os.environ.get("BENCH_SECONDS") or 5))
    chosen = parser.parse_args(arguments)
    named = chosen.works.split(",")
    unknown = [name for name in named if name not in known]
    if unknown:
        parser.error(f"unknown work {', '.join(unknown)}; known: {', '.join(known)}")
    chosen.stages = STAGES in named
    chosen.streams = _STREAMS_WORK in named
    chosen.writer = WRITER in named
    chosen.exports = EXPORT in named
    chosen.works = [works[name] for name in named if name in works]
    chosen.connections = [int(number) for number in chosen.connections.split(",")]
    return chosen


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
