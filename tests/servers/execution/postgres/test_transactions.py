"""execute_transaction: all or nothing, only where the source allows writes, and by the same lists as queries."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import anyio
import jsonschema_rs
import psycopg
import pytest

from core.errors import InvalidInput, SourceError
from servers.execution.contract import Operation, Outcome, Source
from servers.execution.engine import Engine

pytestmark = pytest.mark.anyio

TABLES = """
CREATE TABLE shop.stock (id int PRIMARY KEY, name text, amount int CHECK (amount >= 0),
  part int REFERENCES shop.stock (id) DEFERRABLE INITIALLY DEFERRED, data jsonb);
CREATE TABLE shop.other_stock (id int);
CREATE TABLE shop.fixed (id int);
INSERT INTO shop.stock VALUES (1, 'lamp', 5), (2, 'vase', 7);
INSERT INTO shop.other_stock VALUES (1);
"""

Write = Callable[..., Awaitable[Outcome]]


@pytest.fixture(autouse=True)
def stock(scratch: Any) -> Iterator[None]:
    scratch.run(TABLES)
    for right, table in (("SELECT, INSERT, UPDATE, DELETE", "stock, shop.other_stock"), ("SELECT", "fixed")):
        scratch.run(f'GRANT {right} ON shop.{table} TO "{scratch.user}"')
    yield
    scratch.run("DROP TABLE shop.stock, shop.other_stock, shop.fixed CASCADE")


@pytest.fixture
def write(engine: Engine, make_source: Callable[..., Source]) -> Write:
    sources: dict[str, Source] = {}

    async def run(*queries: Any, timeout: float = 10, **settings: Any) -> Outcome:
        settings = {"allow_writes": True, **settings}
        source = sources.setdefault(repr(settings), make_source(**settings))
        operation = Operation("execute_transaction", {})
        return await engine.execute(source, operation, {"queries": list(queries)}, timeout=timeout)

    return run


@pytest.fixture
def refused(write: Write) -> Callable[..., Awaitable[SourceError]]:
    async def run(*queries: Any, **settings: Any) -> SourceError:
        with pytest.raises(SourceError) as caught:
            await write(*queries, **settings)
        return caught.value

    return run


def rows(scratch: Any) -> list[tuple[Any, ...]]:
    found: list[tuple[Any, ...]] = scratch.run("SELECT id, name, amount FROM shop.stock ORDER BY id")
    return found


async def test_many_short_statements_are_read_where_a_long_one_is(
    write: Write, scratch: Any, read_aside: list[int]
) -> None:
    await write("UPDATE shop.stock SET amount = 9 WHERE id = 1")
    assert read_aside == []
    inserts = [f"INSERT INTO shop.stock VALUES ({number}, '{'x' * 200}', 0)" for number in range(3, 43)]
    await write(*inserts)
    assert len(read_aside) == len(inserts)
    assert len(rows(scratch)) == 2 + len(inserts)


ONE_TABLE = {"tables": ["shop.stock"], "schemas": ["shop"]}
UNCHANGED = [(1, "lamp", 5), (2, "vase", 7)]


@pytest.mark.usefixtures("read_anywhere")
async def test_statements_run_in_their_order_and_are_committed(
    write: Write, scratch: Any, engine: Engine, make_source: Callable[..., Source]
) -> None:
    outcome = await write(
        "INSERT INTO shop.stock (id, name, amount) VALUES (3, 'mat', 1), (4, 'pan', 2)",
        {"query": "UPDATE shop.stock SET amount = amount - :n WHERE id = :id", "params": {"n": 2, "id": 1}},
        {"query": "DELETE FROM shop.stock WHERE id = ANY ($1)", "params": [[2, 4]]},
        "MERGE INTO shop.stock s USING shop.other_stock o ON s.id = o.id WHEN MATCHED THEN UPDATE SET name = 'light'",
        "INSERT INTO shop.stock (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET amount = stock.amount + 1",
        "WITH n AS (SELECT 9 AS id) INSERT INTO shop.stock (id, name) SELECT id, upper('x') FROM n;",
    )
    found = outcome.structured
    assert [(each["query"], each["command"], each["row_count"]) for each in found["results"]] == [
        (1, "INSERT", 2),
        (2, "UPDATE", 1),
        (3, "DELETE", 2),
        (4, "MERGE", 1),
        (5, "INSERT", 1),
        (6, "INSERT", 1),
    ]
    assert found["row_count"] == outcome.rows == 8
    assert rows(scratch) == [(1, "light", 4), (3, "mat", 1), (9, "X", None)]
    offered = engine.backend("postgres").offered(make_source(allow_writes=True).settings).tools[-1]
    jsonschema_rs.validator_for(dict(offered.output_schema or {})).validate(found)
    assert offered.annotations["readOnlyHint"] is False
    assert offered.annotations["destructiveHint"] is True


@pytest.mark.parametrize(
    ("bad", "code", "words"),
    [
        ("INSERT INTO shop.stock (id) VALUES (1)", "query_invalid", "duplicate key"),
        ("UPDATE shop.stock SET amount = -1", "query_invalid", "check constraint"),
        ("UPDATE shop.stock SET nothing = 1", "query_invalid", "nothing"),
        ("INSERT INTO shop.fixed VALUES (1)", "source_denied", "privilege"),
        ("UPDATE shop.stock SET amount = 1 / 0", "query_invalid", "division by zero"),
        ("DELETE FROM shop.nowhere", "query_invalid", "does not exist"),
        ("UPDATE shop.stock SET part = 99", "query_invalid", "foreign key"),
    ],
)
async def test_one_that_fails_undoes_all(
    write: Write, refused: Any, scratch: Any, bad: str, code: str, words: str
) -> None:
    first = "INSERT INTO shop.stock VALUES (3, 'mat', 1)"
    error = await refused(first, bad, "DELETE FROM shop.other_stock")
    assert (error.code, error.retryable) == (code, False)
    assert words in error.message
    assert "Nothing was changed." in error.message
    # A deferred check fails at the end, and is told of the last query.
    assert error.data["query"] == (3 if "foreign" in words else 2)
    assert rows(scratch) == UNCHANGED
    assert (await write(first)).rows == 1


REFUSED = {
    "SELECT 1": "sql.statement",
    "SELECT * INTO shop.x FROM shop.stock": "sql.statement",
    "EXPLAIN ANALYZE DELETE FROM shop.stock": "sql.statement",
    "TRUNCATE shop.stock": "sql.statement",
    "DROP TABLE shop.stock": "sql.statement",
    "CREATE TABLE shop.x ()": "sql.statement",
    "ALTER TABLE shop.stock ADD x int": "sql.statement",
    "GRANT ALL ON shop.stock TO PUBLIC": "sql.statement",
    "COPY shop.stock FROM PROGRAM 'id'": "sql.statement",
    "COPY shop.stock FROM STDIN": "sql.statement",
    "DO $$ BEGIN DELETE FROM shop.stock; END $$": "sql.statement",
    "CALL x()": "sql.statement",
    "COMMIT": "sql.statement",
    "ROLLBACK": "sql.statement",
    "SAVEPOINT a": "sql.statement",
    "SET ROLE postgres": "sql.statement",
    "LOCK TABLE shop.stock": "sql.statement",
    "VACUUM": "sql.statement",
    "NOTIFY x": "sql.statement",
    "PREPARE x AS DELETE FROM shop.stock": "sql.statement",
    "REFRESH MATERIALIZED VIEW x": "sql.statement",
    "DELETE FROM shop.stock; DELETE FROM shop.other_stock": "sql.single",
    "DELETE FROM shop.stock; COMMIT": "sql.single",
    "DELETE FROM shop.stock RETURNING *": "sql.returning",
    "WITH d AS (DELETE FROM shop.other_stock RETURNING id) DELETE FROM shop.stock": "sql.statement",
    "INSERT INTO shop.stock (id) WITH d AS (DELETE FROM shop.other_stock RETURNING 1) SELECT 1": "sql.statement",
    "UPDATE shop.stock SET name = pg_read_file('/etc/passwd')": "sql.function",
    "UPDATE shop.stock SET name = set_config('x.y', 'z', false)": "sql.function",
    "INSERT INTO shop.stock (id) SELECT nextval('shop.numbers')": "sql.function",
    "DELETE FROM shop.stock WHERE pg_sleep(1) IS NULL": "sql.function",
    "UPDATE shop.stock SET name = s.pg_sleep FROM generate_series(0.1, 0.2, 0.1) s": "sql.function",
    "INSERT INTO shop.stock (id) VALUES (1) ON CONFLICT (lower(pg_read_file('x'))) DO NOTHING": "sql.function",
    "INSERT INTO shop.stock (id) VALUES (1) ON CONFLICT (id int4_ops) DO NOTHING": "sql.construct",
    "MERGE INTO shop.stock s USING shop.stock o ON pg_sleep(1) IS NULL WHEN MATCHED THEN DELETE": "sql.function",
    "DELETE FROM shop.stock WHERE CURRENT OF c": "sql.construct",
    "UPDATE shop.stock SET name = 1259::regclass::text": "sql.construct",
    "INSERT INTO pg_catalog.pg_class SELECT * FROM pg_catalog.pg_class": "sql.schema",
    "UPDATE pg_authid SET rolsuper = true": "sql.schema",
    "DELETE FROM information_schema.sql_features": "sql.schema",
    "DELETE FROM shop.stock WHERE id IN (SELECT id FROM shop.item FOR UPDATE)": "sql.locking",
    "UPDATE other.shop.stock SET id = 1": "sql.schema",
    "UPDATE shop.stock SET amount = " + "+".join(["1"] * 1_000): "sql.nesting",
}


@pytest.mark.parametrize("text", REFUSED, ids=lambda text: text[:60])
async def test_what_may_not_run_is_refused_before_anything_does(
    refused: Any, scratch: Any, text: str
) -> None:
    error = await refused("DELETE FROM shop.other_stock", text)
    assert (error.code, error.data.get("rule"), error.data["query"]) == ("query_refused", REFUSED[text], 2)
    assert rows(scratch) == UNCHANGED
    assert scratch.run("SELECT count(*) FROM shop.other_stock") == [(1,)]


@pytest.mark.parametrize("text", ["UPDATE pg_class SET relname = 'x'", "DELETE FROM pg_catalog.pg_authid"])
async def test_own_schemas_of_postgresql_are_never_written(refused: Any, text: str) -> None:
    assert (await refused(text, schemas=["pg_catalog"])).data["rule"] == "sql.schema"


async def test_statements_are_bounded_together_and_values_do_not_count(refused: Any, write: Write) -> None:
    long = f"INSERT INTO shop.stock VALUES (9, '{'é' * 700}')"
    fault = await refused(*[long] * 50)
    assert (fault.code, fault.data) == ("query_refused", {"rule": "sql.length"})
    assert "of at most 65536" in fault.message
    query = {"query": "UPDATE shop.stock SET name = :name", "params": {"name": "é" * 2_000}}
    assert (await write(*[query] * 50)).rows == 100


async def test_source_that_does_not_allow_writes_offers_none_and_runs_none(
    refused: Any, scratch: Any, engine: Engine, make_source: Callable[..., Source]
) -> None:
    error = await refused("DELETE FROM shop.stock", allow_writes=False)
    assert (error.code, error.data["rule"]) == ("query_refused", "sql.read_only")
    assert rows(scratch) == UNCHANGED
    names = [tool.name for tool in engine.backend("postgres").offered(make_source().settings).tools]
    assert "execute_transaction" not in names


async def test_queries_do_not_write_on_a_source_that_allows_writes(
    engine: Engine, make_source: Callable[..., Source], scratch: Any
) -> None:
    source = make_source(allow_writes=True)
    for text in ("DELETE FROM shop.stock", "WITH d AS (DELETE FROM shop.stock RETURNING *) SELECT * FROM d"):
        with pytest.raises(SourceError) as caught:
            await engine.execute(source, Operation("query_database", {}), {"query": text}, timeout=10)
        assert caught.value.data["rule"] == "sql.statement"
    assert rows(scratch) == UNCHANGED


@pytest.mark.parametrize(
    ("text", "settings", "rule"),
    [
        ("DELETE FROM shop.other_stock", {"tables": ["shop.stock"]}, "sql.table"),
        ("DELETE FROM shop.stock USING shop.other_stock", {"tables": ["shop.stock"]}, "sql.table"),
        ("DELETE FROM other_stock", {"tables": ["shop.stock"], "schemas": ["shop"]}, "sql.table"),
        (
            "WITH other_stock AS (SELECT 1) DELETE FROM other_stock",
            {"tables": ["shop.stock"], "schemas": ["shop"]},
            "sql.table",
        ),
        ("DELETE FROM shop.stock", {"schemas": ["back_office"]}, "sql.schema"),
        (
            "UPDATE shop.stock SET name = 'x' WHERE amount > 5",
            {"masks": {"shop.stock.amount": "hidden"}},
            "sql.mask",
        ),
        (
            "INSERT INTO shop.other_stock SELECT amount FROM shop.stock",
            {"masks": {"shop.stock.amount": "hidden"}},
            "sql.mask",
        ),
    ],
)
async def test_lists_and_masks_hold_for_writes(
    refused: Any, scratch: Any, text: str, settings: dict[str, Any], rule: str
) -> None:
    assert (await refused(text, **settings)).data["rule"] == rule
    assert rows(scratch) == UNCHANGED


@pytest.mark.parametrize(
    ("queries", "path"),
    [
        ([], "queries"),
        (["DELETE FROM shop.stock"] * 51, "queries"),
        ([7], "queries.0"),
        ([{"sql": "x"}], "queries.0"),
        ([{"query": "DELETE FROM shop.stock", "limit": 1}], "queries.0"),
        ([{"query": "DELETE FROM shop.stock WHERE id = $1", "params": []}], "queries.0.params.0"),
        ([{"query": "DELETE FROM shop.stock WHERE id = $1", "params": [1, 2]}], "queries.0.params.1"),
        (
            [{"query": "DELETE FROM shop.stock WHERE name = :a", "params": {"a": "\x00"}}],
            "queries.0.params.a",
        ),
        ([{"query": "DELETE FROM shop.stock", "params": "x"}], "queries.0.params"),
    ],
)
async def test_arguments_that_do_not_fit_are_named(
    write: Write, scratch: Any, queries: list[Any], path: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        await write(*queries)
    assert caught.value.errors[0]["path"] == path
    assert rows(scratch) == UNCHANGED


async def test_value_whose_type_cannot_be_inferred_is_written(write: Write, scratch: Any) -> None:
    query = "UPDATE shop.stock SET data = jsonb_build_object('a', $1, 'b', $2) WHERE id = 1"
    assert (await write({"query": query, "params": [1, "x"]})).rows == 1
    assert scratch.run("SELECT data FROM shop.stock WHERE id = 1") == [({"a": 1, "b": "x"},)]


async def test_call_that_ends_undoes_what_ran(write: Write, scratch: Any) -> None:
    with psycopg.connect(scratch.admin_dsn) as other:
        other.execute("LOCK TABLE shop.stock")
        with anyio.move_on_after(1) as scope:
            await write("DELETE FROM shop.other_stock", "DELETE FROM shop.stock")
        assert scope.cancelled_caught
        await scratch.wait_for_backends(0, "state = 'active'")
    assert scratch.run("SELECT count(*) FROM shop.other_stock") == [(1,)]
    assert rows(scratch) == UNCHANGED


async def test_transaction_over_its_time_is_stopped_and_says_so(
    write: Write, refused: Any, scratch: Any
) -> None:
    # Connected, which is not to take of its time.
    await write("UPDATE shop.stock SET amount = 5 WHERE id = 1")
    with psycopg.connect(scratch.admin_dsn) as other:
        other.execute("LOCK TABLE shop.stock")
        error = await refused("DELETE FROM shop.stock", timeout=4)
    # The lock is gone now, maybe before the server was told to stop: what was never told to commit is not.
    assert (error.code, error.retryable) == ("source_timeout", False)
    assert "Nothing was changed." in error.message
    await scratch.wait_for_backends(0, "state = 'active'")
    assert rows(scratch) == UNCHANGED


async def test_connection_that_was_closed_while_idle_is_replaced(write: Write, scratch: Any) -> None:
    await write("UPDATE shop.stock SET amount = 6 WHERE id = 1")
    scratch.run(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{scratch.user}'")
    await scratch.wait_for_backends(0)
    assert (await write("UPDATE shop.stock SET amount = 5 WHERE id = 1")).rows == 1
