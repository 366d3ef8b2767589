"""What the bench reads, prints and writes is right. No figure is judged here: that is for people."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from config.local.options import read_options
from servers.execution.backends.http import HttpBackend
from tests.bench.document import OPERATIONS, make_document
from tests.bench.export_works import describe_export, format_exports
from tests.bench.load import Load
from tests.bench.machine import Cores, pick_cores
from tests.bench.neighbour import bad_requests
from tests.bench.offered import BAD_TEAM
from tests.bench.one_call import split_request
from tests.bench.report import (
    compare_works,
    describe_import,
    describe_streams,
    format_import,
    format_streams,
    format_table,
    summarise,
    write_results,
)
from tests.bench.stages import PATH, WHOLE, StageCost, format_stages, measure_stages, parse_stages
from tests.bench.systems import System, inherited_environment
from tests.bench.works import WORKS, Target, prepare

FIELDS = {"system", "work", "connections", "per_second", "p50_ms", "p99_ms", "rss_mb", "errors"}
"""Of a row of ``results.json``: programs outside of the project read them."""


def make_load(per_second: float, errors: int = 0) -> Load:
    return Load(per_second, p50_ms=1.0, p99_ms=2.0, errors=errors, requests=100, cpu_us=10.0)


def test_every_stage_of_a_call_can_be_measured() -> None:
    environ = inherited_environment()
    costs = measure_stages(Cores(None, None), environ, read_options(environ), batches=1)
    names = [cost.stage for cost in costs]
    assert names[:2] == ["headers and gate", "admission"]
    assert {"masking", "decision", "argument schema", "tool (echo)", "record", "result bytes"} < set(names)
    assert names[-2:] == [PATH, WHOLE]
    assert len(set(names)) == len(names)


def test_the_table_of_stages_adds_up_to_the_whole_call() -> None:
    costs = [
        StageCost("first", 1.0, 2.0, 100),
        StageCost("second", 3.0, 4.0, 100),
        StageCost(PATH, 5.0, 6.0, 100),
        StageCost(WHOLE, 10.0, 20.0, 100),
    ]
    lines = format_stages(costs).splitlines()
    assert [line[:20].strip() for line in lines[1:6]] == [
        "first",
        "second",
        "between the stages",
        WHOLE,
        PATH,
    ]
    assert [line[20:].split() for line in lines[1:6]] == [
        ["1.00", "2.00", "10%"],
        ["3.00", "4.00", "20%"],
        ["6.00", "14.00", "70%"],
        ["10.00", "20.00", "100%"],
        ["5.00", "6.00", "30%"],
    ]
    assert len({len(line) for line in lines[:6]}) == 1


def test_stages_are_read_from_the_last_line() -> None:
    row = {"stage": "first", "best_us": 1.5, "median_us": 2.5, "runs": 20}
    assert parse_stages(f"a warning\n{json.dumps([row])}\n") == [StageCost("first", 1.5, 2.5, 20)]


def test_a_request_is_split_as_a_server_reads_it() -> None:
    request = prepare(WORKS[0], Target("http://127.0.0.1:8000/mcp/team", {"Authorization": "Bearer key"}))
    headers, body = split_request(request.first + b"100000001" + request.last)
    assert dict(headers)[b"host"] == b"127.0.0.1:8000"
    assert dict(headers)[b"authorization"] == b"Bearer key"
    assert dict(headers)[b"mcp-method"] == b"tools/call"
    assert int(dict(headers)[b"content-length"]) == len(body)
    assert json.loads(body)["id"] == 100_000_001


def test_results_have_the_fixed_fields_for_streams_too(tmp_path: Path) -> None:
    call = summarise("marina-2", "call", 64, [make_load(10.0), make_load(30.0), make_load(20.0, 1)], 300.04)
    write_results(tmp_path / "results.json", [call, describe_streams(1000, 25.84, errors=0)])
    rows = json.loads((tmp_path / "results.json").read_text())
    assert [set(row) for row in rows] == [FIELDS, FIELDS]
    assert rows[0] == {
        "system": "marina-2",
        "work": "call",
        "connections": 64,
        "per_second": 20.0,
        "p50_ms": 1.0,
        "p99_ms": 2.0,
        "rss_mb": 300.0,
        "errors": 1,
    }
    assert (rows[1]["system"], rows[1]["work"], rows[1]["rss_mb"]) == ("marina", "streams-1000", 25.8)
    assert list(tmp_path.iterdir()) == [tmp_path / "results.json"]


def test_the_table_compares_each_system_at_the_same_work() -> None:
    results = [
        summarise(system, "call", 64, [make_load(per_second)], 100.0)
        for system, per_second in (("marina", 300.0), ("sdk", 100.0), ("limit", 600.0), ("marina-2", 450.0))
    ]
    ratios = [line.split()[7:9] for line in format_table(results).splitlines()[1:]]
    assert ratios == [["3.00", "0.50"], ["1.00", "0.17"], ["6.00", "1.00"], ["4.50", "0.75"]]


def test_what_works_of_marinas_tell_is_told_beside_its_calls() -> None:
    results = [
        summarise("marina", work, connections, [Load(rate, p50, p99, errors=0, requests=9)], 100.0)
        for work, connections, rate, p50, p99 in (
            ("call", 1, 1_000.0, 1.0, 2.0),
            ("cached", 1, 980.0, 1.1, 2.2),
            ("call-1000", 1, 900.0, 1.1, 2.2),
            ("pipeline-10", 1, 250.0, 4.0, 5.0),
            ("call-beside", 1, 800.0, 1.2, 3.0),
            ("call-beside", 64, 800.0, 1.2, 3.0),
            ("upstream", 1, 600.0, 1.7, 3.0),
        )
    ]
    results.append(summarise("sdk", "upstream", 1, [Load(3_000.0, 0.3, 0.5, errors=0, requests=9)], 70.0))
    lines = compare_works(results)
    assert len(lines) == 5
    wanted = (
        "0.98 x the calls",
        "0.90 x the calls",
        "3.00 ms more",
        "1.50 x what it is",
        "about 0.40 more",
    )
    for line, words in zip(lines, wanted, strict=True):
        assert words in line
    taken = describe_import(1_000, 4.304)
    assert (taken.work, taken.p50_ms) == ("import-1000", 4_304.0)
    assert format_import(taken) == "An OpenAPI document of 1,000 operations is tools after 4.30 s."


def test_the_bad_neighbour_sends_nothing_that_is_refused_for_its_size_alone() -> None:
    for path, body in bad_requests():
        assert path.endswith((BAD_TEAM, f"{BAD_TEAM}/data-sources/test"))
        assert 0 < len(body) < 4 * 1024 * 1024


def test_the_benchs_document_makes_a_thousand_tools() -> None:
    settings = {"openapi": make_document(), "allow_writes": True}
    backend = HttpBackend()
    assert len(backend.offered(backend.clean_settings(settings)).tools) == OPERATIONS


def test_streams_that_did_not_open_give_no_figure() -> None:
    assert "26 kB each" in format_streams(describe_streams(1000, 25.8, errors=0))
    assert "not measured" in format_streams(describe_streams(1000, 0.0, errors=1000))


def test_a_system_is_measured_at_its_own_works_and_connections_only() -> None:
    target = Target("http://127.0.0.1:8000/mcp/team")
    pair = System("marina-2", {"call": target}, connections=frozenset({64}))
    assert [pair.does("call", 64), pair.does("call", 1), pair.does("sql", 64)] == [True, False, False]
    assert System("marina", {"call": target}).does("call", 1)


@pytest.mark.parametrize(
    ("usable", "server", "rest", "pair", "words"),
    [
        ([3], None, None, (), "pinned to no core"),
        ([0, 1], 0, 1, (0, 1), "share with PostgreSQL"),
        ([2, 4, 6, 7], 2, 4, (2, 6), "with nothing else on them"),
    ],
)
def test_two_processes_have_cores_of_their_own_where_there_are_enough(
    usable: list[int], server: int | None, rest: int | None, pair: tuple[int, ...], words: str
) -> None:
    cores = pick_cores(usable)
    assert cores == Cores(server, rest, pair)
    assert words in cores.describe_pair()


def test_an_export_that_was_killed_and_differs_is_said_to() -> None:
    told = {"seconds": 20.0, "records": 1_000_000, "rss_mb": 120.04, "child_rss_mb": 90.0, "cpu_seconds": 9.0}
    whole, killed = (describe_export("jsonl", told, errors=0), describe_export("killed", told, errors=1))
    assert (whole.work, whole.per_second, whole.rss_mb) == ("export-jsonl", 50_000.0, 120.0)
    lines = format_exports([whole, killed]).splitlines()
    assert "50,000 records/s" in lines[0]
    assert "other bytes" in lines[1]
    assert "the bytes of" in format_exports([describe_export("killed", told, errors=0)])
