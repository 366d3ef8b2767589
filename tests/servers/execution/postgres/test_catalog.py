"""The tools and resources that tell of a database, and the health of a source."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import jsonschema_rs
import pytest

from core.errors import InvalidInput, NotFound
from servers.execution.contract import Operation, Source
from servers.execution.engine import Engine
from servers.execution.sql import operations

pytestmark = pytest.mark.anyio


TOOLS = [
    "query_database",
    "execute_query",
    "list_tables",
    "describe_table",
    "get_schema",
    "get_table_sample",
    "analyze_table",
]


def validate(engine: Engine, source: Source, name: str, structured: Any) -> None:
    offered = {tool.name: tool for tool in engine.backend("postgres").offered(source.settings).tools}
    jsonschema_rs.validator_for(dict(offered[name].output_schema or {})).validate(structured)


async def test_list_tables_shows_what_the_role_may_read(
    engine: Engine, make_source: Callable[..., Source]
) -> None:
    source = make_source()
    outcome = await engine.execute(source, Operation("list_tables", {}), {}, timeout=10)
    assert outcome.structured is not None
    tables = {(table["schema"], table["name"]): table for table in outcome.structured["tables"]}
    assert set(tables) == {("shop", "item"), ("shop", "sale"), ("shop", "red"), ("back_office", "salary")}
    assert tables["shop", "item"] == {
        "schema": "shop",
        "name": "item",
        "kind": "table",
        "estimated_rows": 2,
        "comment": "Things for sale",
    }
    assert tables["shop", "red"]["kind"] == "view"
    assert tables["shop", "red"]["estimated_rows"] is None
    validate(engine, source, "list_tables", outcome.structured)


async def test_list_tables_keeps_to_the_schemas_of_settings_and_argument(
    engine: Engine, make_source: Callable[..., Source]
) -> None:
    async def list_schemas(source: Source, arguments: dict[str, Any]) -> set[str]:
        outcome = await engine.execute(source, Operation("list_tables", {}), arguments, timeout=10)
        assert outcome.structured is not None
        return {table["schema"] for table in outcome.structured["tables"]}

    assert await list_schemas(make_source(schemas=["shop"]), {}) == {"shop"}
    assert await list_schemas(make_source(), {"schema": "back_office"}) == {"back_office"}
    assert await list_schemas(make_source(schemas=["shop"]), {"schema": "back_office"}) == set()


@pytest.mark.parametrize("arguments", [{"table_name": "item", "schema": "shop"}, {"table_name": "shop.item"}])
async def test_describe_table_tells_all_of_a_table(
    engine: Engine, make_source: Callable[..., Source], arguments: dict[str, Any]
) -> None:
    source = make_source()
    outcome = await engine.execute(source, Operation("describe_table", {}), arguments, timeout=10)
    found = outcome.structured
    assert found is not None
    columns = {column["name"]: column for column in found["columns"]}
    assert list(columns) == ["id", "name", "price", "colour", "made", "tags"]
    assert columns["price"] == {
        "name": "price",
        "type": "numeric(10,2)",
        "nullable": True,
        "default": None,
        "comment": "In euro",
    }
    assert columns["colour"]["values"] == ["red", "green"]
    assert columns["name"]["default"] == "'unnamed'::text"
    assert columns["name"]["nullable"] is False
    assert found["primary_key"] == ["id"]
    assert {index["name"]: index["unique"] for index in found["indexes"]} == {
        "item_name": True,
        "item_pkey": True,
    }
    assert found["comment"] == "Things for sale"
    validate(engine, source, "describe_table", found)


async def test_describe_table_shows_foreign_keys(engine: Engine, make_source: Callable[..., Source]) -> None:
    outcome = await engine.execute(
        make_source(schemas=["shop"]), Operation("describe_table", {}), {"table_name": "sale"}, timeout=10
    )
    assert outcome.structured is not None
    assert "REFERENCES item(id)" in outcome.structured["foreign_keys"][0]["definition"].replace("shop.", "")


@pytest.mark.parametrize(
    "name", ["nothing", "private", "shop.private", "pg_class", "pg_catalog.pg_class", "a'; --"]
)
async def test_table_that_may_not_be_read_is_like_one_that_is_not_there(
    engine: Engine, make_source: Callable[..., Source], name: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        await engine.execute(make_source(), Operation("describe_table", {}), {"table_name": name}, timeout=10)
    assert caught.value.errors[0]["path"] == "table_name"


Run = Callable[..., Awaitable[Any]]


@pytest.fixture
def run(engine: Engine, make_source: Callable[..., Source]) -> Run:
    """Calls one of the tools of a source; keywords are its settings. What it gives fits the tool's schema."""

    async def call(name: str, arguments: dict[str, Any], **settings: Any) -> Any:
        source = make_source(**settings)
        offered = {tool.name: tool for tool in engine.backend("postgres").offered(source.settings).tools}[
            name
        ]
        jsonschema_rs.validator_for(dict(offered.input_schema)).validate(arguments)
        structured = (await engine.execute(source, offered.operation, arguments, timeout=10)).structured
        jsonschema_rs.validator_for(dict(offered.output_schema or {})).validate(structured)
        return structured

    return call


