"""The tools that work on rows: what they give, and that they agree with the plainest way to the same."""

from __future__ import annotations

import csv
import io
import statistics
from fractions import Fraction
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from servers.execution.backends.toolkit.aggregating import aggregate_data, summarize_numeric
from servers.execution.backends.toolkit.csvtext import parse_csv
from servers.execution.backends.toolkit.operations import offer_operations
from servers.execution.backends.toolkit.pace import Pace
from servers.execution.backends.toolkit.rows import filter_data, map_fields
from servers.execution.backends.toolkit.structure import analyze_structure
from servers.execution.schemas import compile_schema

TOWNS: list[dict[str, Any]] = [
    {"town": "Delft", "land": "NL", "people": 103581, "mayor": {"name": "An"}, "tags": ["old", "canals"]},
    {"town": "Gouda", "land": "NL", "people": "75000", "mayor": {"name": "Bo"}, "tags": ["cheese"]},
    {"town": "Bonn", "land": "DE", "people": 331885.5, "mayor": None, "tags": []},
    {"town": "Ghost", "land": None, "people": ""},
]


def pace() -> Pace:
    return Pace(60, beside=False)


def names(rows: list[dict[str, Any]]) -> list[str]:
    return [row["town"] for row in rows]


@pytest.mark.parametrize(
    ("field", "operator", "value", "kept"),
    [
        ("land", "eq", "NL", ["Delft", "Gouda"]),
        ("land", "ne", "NL", ["Bonn", "Ghost"]),
        ("land", "eq", None, ["Ghost"]),
        ("people", "eq", 75000, ["Gouda"]),
        ("people", "eq", 331885.5, ["Bonn"]),
        ("people", "gt", 75000, ["Delft", "Bonn"]),
        ("people", "gte", "75000", ["Delft", "Gouda", "Bonn"]),
        ("people", "lt", 103581, ["Gouda"]),
        ("people", "lte", 103581.0, ["Delft", "Gouda"]),
        ("town", "gt", "C", ["Delft", "Gouda", "Ghost"]),
        ("town", "contains", "o", ["Gouda", "Bonn", "Ghost"]),
        ("tags", "contains", "cheese", ["Gouda"]),
        ("mayor.name", "eq", "An", ["Delft"]),
        ("mayor.name", "ne", "An", ["Gouda", "Bonn", "Ghost"]),
        ("tags.1", "eq", "canals", ["Delft"]),
    ],
)
def test_rows_are_filtered(field: str, operator: str, value: Any, kept: list[str]) -> None:
    found = filter_data({"data": TOWNS, "field": field, "operator": operator, "value": value}, pace())
    assert names(found["rows"]) == kept
    assert (found["row_count"], found["total_rows"]) == (len(kept), 4)


def test_two_texts_are_equal_by_their_letters_and_a_number_by_its_size() -> None:
    rows = [{"town": "a", "code": "0123"}, {"town": "b", "code": "123"}, {"town": "c", "code": 123}]

    def kept(value: Any) -> list[str]:
        return names(
            filter_data({"data": rows, "field": "code", "operator": "eq", "value": value}, pace())["rows"]
        )

    assert kept("123") == ["b", "c"]
    assert kept(123) == ["a", "b", "c"]


def test_true_is_not_one() -> None:
    rows = [{"town": "a", "x": True}, {"town": "b", "x": 1}]
    found = filter_data({"data": rows, "field": "x", "operator": "eq", "value": 1}, pace())
    assert names(found["rows"]) == ["b"]


def test_fields_are_chosen_and_renamed() -> None:
    mapping = {"town": "name", "mayor.name": "mayor", "tags.0": "first tag"}
    assert map_fields({"data": TOWNS, "field_mapping": mapping}, pace())["rows"][1:3] == [
        {"name": "Gouda", "mayor": "Bo", "first tag": "cheese"},
        {"name": "Bonn", "mayor": None, "first tag": None},
    ]


def test_a_key_with_a_dot_goes_before_a_path() -> None:
    rows = [{"a.b": 1, "a": {"b": 2}}, {"a": {"b": 3}}]
    assert map_fields({"data": rows, "field_mapping": {"a.b": "x"}}, pace())["rows"] == [{"x": 1}, {"x": 3}]


