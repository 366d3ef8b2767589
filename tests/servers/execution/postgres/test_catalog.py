"""list_tables and describe_table, and the health of a source."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jsonschema_rs
import pytest

from core.errors import InvalidInput
from servers.execution.contract import Operation, Source
from servers.execution.engine import Engine

pytestmark = pytest.mark.anyio


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


async def test_query_result_fits_its_schema(
    engine: Engine, make_source: Callable[..., Source], query: Any
) -> None:
    outcome = await query("SELECT * FROM shop.item", limit=1)
    validate(engine, make_source(), "query_database", outcome.structured)


async def test_offered_tools_are_read_only_and_name_their_limits(
    engine: Engine, make_source: Callable[..., Source]
) -> None:
    tools = engine.backend("postgres").offered(make_source(row_limit=50).settings).tools
    assert [tool.name for tool in tools] == ["query_database", "list_tables", "describe_table"]
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