async def test_get_schema_gives_every_table_with_its_keys(run: Run) -> None:
    found = await run("get_schema", {})
    tables = {f"{table['schema']}.{table['name']}": table for table in found["tables"]}
    assert list(tables) == ["back_office.salary", "shop.item", "shop.red", "shop.sale"]
    assert tables["shop.item"]["primary_key"] == ["id"]
    assert tables["shop.item"]["columns"][0] == {"name": "id", "type": "integer", "nullable": False}
    assert "REFERENCES shop.item(id)" in tables["shop.sale"]["foreign_keys"][0]["definition"]
    assert found["truncated"] is False


@pytest.mark.parametrize("name", ["item", "shop.item"])
async def test_get_schema_gives_the_table_that_is_named(run: Run, name: str) -> None:
    found = await run("get_schema", {"table_name": name}, schemas=["shop"])
    assert [table["name"] for table in found["tables"]] == ["item"]


async def test_get_schema_that_is_too_large_says_so(run: Run) -> None:
    found = await run("get_schema", {}, max_bytes=1_024)
    assert (len(found["tables"]) < 4, found["truncated"]) == (True, True)


async def test_execute_query_is_query_database(run: Run, engine: Engine, make_source: Any) -> None:
    first, second = engine.backend("postgres").offered(make_source().settings).tools[:2]
    assert (first.input_schema, first.output_schema) == (second.input_schema, second.output_schema)
    found = await run("execute_query", {"query": "SELECT :a::int AS a", "params": {"a": 3}})
    assert found["rows"] == [{"a": 3}]


@pytest.mark.parametrize(("size", "rows"), [(1, 1), (100, 2), (None, 2)])
async def test_a_sample_has_as_many_rows_as_asked(run: Run, size: int | None, rows: int) -> None:
    arguments = {"table": "item", "schema": "shop", **({} if size is None else {"sample_size": size})}
    found = await run("get_table_sample", arguments)
    assert found["row_count"] == len(found["rows"]) == rows
    assert [column["name"] for column in found["columns"]][:2] == ["id", "name"]
    assert found["truncated"] is False


async def test_analyze_table_counts(run: Run) -> None:
    found = await run("analyze_table", {"table": "shop.item"})
    assert (found["row_count"], found["row_count_exact"]) == (2, True)
    assert {index["name"]: index["unique"] for index in found["indexes"]} == {
        "item_name": True,
        "item_pkey": True,
    }
    assert found["total_bytes"] > 0
    assert (await run("analyze_table", {"table": "red"}, schemas=["shop"]))["total_bytes"] is None