def test_rows_are_grouped_and_aggregated() -> None:
    found = aggregate_data(
        {
            "data": TOWNS,
            "group_by": "land",
            "aggregations": {"people": ["sum", "avg", "count", "min", "max"], "town": "max", "*": "count"},
        },
        pace(),
    )
    assert found["rows"] == [
        {
            "land": "NL",
            "people_sum": 178581,
            "people_avg": 89290.5,
            "people_count": 2,
            "people_min": 75000,
            "people_max": 103581,
            "town_max": "Gouda",
            "count": 2,
        },
        {
            "land": "DE",
            "people_sum": 331885.5,
            "people_avg": 331885.5,
            "people_count": 1,
            "people_min": 331885.5,
            "people_max": 331885.5,
            "town_max": "Bonn",
            "count": 1,
        },
        {
            "land": None,
            "people_sum": 0,
            "people_avg": None,
            "people_count": 0,
            "people_min": None,
            "people_max": None,
            "town_max": "Ghost",
            "count": 1,
        },
    ]


def test_no_grouping_is_one_group_of_all() -> None:
    rows = [{"x": 0.1}, {"x": 0.2}, {"x": 0.3}]
    found = aggregate_data({"data": rows, "group_by": [], "aggregations": {"x": "sum"}}, pace())
    # As people add money, not as doubles do.
    assert found["rows"] == [{"x_sum": 0.6}]


def test_true_and_one_are_groups_of_their_own() -> None:
    rows = [{"x": True}, {"x": 1}, {"x": "1"}, {"x": 1.0}]
    found = aggregate_data({"data": rows, "group_by": ["x"], "aggregations": {"*": "count"}}, pace())
    assert [row["count"] for row in found["rows"]] == [1, 2, 1]


numbers = st.one_of(
    st.integers(-(2**53), 2**53), st.floats(allow_nan=False, allow_infinity=False, width=32), st.none()
)


@given(st.lists(st.fixed_dictionaries({"k": st.sampled_from("abc"), "x": numbers}), min_size=1, max_size=40))
def test_aggregates_agree_with_a_plain_loop(rows: list[dict[str, Any]]) -> None:
    found = aggregate_data(
        {"data": rows, "group_by": "k", "aggregations": {"x": ["sum", "avg", "count", "min", "max"]}}, pace()
    )
    plain: dict[str, list[Fraction]] = {}
    for row in rows:
        plain.setdefault(row["k"], [])
        if row["x"] is not None:
            plain[row["k"]].append(Fraction(repr(row["x"])))
    assert [row["k"] for row in found["rows"]] == list(plain)
    for row in found["rows"]:
        values = plain[row["k"]]
        assert row["x_count"] == len(values)
        assert row["x_sum"] == pytest.approx(float(sum(values)), rel=1e-15, abs=0)
        if values:
            assert row["x_avg"] == pytest.approx(float(sum(values) / len(values)), rel=1e-14, abs=0)
            assert (row["x_min"], row["x_max"]) == (float(min(values)), float(max(values)))
        else:
            assert (row["x_avg"], row["x_min"], row["x_max"]) == (None, None, None)


@given(st.lists(st.integers(-(10**6), 10**6) | st.floats(-1e6, 1e6), min_size=2, max_size=60))
def test_summaries_agree_with_the_statistics_module(values: list[float]) -> None:
    rows = [{"x": value} for value in values]
    found = summarize_numeric({"data": rows, "fields": ["x"]}, pace())["fields"]["x"]
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    assert (found["count"], found["missing"]) == (len(values), 0)
    for name, expected in (
        ("avg", statistics.fmean(values)),
        ("p25", low),
        ("median", middle),
        ("p75", high),
        ("stddev", statistics.stdev(values)),
        ("min", min(values)),
        ("max", max(values)),
    ):
        assert found[name] == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_a_summary_without_fields_is_of_those_that_hold_numbers() -> None:
    found = summarize_numeric({"data": TOWNS}, pace())
    assert list(found["fields"]) == ["people"]
    assert found["fields"]["people"]["missing"] == 1


def test_many_values_are_sorted_in_parts() -> None:
    rows = [{"x": (number * 7919) % 5000} for number in range(5000)]
    found = summarize_numeric({"data": rows}, pace())["fields"]["x"]
    assert (found["min"], found["median"], found["max"]) == (0, 2499.5, 4999)


