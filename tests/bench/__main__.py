"""``python -m tests.bench``: measures Marina beside the plain SDK and the bare limit, in one run, interleaved."""

from __future__ import annotations

import argparse
import os
import sys
from collections import defaultdict
from dataclasses import replace

from config.local.failure import StartError
from config.local.options import read_options
from tests.bench.load import Load, find_wrk, run_load
from tests.bench.machine import choose_cores, describe_machine, find_other_load
from tests.bench.report import Result, format_table, summarise, write_results
from tests.bench.systems import Stage, System, inherited_environment
from tests.bench.works import WORKS, Work, WrongAnswer, prepare, verify

ROUNDS = 3
CONNECTIONS = (1, 16, 64)
_WARM_SECONDS = 1


def main(arguments: list[str]) -> int:
    """Start, verify, measure, report. 0 where every answer was right."""
    chosen = _parse(arguments)
    program = find_wrk()
    environ = inherited_environment()
    options = read_options(environ)
    home = options.home / "bench"
    cores = choose_cores()
    stage = Stage(home, cores, environ, options)
    other_load = find_other_load()
    try:
        systems = _start(stage, chosen.works)
        print(f"{describe_machine()}; {cores.describe()}")
        if other_load is not None:
            print(other_load)
        print(f"Medians of {chosen.rounds} runs of {chosen.seconds} s, interleaved.\n", flush=True)
        results = _measure(program, systems, chosen)
    except (StartError, WrongAnswer) as refusal:
        print(f"The bench stopped: {refusal}", file=sys.stderr)
        return 1
    finally:
        stage.close()
    write_results(home / "results.json", results)
    print(format_table(results))
    print(f"\nWritten to {home / 'results.json'}")
    wrong = sum(result.errors for result in results)
    if wrong:
        print(f"{wrong} answers were wrong or missing: these figures do not count.", file=sys.stderr)
    return 1 if wrong else 0


def _start(stage: Stage, works: list[Work]) -> list[System]:
    print("Starting the systems …", flush=True)
    environment = stage.start_storage()
    marina = stage.start_marina(environment)
    # Marina first: the limit's answers are made as long as Marina's.
    sizes = {work.name: verify(work, marina.targets[work.name]) for work in works}
    sdk = stage.start_sdk(environment)
    for work in works:
        verify(work, sdk.targets[work.name])
    return [marina, sdk, stage.start_limit(sizes)]


def _measure(program: str, systems: list[System], chosen: argparse.Namespace) -> list[Result]:
    loads: dict[tuple[str, str, int], list[Load]] = defaultdict(list)
    rss: dict[tuple[str, str], float] = defaultdict(float)
    for number in range(chosen.rounds):
        for work in chosen.works:
            for connections in chosen.connections:
                # Another order each round, so that none always follows the same one.
                for system in systems[number % len(systems) :] + systems[: number % len(systems)]:
                    load = _run(program, system, work, connections, chosen.seconds, warm=number == 0)
                    loads[system.name, work.name, connections].append(load)
                    key = (system.name, work.name)
                    rss[key] = max(rss[key], system.rss_mb(work.name))
                    print(
                        f"  round {number + 1}  {work.name:<13}{connections:>3} connections  {system.name:<7}"
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
    known = {work.name: work for work in WORKS}
    parser.add_argument("--works", default=",".join(known), help="some of: %(default)s")
    parser.add_argument("--connections", default=",".join(map(str, CONNECTIONS)), help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="runs, of which medians are taken")
    parser.add_argument("--seconds", type=int, default=int(os.environ.get("BENCH_SECONDS") or 5))
    chosen = parser.parse_args(arguments)
    unknown = [name for name in chosen.works.split(",") if name not in known]
    if unknown:
        parser.error(f"unknown work {', '.join(unknown)}; known: {', '.join(known)}")
    chosen.works = [known[name] for name in chosen.works.split(",")]
    chosen.connections = [int(number) for number in chosen.connections.split(",")]
    return chosen


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