async def test_analyze_table_that_cannot_count_in_time_gives_the_estimate(
    run: Run, scratch: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch.run("CREATE VIEW shop.endless AS SELECT generate_series(1, 10000000000)")
    scratch.run(f'GRANT SELECT ON shop.endless TO "{scratch.user}"')
    monkeypatch.setattr(operations, "COUNT_SECONDS", 0.4)
    try:
        found = await run("analyze_table", {"table": "shop.endless"})
    finally:
        scratch.run("DROP VIEW shop.endless")
    assert (found["row_count"], found["row_count_exact"]) == (None, False)


@pytest.mark.parametrize("name", ["get_table_sample", "analyze_table", "get_schema"])
@pytest.mark.parametrize("table", ["nothing", "private", "shop.private", "pg_class", 'item" --'])
async def test_tools_of_one_table_know_none_that_may_not_be_read(run: Run, name: str, table: str) -> None:
    key = "table_name" if name == "get_schema" else "table"
    with pytest.raises(InvalidInput) as caught:
        await run(name, {key: table}, schemas=["shop"])
    assert caught.value.errors[0]["path"] == key


class TestResources:
    async def read(self, engine: Engine, source: Source, kind: str, **arguments: str) -> Any:
        outcome = await engine.execute(
            source, Operation(kind, {}), {"uri": "db://x", **arguments}, timeout=10
        )
        assert outcome.content is not None
        [content] = outcome.content
        assert (content["uri"], content["mimeType"]) == ("db://x", "application/json")
        return json.loads(content["text"])

    async def test_schemas_have_the_names_of_their_tables(self, engine: Engine, make_source: Any) -> None:
        found = await self.read(engine, make_source(), "db_schemas")
        assert {each["name"]: each["tables"] for each in found["schemas"]} == {
            "back_office": ["salary"],
            "shop": ["item", "red", "sale"],
        }

    @pytest.mark.parametrize("table", ["shop.item", "item"])
    async def test_a_table_is_described(self, engine: Engine, make_source: Any, table: str) -> None:
        found = await self.read(engine, make_source(schemas=["shop"]), "db_table", table=table)
        assert found["primary_key"] == ["id"]

    async def test_a_table_that_may_not_be_read_is_not_there(self, engine: Engine, make_source: Any) -> None:
        for table in ("shop.private", "nothing", "pg_catalog.pg_authid"):
            with pytest.raises(NotFound):
                await self.read(engine, make_source(), "db_table", table=table)

    async def test_names_of_tables_are_completed(self, engine: Engine, make_source: Any) -> None:
        async def complete(value: str) -> Any:
            operation = Operation("db_table", {})
            return (
                await engine.complete(make_source(schemas=["shop"]), operation, "table", value, {})
            ).values

        assert list(await complete("")) == ["item", "red", "sale", "shop.item", "shop.red", "shop.sale"]
        assert list(await complete("shop.s")) == ["shop.sale"]
        assert list(await complete("priv")) == []
        assert list(await complete("\x00")) == []


async def test_query_result_fits_its_schema(
    engine: Engine, make_source: Callable[..., Source], query: Any
) -> None:
    outcome = await query("SELECT * FROM shop.item", limit=1)
    validate(engine, make_source(), "query_database", outcome.structured)


async def test_offered_tools_are_read_only_and_name_their_limits(
    engine: Engine, make_source: Callable[..., Source]
) -> None:
    tools = engine.backend("postgres").offered(make_source(row_limit=50).settings).tools
    assert [tool.name for tool in tools] == TOOLS
    assert all(tool.annotations["readOnlyHint"] for tool in tools)
    assert tools[0].input_schema["properties"]["limit"]["maximum"] == 50
    for tool in tools:
        jsonschema_rs.validator_for(dict(tool.input_schema))


class TestCheck:
    async def test_good_source_is_healthy(self, engine: Engine, make_source: Callable[..., Source]) -> None:
        health = await engine.check(make_source())
        assert (health.state, health.reason, health.code) == ("healthy", "", "")
        assert health.latency_ms is not None

    async def test_check_leaves_no_connection(
        self, engine: Engine, make_source: Callable[..., Source], scratch: Any
    ) -> None:
        await engine.check(make_source())
        await scratch.wait_for_backends(0)

    async def test_each_fault_has_its_code_and_no_secret(
        self, engine: Engine, make_source: Callable[..., Source], scratch: Any
    ) -> None:
        for parts, code in (
            ({"password": "bad-secret"}, "source_auth"),
            ({"dbname": "nothing_here"}, "source_missing"),
            ({"host": "nothing.invalid"}, "source_missing"),
            ({"sslmode": "verify-full", "host": "localhost"}, "source_unreachable"),
            ({"user": "marina_app"}, "invalid_input"),
        ):
            health = await engine.check(make_source(dsn=scratch.with_parts(**parts)))
            assert (health.state, health.code) == ("unhealthy", code)
            assert health.reason
            assert "bad-secret" not in health.reason
            assert "right/password?" not in health.reason

    async def test_superuser_is_degraded(
        self, engine: Engine, make_source: Callable[..., Source], scratch: Any
    ) -> None:
        health = await engine.check(make_source(dsn=scratch.admin_dsn))
        assert (health.state, health.code) == ("degraded", "role_superuser")

    async def test_schema_that_is_not_there_is_named(
        self, engine: Engine, make_source: Callable[..., Source]
    ) -> None:
        health = await engine.check(make_source(schemas=["shop", "shpo"]))
        assert (health.state, health.code) == ("degraded", "schema_missing")
        assert "shpo" in health.reason

    async def test_role_that_sees_no_table_is_degraded(
        self, engine: Engine, make_source: Callable[..., Source]
    ) -> None:
        health = await engine.check(make_source(schemas=["public"]))
        assert (health.state, health.code) == ("degraded", "no_tables")
