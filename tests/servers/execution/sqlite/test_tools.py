"""What the tools of a SQLite source give, and what they say of bad arguments."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import jsonschema_rs
import pytest

from core.errors import InvalidInput, NotFound, SourceError
from servers.execution.contract import Operation, SlowStatement, Source
from servers.execution.engine import Engine
from tests.servers.execution.sqlite.conftest import Quay, Run, make_file

pytestmark = pytest.mark.anyio

Rows = Callable[..., Awaitable[list[dict[str, Any]]]]

TOOLS = [
    "query_database",
    "execute_query",
    "list_tables",
    "describe_table",
    "get_schema",
    "get_table_sample",
    "analyze_table",
]


async def test_the_tools_are_those_of_every_database(
    engine: Engine, make_source: Callable[..., Source]
) -> None:
    backend = engine.backend("sqlite")
    assert [tool.name for tool in backend.offered(make_source().settings).tools] == TOOLS
    writing = backend.offered(make_source(allow_writes=True).settings).tools
    assert [tool.name for tool in writing] == [*TOOLS, "execute_transaction"]
    assert [tool.only_reads for tool in writing] == [True] * len(TOOLS) + [False]
    postgres = engine.backend("postgres").offered({"dsn": "postgresql://u@h/d", "allow_writes": True}).tools
    assert [tool.input_schema for tool in writing] == [tool.input_schema for tool in postgres]


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("query_database", {"query": "SELECT * FROM item"}),
        ("list_tables", {}),
        ("describe_table", {"table_name": "sale"}),
        ("get_schema", {}),
        ("get_table_sample", {"table": "main.item", "sample_size": 1}),
        ("analyze_table", {"table": "item", "schema": "main"}),
        ("analyze_table", {"table": "cheap"}),
        ("execute_transaction", {"queries": ["DELETE FROM sale"]}),
    ],
)
async def test_results_keep_to_their_schemas(
    name: str, arguments: dict[str, Any], engine: Engine, make_source: Callable[..., Source]
) -> None:
    source = make_source(
        allow_writes=True, masks={"sale.amount": "hidden"} if name != "execute_transaction" else {}
    )
    outcome = await engine.execute(source, Operation(name, {}), arguments, timeout=10)
    [schema] = [
        tool.output_schema
        for tool in engine.backend("sqlite").offered(source.settings).tools
        if tool.name == name
    ]
    jsonschema_rs.validator_for(dict(schema or {})).validate(outcome.structured)
    assert json.loads(outcome.text) == outcome.structured


async def test_tables_are_listed_with_what_is_known_of_them(run: Run) -> None:
    tables = (await run("list_tables")).structured["tables"]
    assert [(each["name"], each["kind"], each["estimated_rows"]) for each in tables] == [
        ("cheap", "view", None),
        ("item", "table", 2),
        ("noted", "table", None),
        ("page", "virtual table", None),
        ("sale", "table", None),
        ("secret", "table", 1),
        ("words", "view", None),
    ]
    assert (await run("list_tables", schema="MAIN")).structured["tables"] == tables
    assert (await run("list_tables", schema="temp")).structured["tables"] == []
    listed = (await run("list_tables", settings={"tables": ["ITEM"]})).structured["tables"]
    assert [each["name"] for each in listed] == ["item"]


async def test_a_table_is_described(run: Run) -> None:
    item = (
        await run("describe_table", table_name="Item", settings={"masks": {"item.iban": "partial"}})
    ).structured
    assert item["primary_key"] == ["id"]
    assert item["indexes"] == [
        {"name": "item_name", "unique": True, "definition": "CREATE UNIQUE INDEX item_name ON item (name)"}
    ]
    assert item["columns"][1] == {
        "name": "name",
        "type": "TEXT",
        "nullable": False,
        "default": "'unnamed'",
        "comment": None,
    }
    assert item["columns"][3]["masked"] == "partial"
    sale = (await run("get_schema", table_name="main.sale")).structured["tables"][0]
    assert sale["foreign_keys"] == [
        {"name": "foreign_key_1", "definition": "FOREIGN KEY (item) REFERENCES item (id) ON DELETE CASCADE"}
    ]


async def test_a_table_is_measured(run: Run) -> None:
    item = (await run("analyze_table", table="item")).structured
    assert (item["row_count"], item["row_count_exact"]) == (2, True)
    assert item["total_bytes"] == 4096 + item["indexes"][0]["bytes"]


@pytest.mark.parametrize("name", ["describe_table", "get_schema", "get_table_sample", "analyze_table"])
@pytest.mark.parametrize(
    "table", ["nowhere", "sqlite_schema", "page_data", "main.secret", "temp.item", "item; x"]
)
async def test_a_table_that_may_not_be_read_is_like_none(name: str, table: str, run: Run) -> None:
    key = "table_name" if name in ("describe_table", "get_schema") else "table"
    with pytest.raises(InvalidInput, match="no such table"):
        await run(name, **{key: table}, settings={"tables": ["item", "page"]})


async def test_resources_and_completions(engine: Engine, make_source: Callable[..., Source]) -> None:
    source = make_source()
    outcome = await engine.execute(source, Operation("db_schemas", {}), {"uri": "db://schemas"}, timeout=5)
    assert outcome.content is not None
    assert json.loads(outcome.content[0]["text"])["schemas"][0]["name"] == "main"
    table = Operation("db_table", {})
    outcome = await engine.execute(source, table, {"uri": "db://tables/item", "table": "item"}, timeout=5)
    assert json.loads(outcome.text)["name"] == "item"
    with pytest.raises(NotFound):
        await engine.execute(source, table, {"uri": "db://tables/x", "table": "sqlite_schema"}, timeout=5)
    found = await engine.complete(source, table, "table", "se", {})
    assert found.values == ["secret"]
    assert (await engine.complete(source, table, "table", "main.i", {})).values == ["main.item"]


async def test_values_come_as_json_has_them(rows: Rows) -> None:
    query = "SELECT x'00ff' b, 1e999 i, -1e999 j, 9223372036854775807 n, 1.5 r, 'é' t, NULL e, 1 = 1 w"
    assert await rows(query) == [
        {
            "b": "\\x00ff",
            "i": "Infinity",
            "j": "-Infinity",
            "n": 9223372036854775807,
            "r": 1.5,
            "t": "é",
            "e": None,
            "w": 1,
        }
    ]


async def test_columns_of_one_name_and_types(run: Run) -> None:
    outcome = await run("query_database", query="SELECT id, id, price, 1 AS n, 'a' AS t FROM item")
    names = [(each["name"], each["type"]) for each in outcome.structured["columns"]]
    assert names == [
        ("id", "INTEGER"),
        ("id_2", "INTEGER"),
        ("price", "REAL"),
        ("n", "INTEGER"),
        ("t", "TEXT"),
    ]


@pytest.mark.parametrize(
    ("query", "params", "found"),
    [
        ("SELECT :a AS v", {"a": "x"}, "x"),
        ("SELECT @a AS v", {"a": None}, None),
        ("SELECT $a AS v", {"a": True}, 1),
        ("SELECT :a + @a AS v", {"a": 2}, 4),
        ("SELECT ? AS v", [1.5], 1.5),
        ("SELECT ?2 - ?1 AS v", [1, 5], 4),
        ("SELECT $2 - $1 AS v", [1, 5], 4),
        ("SELECT ? || ? || ?1 AS v", ["a", "b"], "aba"),
        ("SELECT ':x' || :a -- :y\n AS v", {"a": "z"}, ":xz"),
        ("SELECT sum(value) AS v FROM json_each(:ids)", {"ids": [1, 2, 3]}, 6),
        ("SELECT :o ->> 'k' AS v", {"o": {"k": "w"}}, "w"),
    ],
)
async def test_parameters(query: str, params: Any, found: Any, rows: Rows) -> None:
    assert await rows(query, params=params) == [{"v": found}]


@pytest.mark.parametrize(
    ("query", "params"),
    [
        ("SELECT :a", {}),
        ("SELECT :a", {"a": 1, "b": 2}),
        ("SELECT ?", {"a": 1}),
        ("SELECT ?", []),
        ("SELECT ?", [1, 2]),
        ("SELECT ?2", [1, 2]),
        ("SELECT ?0", [1]),
        ("SELECT ?101", [1]),
        ("SELECT :a", [1]),
        ("SELECT :a", {"a": 2**63}),
        ("SELECT :a", {"a": "\ud800"}),
        ("SELECT 1", "text"),
    ],
)
async def test_parameters_that_do_not_fit_are_named(query: str, params: Any, run: Run) -> None:
    with pytest.raises((InvalidInput, SourceError)):
        await run("query_database", query=query, params=params)


async def test_faults_of_a_query_have_their_place(refused: Callable[..., Awaitable[SourceError]]) -> None:
    fault = await refused("SELECT 'é', nope FROM item")
    assert (fault.code, fault.data["position"]) == ("query_invalid", 13)
    assert fault.message == "SQLite: no such column: nope (at character 13 of the query)."
    assert (await refused("SELECT * FROM nowhere")).code == "query_invalid"
    assert (await refused("SELECT FROM")).code == "query_invalid"
    assert (await refused('SELECT "no column" FROM item')).code == "query_invalid"


async def test_rows_and_bytes_are_bounded(run: Run) -> None:
    many = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 5000) SELECT i FROM n"
    cut = (await run("query_database", query=many)).structured
    assert (cut["row_count"], cut["truncated"]) == (1_000, True)
    exact = (await run("query_database", query=f"{many} LIMIT 3", limit=3)).structured
    assert (exact["row_count"], exact["truncated"]) == (3, False)
    wide = f"SELECT i, hex(zeroblob(400)) AS h FROM ({many})"
    outcome = await run("query_database", query=wide, settings={"max_bytes": 4_096})
    assert outcome.truncated
    assert outcome.size <= 4_096
    assert outcome.structured["row_count"] == 4
    with pytest.raises(SourceError, match="substr") as caught:
        await run("query_database", query="SELECT hex(zeroblob(4000))", settings={"max_bytes": 4_096})
    assert caught.value.code == "result_too_large"


async def test_full_text_is_searched(rows: Rows) -> None:
    query = "SELECT highlight(page, 0, '[', ']') AS found FROM page WHERE page MATCH :word ORDER BY rank"
    assert await rows(query, params={"word": "harb*"}) == [{"found": "the [harbour] master"}]
    listed = {"settings": {"tables": ["page"]}}
    assert await rows("SELECT count(*) AS n FROM page('bay')", **listed) == [{"n": 1}]


async def test_names_of_with_are_no_tables(rows: Rows) -> None:
    listed = {"settings": {"tables": ["item"]}}
    assert await rows("WITH secret AS (SELECT 5 AS a) SELECT a FROM secret", **listed) == [{"a": 5}]
    assert await rows("WITH n AS (SELECT id FROM item) SELECT count(*) AS c FROM n", **listed) == [{"c": 2}]


async def test_a_view_needs_the_tables_that_it_reads(rows: Rows) -> None:
    assert await rows("SELECT name FROM cheap", settings={"tables": ["item", "cheap"]}) == [{"name": "vase"}]


@pytest.mark.usefixtures("read_anywhere")
async def test_a_tool_of_ones_own_runs_and_is_explained(
    engine: Engine, make_source: Callable[..., Source]
) -> None:
    definition = {
        "sql": "SELECT name FROM item WHERE id = :id OR name IN (SELECT value FROM json_each(:names)) ORDER BY id",
        "parameters": {
            "id": {"type": "integer"},
            "names": {"type": "array", "items": {"type": "string"}, "required": False},
        },
    }
    backend = engine.backend("sqlite")
    offered = backend.compile("sql", definition)
    assert offered.input_schema["required"] == ["id"]
    source = make_source()
    outcome = await engine.execute(source, offered.operation, {"id": 1, "names": ["vase"]}, timeout=5)
    assert [row["name"] for row in outcome.structured["rows"]] == ["lamp", "vase"]
    outcome = await engine.execute(source, offered.operation, {"id": 1}, timeout=5)
    assert [row["name"] for row in outcome.structured["rows"]] == ["lamp"]
    plan = await engine.execute(source, Operation("explain", offered.operation.definition), {}, timeout=5)
    assert "item" in plan.structured["plan"]
    assert plan.structured["estimated_rows"] is None


@pytest.mark.parametrize(
    ("definition", "paths"),
    [
        ({"sql": "DELETE FROM item"}, ["sql"]),
        ({"sql": "SELECT ?"}, ["sql"]),
        ({"sql": ""}, ["sql"]),
        ({"sql": "SELECT :a"}, ["parameters.a"]),
        ({"sql": "SELECT 1", "parameters": {"a": {"type": "integer"}}}, ["parameters.a"]),
        ({"sql": "SELECT 1; SELECT 2", "more": 1}, ["more", "sql"]),
    ],
)
async def test_every_fault_of_a_definition_is_named(
    definition: dict[str, Any], paths: list[str], engine: Engine
) -> None:
    with pytest.raises(InvalidInput) as caught:
        engine.backend("sqlite").compile("sql", definition)
    assert [fault["path"] for fault in caught.value.errors] == paths


async def test_a_slow_query_is_noted_without_its_values(run: Run, slow: list[SlowStatement]) -> None:
    query = (
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 900000) "
        "SELECT count(*) FROM n WHERE i <> 4711 AND 'secret' <> :word -- private"
    )
    await run("query_database", query=query, params={"word": "x"}, settings={"slow_query_seconds": 0.05})
    [noted] = slow
    assert noted.outcome == "ok"
    assert "secret" not in noted.statement
    assert "4711" not in noted.statement
    assert "private" not in noted.statement


async def test_what_was_replaced_meanwhile_is_read_as_it_is_now(quay: Quay, rows: Rows) -> None:
    assert await rows("SELECT count(*) AS n FROM item") == [{"n": 2}]
    make_file(quay.own / "new.db", "CREATE TABLE item (a); INSERT INTO item VALUES (1)")
    (quay.own / "new.db").rename(quay.file)
    assert await rows("SELECT count(*) AS n FROM item") == [{"n": 1}]


async def test_many_short_statements_are_read_where_a_long_one_is(
    run: Run, rows: Rows, read_aside: list[int]
) -> None:
    inserts = [f"INSERT INTO item (name) VALUES ('{number}{'x' * 200}')" for number in range(40)]
    await run("execute_transaction", queries=inserts, settings={"allow_writes": True})
    assert len(read_aside) == len(inserts)
    assert await rows("SELECT count(*) AS n FROM item") == [{"n": 2 + len(inserts)}]