@pytest.mark.parametrize(
    ("content", "options", "columns", "rows"),
    [
        ("a,b\n1,2\n", {}, ["a", "b"], [["1", "2"]]),
        ("\ufeffa,b\r\n1,2\r\n", {}, ["a", "b"], [["1", "2"]]),
        ("1,2\n3,4", {"has_header": False}, ["column_1", "column_2"], [["1", "2"], ["3", "4"]]),
        ('a\n"x, ""y""\nz"\n\n', {}, ["a"], [['x, "y"\nz']]),
        ("a;b\n1,5;2\n", {"delimiter": ";"}, ["a", "b"], [["1,5", "2"]]),
        ("a,a,,a_2\n1,2,3,4\n", {}, ["a", "a_3", "column_3", "a_2"], [["1", "2", "3", "4"]]),
        ("zip\n00123\n", {}, ["zip"], [["00123"]]),
        ("a,b\n", {}, ["a", "b"], []),
    ],
)
def test_csv_becomes_rows_of_text(
    content: str, options: dict[str, Any], columns: list[str], rows: list[list[str]]
) -> None:
    found = parse_csv({"content": content, **options}, pace())
    assert found["columns"] == columns
    assert [list(row.values()) for row in found["rows"]] == rows
    assert all(list(row) == columns for row in found["rows"])
    assert found["row_count"] == len(rows)


cells = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)


@given(
    st.integers(1, 5).flatmap(
        lambda width: st.lists(st.lists(cells, min_size=width, max_size=width), min_size=1, max_size=12)
    )
)
def test_what_the_csv_module_writes_is_read_back(table: list[list[str]]) -> None:
    text = io.StringIO(newline="")
    csv.writer(text, quoting=csv.QUOTE_ALL).writerows(table)
    found = parse_csv({"content": text.getvalue(), "has_header": False}, pace())
    assert [list(row.values()) for row in found["rows"]] == table


def test_the_structure_of_nested_data_is_told_field_by_field() -> None:
    found = analyze_structure({"data": TOWNS}, pace())
    assert (found["type"], found["length"], found["depth"], found["truncated"]) == ("array", 4, 3, False)
    fields = {field["path"]: field for field in found["fields"]}
    assert fields["[].people"] == {
        "path": "[].people",
        "types": {"integer": 1, "string": 2, "number": 1},
        "present": 4,
        "missing": 0,
        "distinct": 4,
        "examples": [103581, "75000", 331885.5],
    }
    assert fields["[].mayor"]["types"] == {"object": 2, "null": 1}
    assert fields["[].mayor"]["missing"] == 1
    assert fields["[].mayor.name"]["examples"] == ["An", "Bo"]
    assert fields["[].tags[]"]["distinct"] == 3


@pytest.mark.parametrize("data", [None, True, 5, "text", [], {}, [1, "a", None], {"a": {"b": [1]}}])
def test_any_json_has_a_structure(data: Any) -> None:
    found = analyze_structure({"data": data}, pace())
    assert orjson.loads(orjson.dumps(found)) == found


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False)
    | st.text(max_size=8),
    lambda below: st.lists(below, max_size=4) | st.dictionaries(st.text(max_size=6), below, max_size=4),
    max_leaves=20,
)


@given(json_values)
def test_a_structure_counts_every_value_once(data: Any) -> None:
    def count(value: Any) -> int:
        below = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        return 1 + sum(map(count, below))

    assert analyze_structure({"data": data}, pace())["values"] == count(data)


def test_what_the_tools_give_fits_their_schemas() -> None:
    offered = {tool.name: tool for tool in offer_operations()}
    given_to: dict[str, Any] = {
        "filter_data": ({"data": TOWNS, "field": "town", "operator": "ne", "value": None}, filter_data),
        "map_fields": ({"data": TOWNS, "field_mapping": {"town": "x"}}, map_fields),
        "aggregate_data": ({"data": TOWNS, "group_by": [], "aggregations": {"*": "count"}}, aggregate_data),
        "analyze_structure": ({"data": TOWNS}, analyze_structure),
        "summarize_numeric": ({"data": TOWNS}, summarize_numeric),
        "parse_csv": ({"content": "a\n1"}, parse_csv),
    }
    for name, (arguments, compute) in given_to.items():
        tool = offered[name]
        assert tool.output_schema is not None
        assert compile_schema(tool.input_schema).is_valid(arguments)
        assert compile_schema(tool.output_schema).is_valid(compute(arguments, pace()))
