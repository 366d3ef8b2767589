"""A tenant's own SQL tools: what a definition must hold, the schemas it gives, and its calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jsonschema_rs
import pytest

from core.errors import InvalidInput, SourceError
from servers.execution.backends.postgres import PostgresBackend
from servers.execution.contract import Operation, Source
from servers.execution.engine import Engine

STRING = {"type": "string"}


def compile_faults(definition: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(InvalidInput) as caught:
        PostgresBackend().compile("sql", definition)
    return {fault["path"]: fault["message"] for fault in caught.value.errors}


def test_definition_becomes_schemas() -> None:
    offered = PostgresBackend().compile(
        "sql",
        {
            "sql": "SELECT * FROM shop.item WHERE name = :name AND (:most IS NULL OR price < :most) "
            "AND colour::text = :colour AND id = ANY(:ids) LIMIT :n",
            "title": "Find items",
            "description": "Finds them.",
            "parameters": {
                "name": {"type": "string", "description": "Its name", "required": True, "maxLength": 20},
                "most": {"type": "number", "required": False},
                "colour": {"type": "string", "enum": ["red", "green"], "default": "red"},
                "ids": {"type": "array", "items": {"type": "integer"}},
                "n": {"type": "integer", "minimum": 1, "maximum": 10, "default": 5},
            },
        },
    )
    assert (offered.title, offered.description, offered.operation.kind) == (
        "Find items",
        "Finds them.",
        "sql",
    )
    assert offered.input_schema == {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "additionalProperties": False,
        "required": ["name", "ids"],
        "properties": {
            "name": {"type": "string", "description": "Its name", "maxLength": 20},
            "most": {"type": ["number", "null"]},
            "colour": {"type": ["string", "null"], "enum": ["red", "green", None], "default": "red"},
            "ids": {"type": "array", "items": {"type": "integer"}, "maxItems": 1000},
            "n": {"type": ["integer", "null"], "minimum": 1, "maximum": 10, "default": 5},
        },
    }
    jsonschema_rs.validator_for(dict(offered.input_schema))
    assert offered.annotations["readOnlyHint"] is True


@pytest.mark.parametrize(
    ("definition", "path", "words"),
    [
        ({}, "sql", "Write one SELECT"),
        ({"sql": 3}, "sql", "Write one SELECT"),
        ({"sql": "SELECT :a"}, "parameters.a", "does not declare"),
        ({"sql": "SELECT 1", "parameters": {"a": STRING}}, "parameters.a", "does not use :a"),
        ({"sql": "SELECT ':a' /* :a */", "parameters": {"a": STRING}}, "parameters.a", "does not use"),
        ({"sql": "SELECT 1 1"}, "sql", "syntax error"),
        ({"sql": "DELETE FROM shop.item"}, "sql", "DELETE is not allowed"),
        ({"sql": "SELECT 1; SELECT 2"}, "sql", "more than one statement"),
        ({"sql": "SELECT pg_sleep(:a)", "parameters": {"a": STRING}}, "sql", "pg_sleep"),
        ({"sql": "SELECT $1, :a", "parameters": {"a": STRING}}, "sql", "mixes"),
        ({"sql": "SELECT 1", "limit": 3}, "limit", "no such key"),
        ({"sql": "SELECT 1", "title": 3}, "title", "text"),
        ({"sql": "SELECT 1", "parameters": []}, None, None),
        ({"sql": "SELECT 1", "parameters": [1]}, "parameters", "object"),
        ({"sql": "SELECT :a", "parameters": {"a": 1}}, "parameters.a", "object"),
        ({"sql": "SELECT :a", "parameters": {"a": {}}}, "parameters.a.type", "must be one of"),
        ({"sql": "SELECT :a", "parameters": {"a": {"type": "date"}}}, "parameters.a.type", "must be one of"),
        (
            {"sql": "SELECT :a", "parameters": {"a": {"type": "array", "items": 1}}},
            "parameters.a.items",
            "Give",
        ),
        ({"sql": "SELECT :a", "parameters": {"a": {**STRING, "items": {}}}}, "parameters.a.items", "Only"),
        ({"sql": "SELECT :a", "parameters": {"a": {**STRING, "minimum": 1}}}, "parameters.a.minimum", "Give"),
        (
            {"sql": "SELECT :a", "parameters": {"a": {**STRING, "enum": [1]}}},
            "parameters.a.enum",
            "type string",
        ),
        ({"sql": "SELECT :a", "parameters": {"a": {**STRING, "default": 1}}}, "parameters.a.default", "type"),
        ({"sql": "SELECT :a", "parameters": {"a": {**STRING, "x": 1}}}, "parameters.a.x", "no such key"),
        (
            {"sql": "SELECT :a", "parameters": {"a": {**STRING, "required": True, "default": "x"}}},
            "parameters.a.default",
            "no default",
        ),
        ({"sql": "SELECT 1", "parameters": {"a b": STRING}}, "parameters.a b", "letters"),
    ],
)
def test_fault_of_a_definition_is_named(
    definition: dict[str, Any], path: str | None, words: str | None
) -> None:
    if path is None:
        PostgresBackend().compile("sql", definition)
        return
    faults = compile_faults(definition)
    assert path in faults
    assert (words or "") in faults[path]


def test_other_kinds_of_definition_are_refused() -> None:
    with pytest.raises(InvalidInput):
        PostgresBackend().compile("python", {"sql": "SELECT 1"})


@pytest.mark.anyio
class TestRun:
    DEFINITION = {
        "sql": "SELECT name FROM shop.item\n"
        "WHERE (:from_day IS NULL OR made >= :from_day) AND price <= :most -- 100 % :no\nORDER BY id",
        "parameters": {
            "from_day": {"type": "string", "required": False},
            "most": {"type": "number", "default": 100},
        },
    }

    async def run(
        self, engine: Engine, source: Source, definition: dict[str, Any], **arguments: Any
    ) -> list[dict[str, Any]]:
        operation = engine.backend("postgres").compile("sql", definition).operation
        outcome = await engine.execute(source, operation, arguments, timeout=10)
        assert outcome.structured is not None
        rows: list[dict[str, Any]] = outcome.structured["rows"]
        return rows

    @pytest.mark.usefixtures("read_anywhere")
    async def test_optional_parameters_may_be_left_out(
        self, engine: Engine, make_source: Callable[..., Source]
    ) -> None:
        source = make_source()
        assert await self.run(engine, source, self.DEFINITION) == [{"name": "lamp"}, {"name": "vase"}]
        assert await self.run(engine, source, self.DEFINITION, most=7.0) == [{"name": "vase"}]
        assert await self.run(engine, source, self.DEFINITION, from_day="2024-01-01") == [{"name": "lamp"}]

    async def test_declared_types_help_where_postgresql_cannot_infer_one(
        self, engine: Engine, make_source: Callable[..., Source]
    ) -> None:
        definition = {
            "sql": "SELECT :a + :b AS sum, json_build_object('a', :a) AS j, :tags AS t",
            "parameters": {"a": {"type": "integer"}, "b": {"type": "integer"}, "tags": {"type": "array"}},
        }
        rows = await self.run(engine, make_source(), definition, a=1, b=2, tags=["x", "y"])
        assert rows == [{"sum": 3, "j": {"a": 1}, "t": ["x", "y"]}]

    async def test_value_is_never_part_of_the_sql(
        self, engine: Engine, make_source: Callable[..., Source]
    ) -> None:
        definition = {
            "sql": "SELECT count(*) AS n FROM shop.item WHERE name = :n",
            "parameters": {"n": STRING},
        }
        assert await self.run(engine, make_source(), definition, n="' OR true --") == [{"n": 0}]

    async def test_missing_argument_is_named(
        self, engine: Engine, make_source: Callable[..., Source]
    ) -> None:
        definition = {"sql": "SELECT :n", "parameters": {"n": STRING}}
        with pytest.raises(InvalidInput) as caught:
            await self.run(engine, make_source(), definition)
        assert caught.value.errors[0]["path"].endswith("n")

    async def test_sources_own_rules_hold_for_tools_too(
        self, engine: Engine, make_source: Callable[..., Source]
    ) -> None:
        definition = {"sql": "SELECT shop.tax(price) FROM shop.item"}
        with pytest.raises(SourceError) as caught:
            await self.run(engine, make_source(), definition)
        assert caught.value.data["rule"] == "sql.function"
        assert len(await self.run(engine, make_source(functions=["shop.tax"]), definition)) == 2
        with pytest.raises(SourceError):
            await self.run(engine, make_source(schemas=["shop"]), {"sql": "TABLE back_office.salary"})

    async def test_error_position_is_that_of_the_definition(
        self, engine: Engine, make_source: Callable[..., Source]
    ) -> None:
        definition = {"sql": "SELECT :name || 'é', nope", "parameters": {"name": STRING}}
        with pytest.raises(SourceError) as caught:
            await self.run(engine, make_source(), definition, name="x")
        assert caught.value.data["position"] == definition["sql"].index("nope") + 1  # type: ignore[attr-defined]


@pytest.mark.anyio
async def test_operation_without_its_source_kind_is_refused(
    engine: Engine, make_source: Callable[..., Source]
) -> None:
    with pytest.raises(InvalidInput):
        await engine.execute(make_source(), Operation("sqlx", {}), {}, timeout=5)
