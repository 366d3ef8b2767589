"""What the toolkit refuses: with the row and the field where there are any, within its time, and for one team only."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

import pytest

from core.errors import InvalidInput, MarinaError, SourceError
from servers.execution.backends.toolkit.pace import MAX_AT_ONCE, Bench, Pace, is_little
from servers.execution.backends.toolkit.values import MAX_RESULT_BYTES, MAX_ROWS
from servers.execution.contract import Operation, Outcome, Source
from servers.execution.engine import Engine

pytestmark = pytest.mark.anyio

Refused = Callable[..., Awaitable[MarinaError]]
Run = Callable[..., Awaitable[Outcome]]

ROW = {"a": 1, "b": "x", "c": [1], "d": {"e": 1}, "f": None, "g": True}

BAD: list[tuple[str, dict[str, Any], str, str]] = [
    ("calculate", {}, "expression", "Give an expression"),
    ("calculate", {"expression": 5}, "expression", "Give an expression"),
    ("calculate", {"expression": " "}, "expression", "Give an expression"),
    ("calculate", {"expression": "1/0"}, "expression", "Column 2: division by zero."),
    ("parse_csv", {}, "content", "Give the text"),
    ("parse_csv", {"content": ""}, "content", "nothing in it"),
    ("parse_csv", {"content": "\n\n"}, "content", "nothing in it"),
    ("parse_csv", {"content": "a,b\n1\n"}, "content", "Row 1 (line 2) has 1 value, and there are 2 columns"),
    ("parse_csv", {"content": "a\n\n\n1,2\n"}, "content", "Row 1 (line 4) has 2 values"),
    ("parse_csv", {"content": 'a\n"x\n'}, "content", "Line 2: a quotation mark is not closed"),
    ("parse_csv", {"content": 'a\n"x"y\n'}, "content", "after its closing quotation mark"),
    ("parse_csv", {"content": "a\n" + "x" * 200_000}, "content", "131,072 characters"),
    ("parse_csv", {"content": ",".join(["a"] * 501)}, "content", "501 columns"),
    ("parse_csv", {"content": "a\n" * (MAX_ROWS + 2)}, "content", "more than 50000 rows"),
    ("parse_csv", {"content": "x" * (4 * 1024 * 1024 + 1)}, "content", "at most 4194304"),
    ("parse_csv", {"content": "a", "has_header": "yes"}, "has_header", "true or false"),
    ("parse_csv", {"content": "a", "delimiter": "x"}, "delimiter", "a comma"),
    ("filter_data", {"field": "a", "operator": "eq", "value": 1}, "data", "Give an array"),
    ("filter_data", {"data": {"a": 1}, "field": "a", "operator": "eq", "value": 1}, "data", "Give an array"),
    (
        "filter_data",
        {"data": [ROW, 5], "field": "a", "operator": "eq", "value": 1},
        "data[1]",
        "Row 2 is a number",
    ),
    (
        "filter_data",
        {"data": [ROW, None], "field": "a", "operator": "eq", "value": 1},
        "data[1]",
        "Row 2 is null",
    ),
    ("filter_data", {"data": [ROW], "field": "", "operator": "eq", "value": 1}, "field", "Give the name"),
    ("filter_data", {"data": [ROW], "field": 5, "operator": "eq", "value": 1}, "field", "Give the name"),
    (
        "filter_data",
        {"data": [ROW], "field": "a" * 201, "operator": "eq", "value": 1},
        "field",
        "200 characters",
    ),
    ("filter_data", {"data": [ROW], "field": "a." * 20, "operator": "eq", "value": 1}, "field", "16 steps"),
    (
        "filter_data",
        {"data": [ROW], "field": "z", "operator": "eq", "value": 1},
        "field",
        "The first row has: a, b",
    ),
    ("filter_data", {"data": [ROW], "field": "c.9", "operator": "eq", "value": 1}, "field", "No row has"),
    ("filter_data", {"data": [ROW], "field": "c.-1", "operator": "eq", "value": 1}, "field", "No row has"),
    (
        "filter_data",
        {"data": [ROW], "field": "d.__class__", "operator": "eq", "value": 1},
        "field",
        "No row has",
    ),
    (
        "filter_data",
        {"data": [ROW], "field": "a", "operator": "like", "value": 1},
        "operator",
        "Choose one of",
    ),
    ("filter_data", {"data": [ROW], "field": "a", "operator": "eq", "value": [1]}, "value", "not an array"),
    (
        "filter_data",
        {"data": [ROW], "field": "a", "operator": "gt", "value": None},
        "value",
        "a number or a text",
    ),
    (
        "filter_data",
        {"data": [ROW], "field": "a", "operator": "gt", "value": True},
        "value",
        "a number or a text",
    ),
    (
        "filter_data",
        {"data": [ROW], "field": "a", "operator": "contains", "value": None},
        "value",
        "look for",
    ),
    (
        "filter_data",
        {"data": [ROW], "field": "b", "operator": "gt", "value": 5},
        "data[0].b",
        "Row 1, field b: text",
    ),
    (
        "filter_data",
        {"data": [ROW], "field": "g", "operator": "gt", "value": 5},
        "data[0].g",
        "a boolean cannot",
    ),
    (
        "filter_data",
        {"data": [ROW], "field": "a", "operator": "lt", "value": "x"},
        "data[0].a",
        "compared with text",
    ),
    (
        "filter_data",
        {"data": [ROW], "field": "d", "operator": "contains", "value": "x"},
        "data[0].d",
        "only text",
    ),
    ("map_fields", {"data": [ROW]}, "field_mapping", "Give an object"),
    ("map_fields", {"data": [ROW], "field_mapping": {}}, "field_mapping", "Give an object"),
    ("map_fields", {"data": [ROW], "field_mapping": ["a"]}, "field_mapping", "Give an object"),
    ("map_fields", {"data": [ROW], "field_mapping": {"a": 5}}, "field_mapping.a", "new name"),
    ("map_fields", {"data": [ROW], "field_mapping": {"a": ""}}, "field_mapping.a", "new name"),
    (
        "map_fields",
        {"data": [ROW], "field_mapping": {"a": "x", "b": "x"}},
        "field_mapping.b",
        "both be called x",
    ),
    (
        "map_fields",
        {"data": [ROW], "field_mapping": {"name": "a"}},
        "field_mapping.name",
        "No row has the field name",
    ),
    (
        "aggregate_data",
        {"data": [ROW], "group_by": 5, "aggregations": {"a": "sum"}},
        "group_by",
        "Give the name",
    ),
    (
        "aggregate_data",
        {"data": [ROW], "group_by": ["a"] * 11, "aggregations": {"a": "sum"}},
        "group_by",
        "at most 10",
    ),
    (
        "aggregate_data",
        {"data": [ROW], "group_by": "z", "aggregations": {"a": "sum"}},
        "group_by",
        "No row has",
    ),
    (
        "aggregate_data",
        {"data": [ROW], "group_by": "c", "aggregations": {"a": "sum"}},
        "data[0].c",
        "by an array",
    ),
    ("aggregate_data", {"data": [ROW], "group_by": [], "aggregations": {}}, "aggregations", "Give an object"),
    (
        "aggregate_data",
        {"data": [ROW], "group_by": [], "aggregations": {"a": "mean"}},
        "aggregations.a",
        "sum, avg",
    ),
    (
        "aggregate_data",
        {"data": [ROW], "group_by": [], "aggregations": {"a": []}},
        "aggregations.a",
        "sum, avg",
    ),
    (
        "aggregate_data",
        {"data": [ROW], "group_by": [], "aggregations": {"a": [1]}},
        "aggregations.a",
        "sum, avg",
    ),
    (
        "aggregate_data",
        {"data": [ROW], "group_by": [], "aggregations": {"*": "sum"}},
        "aggregations.*",
        "counted only",
    ),
    (
        "aggregate_data",
        {"data": [ROW], "group_by": [], "aggregations": {"z": "sum"}},
        "aggregations.z",
        "No row has",
    ),
    (
        "aggregate_data",
        {"data": [ROW], "group_by": [], "aggregations": {"b": "sum"}},
        "data[0].b",
        "Row 1, field b",
    ),
    (
        "aggregate_data",
        {"data": [ROW], "group_by": [], "aggregations": {"g": "sum"}},
        "data[0].g",
        "a boolean",
    ),
    (
        "aggregate_data",
        {"data": [ROW], "group_by": [], "aggregations": {"c": "min"}},
        "data[0].c",
        "no order",
    ),
    (
        "aggregate_data",
        {"data": [{"a": 1}, {"a": "x"}], "group_by": [], "aggregations": {"a": "max"}},
        "data[1].a",
        "Row 2, field a: text that is not written as a number has no order",
    ),
    (
        "aggregate_data",
        {"data": [{"x": 1, "x_sum": 2}], "group_by": "x_sum", "aggregations": {"x": "sum"}},
        "group_by",
        "two fields called x_sum",
    ),
    ("analyze_structure", {}, "data", "any JSON value"),
    ("analyze_structure", {"data": [0] * (MAX_ROWS + 1)}, "data", "50001 items"),
    ("summarize_numeric", {"data": [ROW], "fields": []}, "fields", "Give an array"),
    ("summarize_numeric", {"data": [ROW], "fields": "a"}, "fields", "Give an array"),
    ("summarize_numeric", {"data": [ROW], "fields": ["z"]}, "fields[0]", "No row has the field z"),
    ("summarize_numeric", {"data": [ROW], "fields": ["a", "b"]}, "data[0].b", "Row 1, field b: text"),
    ("summarize_numeric", {"data": [{"b": "x"}]}, "data", "No field holds numbers"),
    ("summarize_numeric", {"data": [{}] * (MAX_ROWS + 1)}, "data", "50001 rows"),
    ("summon", {}, "operation", "no operation summon"),
]


@pytest.mark.parametrize(("tool", "arguments", "path", "words"), BAD)
async def test_bad_input_is_refused_with_its_place(
    refused: Refused, tool: str, arguments: dict[str, Any], path: str, words: str
) -> None:
    error = await refused(tool, **arguments)
    assert isinstance(error, InvalidInput)
    assert error.errors[0]["path"] == path
    assert words in error.message


async def test_no_message_holds_a_value(refused: Refused) -> None:
    rows = [{"key": "s3cret"}]
    for tool, arguments in (
        ("filter_data", {"field": "key", "operator": "gt", "value": 1}),
        ("aggregate_data", {"group_by": [], "aggregations": {"key": "sum"}}),
        ("summarize_numeric", {"fields": ["key"]}),
    ):
        assert "s3cret" not in (await refused(tool, data=rows, **arguments)).message


async def test_data_that_nests_too_deep_is_refused(refused: Refused) -> None:
    deep: Any = 1
    for _ in range(100):
        deep = [deep]
    assert "deeper than 64" in (await refused("analyze_structure", data=deep)).message


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("filter_data", {"data": [{"a": "x" * 1000}] * 3000, "field": "a", "operator": "ne", "value": "y"}),
        ("map_fields", {"data": [{"a": "x" * 100_000}], "field_mapping": {"a": "b"}}),
        (
            "parse_csv",
            {"content": "a_column_with_a_name_that_is_rather_long\n" + "1\n" * 49_990},
        ),
        (
            "aggregate_data",
            {
                "data": [{"k": f"{n:0900}"} for n in range(3000)],
                "group_by": "k",
                "aggregations": {"*": "count"},
            },
        ),
    ],
)
async def test_a_result_over_its_size_is_refused(run: Run, tool: str, arguments: dict[str, Any]) -> None:
    if tool == "map_fields":
        row = arguments["data"][0]
        mapping = {f"a{n}": f"b{n}" for n in range(99)}
        arguments = {"data": [dict.fromkeys(mapping, row["a"])], "field_mapping": mapping}
    with pytest.raises(SourceError) as caught:
        await run(tool, **arguments)
    assert caught.value.code == "result_too_large"
    assert caught.value.data == {"max_bytes": MAX_RESULT_BYTES}


async def test_work_ends_when_its_time_is_up() -> None:
    bench, started, ended = Bench(), threading.Event(), threading.Event()

    def forever(pace: Pace) -> None:
        started.set()
        try:
            while True:
                pace.breathe()
        finally:
            ended.set()

    with pytest.raises(SourceError) as caught:
        await bench.run(forever, quick=False, tenant_id=1, timeout=0.05)
    assert caught.value.code == "source_timeout"
    assert started.is_set()
    assert ended.is_set()
    bench.close()


async def test_work_that_nobody_waits_for_ends() -> None:
    bench, started, ended = Bench(), threading.Event(), threading.Event()

    def forever(pace: Pace) -> None:
        started.set()
        try:
            while True:
                pace.breathe()
        finally:
            ended.set()

    task = asyncio.create_task(bench.run(forever, quick=False, tenant_id=1, timeout=30))
    assert await asyncio.to_thread(started.wait, 60)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.to_thread(ended.wait, 60)
    bench.close()


async def test_a_team_that_asks_for_much_keeps_one_place_in_the_row_only() -> None:
    bench, order, go = Bench(), [], threading.Event()

    def piece(name: str) -> Callable[[Pace], None]:
        def work(pace: Pace) -> None:
            go.wait(10)
            order.append(name)

        return work

    greedy = [
        asyncio.create_task(bench.run(piece(f"greedy {n}"), quick=False, tenant_id=1, timeout=30))
        for n in range(5)
    ]
    other = asyncio.create_task(bench.run(piece("other"), quick=False, tenant_id=2, timeout=30))
    await asyncio.sleep(0)
    go.set()
    await asyncio.gather(*greedy, other)
    assert order.index("other") == 1
    bench.close()


async def test_small_work_is_done_at_once_and_large_work_beside_the_loop(engine: Engine) -> None:
    source = Source(uuid4(), 1, "toolkit", "toolkit", 1, {})

    def begun() -> list[threading.Thread]:
        return [
            thread
            for thread in threading.enumerate()
            if thread.name.startswith("marina-toolkit") and thread not in before
        ]

    # Those of other tests, and of the runtime that they share.
    before = threading.enumerate()
    await engine.execute(source, Operation("analyze_structure", {}), {"data": [1] * 100})
    assert not begun()
    await engine.execute(source, Operation("analyze_structure", {}), {"data": [1] * (MAX_AT_ONCE + 1)})
    assert begun()


def test_what_is_little_is_told_without_looking_at_all_of_it() -> None:
    assert is_little({"a": [1] * 1_900})
    assert not is_little({"a": [1] * 2_100})
    assert not is_little({"a": [[1] * 500] * 5})
    assert not is_little("x" * 20_000)
