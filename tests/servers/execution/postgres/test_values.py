"""How PostgreSQL's values arrive as JSON, and JSON's as parameters."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

pytestmark = pytest.mark.anyio

VALUES = [
    ("1::int2", 1, "smallint"),
    ("9007199254740993", 9007199254740993, "bigint"),
    ("(-9223372036854775808)::int8", -(2**63), "bigint"),
    ("12.50::numeric", 12.5, "numeric"),
    ("0.00::numeric", 0.0, "numeric"),
    ("-3::numeric", -3, "numeric"),
    ("99999999999999999999999999::numeric", "99999999999999999999999999", "numeric"),
    ("0.1234567890123456789::numeric", "0.1234567890123456789", "numeric"),
    ("'NaN'::numeric", "NaN", "numeric"),
    ("'-Infinity'::numeric", "-Infinity", "numeric"),
    ("0.1::float8", 0.1, "double precision"),
    ("0.1::float4", 0.1, "real"),
    ("'NaN'::float8", "NaN", "double precision"),
    ("'Infinity'::float8", "Infinity", "double precision"),
    ("true", True, "boolean"),
    ("NULL", None, "text"),
    ("NULL::int", None, "integer"),
    ("'é😀'::text", "é😀", "text"),
    ("date '2024-02-29'", "2024-02-29", "date"),
    ("date 'infinity'", "infinity", "date"),
    ("date '0044-03-15 BC'", "0044-03-15 BC", "date"),
    ("time '12:30'", "12:30:00", "time without time zone"),
    ("timestamp '2024-02-29 12:30:00.5'", "2024-02-29T12:30:00.5", "timestamp without time zone"),
    ("(timestamptz '2024-02-29 12:00+00')::timestamptz = '2024-02-29T12:00Z'", True, "boolean"),
    ("interval '1 day 2 hours'", "P1DT2H", "interval"),
    ("'6ba7b810-9dad-11d1-80b4-00c04fd430c8'::uuid", "6ba7b810-9dad-11d1-80b4-00c04fd430c8", "uuid"),
    ("'\\xdeadbeef'::bytea", "\\xdeadbeef", "bytea"),
    ("'{\"a\": [1, null, 0.5]}'::jsonb", {"a": [1, None, 0.5]}, "jsonb"),
    ("'[1, 2]'::json", [1, 2], "json"),
    ("'1e400'::jsonb #>> '{}' IS NOT NULL", True, "boolean"),
    ("'{\"a\": 1e999}'::json", {"a": "1e999"}, "json"),
    ("'[123456789012345678901234567890]'::jsonb", "[123456789012345678901234567890]", "jsonb"),
    ("'\"\\ud83d\"'::json", '"\\ud83d"', "json"),
    ("(repeat('[', 300) || repeat(']', 300))::json", "[" * 300 + "]" * 300, "json"),
    ("ARRAY[1, NULL, 3]", [1, None, 3], "integer[]"),
    ("'{{1,2},{3,4}}'::int[]", [[1, 2], [3, 4]], "integer[]"),
    ("ARRAY['a,b', 'NULL', '\"']", ["a,b", "NULL", '"'], "text[]"),
    ("ARRAY[1.5, 'NaN']::float8[]", [1.5, "NaN"], "double precision[]"),
    ("ARRAY[date '2024-01-01']", ["2024-01-01"], "date[]"),
    ("ARRAY['{\"a\": 1}']::jsonb[]", [{"a": 1}], "jsonb[]"),
    ("int4range(1, 5)", "[1,5)", "int4range"),
    ("int4multirange(int4range(1, 5))", "{[1,5)}", "int4multirange"),
    ("point(1, 2)", "(1,2)", "point"),
    ("inet '10.0.0.1/8'", "10.0.0.1/8", "inet"),
    ("ROW(1, 'a')", "(1,a)", "record"),
    ("'red'::shop.colour", "red", "shop.colour"),
    ("'{red,green}'::shop.colour[]", "{red,green}", "shop.colour[]"),
    ("12.34::money IS NOT NULL", True, "boolean"),
    ("to_tsvector('simple', 'a b')", "'a':1 'b':2", "tsvector"),
    ("'1 year'::interval * 0", "PT0S", "interval"),
]


@pytest.mark.parametrize(("expression", "value", "type_"), VALUES, ids=[row[0] for row in VALUES])
async def test_value_arrives_as_json(query: Any, expression: str, value: Any, type_: str) -> None:
    outcome = await query(f"SELECT {expression} AS x")
    assert outcome.structured["rows"] == [{"x": value}]
    assert type(outcome.structured["rows"][0]["x"]) is type(value)
    assert outcome.structured["columns"] == [{"name": "x", "type": type_}]
    assert orjson.loads(outcome.text) == outcome.structured
    assert outcome.size == len(outcome.text.encode())


async def test_time_with_zone_has_a_full_offset(query: Any) -> None:
    value = (await query("SELECT timestamptz '2024-02-29 12:00+00' AS x")).structured["rows"][0]["x"]
    assert value[10] == "T"
    assert value[-6] in "+-"


async def test_column_of_numerics_has_one_type(query: Any) -> None:
    outcome = await query("SELECT x FROM (VALUES (1.5), (0.12345678901234567890), (2), (NULL)) v (x)")
    assert [row["x"] for row in outcome.structured["rows"]] == ["1.5", "0.12345678901234567890", "2", None]


async def test_repeated_column_names_are_told_apart(query: Any) -> None:
    outcome = await query("SELECT 1 AS a, 2 AS a, 3 AS a_2, 4 AS a")
    assert outcome.structured["rows"] == [{"a": 1, "a_3": 2, "a_2": 3, "a_4": 4}]
    assert [column["name"] for column in outcome.structured["columns"]] == ["a", "a_3", "a_2", "a_4"]


async def test_empty_result_still_has_its_columns(query: Any) -> None:
    outcome = await query("SELECT id, name FROM shop.item WHERE false")
    assert [column["name"] for column in outcome.structured["columns"]] == ["id", "name"]
    assert (outcome.rows, outcome.structured["rows"], outcome.truncated) == (0, [], False)


async def test_limit_is_kept_and_says_whether_there_is_more(query: Any) -> None:
    exact = await query("SELECT * FROM shop.item", limit=2)
    assert (exact.rows, exact.truncated, "note" in exact.structured) == (2, False, False)
    assert (await query("SELECT * FROM shop.item", limit=1)).truncated


async def test_order_of_rows_is_the_querys(query: Any) -> None:
    outcome = await query("SELECT i FROM generate_series(1, 500) i ORDER BY -i")
    assert [row["i"] for row in outcome.structured["rows"]] == list(range(500, 0, -1))


PARAMETERS = [
    ("SELECT name FROM shop.item WHERE id = $1", [1], "lamp"),
    ("SELECT name FROM shop.item WHERE id = :id", {"id": 2}, "vase"),
    ("SELECT name FROM shop.item WHERE id = ANY(:ids)", {"ids": [2, 7]}, "vase"),
    ("SELECT name FROM shop.item WHERE name = ANY($1)", [["lamp", 'a"b\\,{}']], "lamp"),
    ("SELECT name FROM shop.item WHERE made >= :day", {"day": "2024-01-01"}, "lamp"),
    ("SELECT name FROM shop.item WHERE (:day IS NULL OR made >= :day) AND id = 2", {"day": None}, "vase"),
    ("SELECT name FROM shop.item WHERE (:day IS NULL OR made >= :day)", {"day": "2024-01-01"}, "lamp"),
    ("SELECT concat(:a, '-', :b)", {"a": "x", "b": 1}, "x-1"),
    ("SELECT :a + :b", {"a": 1, "b": 2}, 3),
    ("SELECT $1::bool", [True], True),
    ("SELECT $1::jsonb", [{"a": [1]}], {"a": [1]}),
    ("SELECT $1 IS NULL", [None], True),
    ("SELECT ':a' || $1 || '%s %% $2'", ["!"], ":a!%s %% $2"),
    ("SELECT :a::text || ':a' || $$:a$$ /* :a */ -- :a", {"a": "x"}, "x:a:a"),
    ("SELECT ((ARRAY[1,2,3])[:i:2])[1]", {"i": 2}, 2),
    (
        "SELECT :a || $x$ :b $x$ || E'\\':c' || U&'\\0064' || \":d\" FROM (SELECT 'q' AS \":d\") t",
        {"a": "x"},
        "x :b ':cdq",
    ),
    ("SELECT '; DROP TABLE shop.item' || :a;", {"a": "'; DROP"}, "; DROP TABLE shop.item'; DROP"),
]


@pytest.mark.parametrize(("text", "params", "value"), PARAMETERS, ids=[row[0] for row in PARAMETERS])
async def test_parameter_is_bound(query: Any, text: str, params: Any, value: Any) -> None:
    rows = (await query(text, params=params)).structured["rows"]
    assert list(rows[0].values()) == [value]


async def test_group_by_sees_one_parameter_as_one(query: Any) -> None:
    text = "SELECT date_trunc(:unit, made) m, count(*) FROM shop.item GROUP BY date_trunc(:unit, made)"
    assert (await query(text, params={"unit": "year"})).rows == 2
