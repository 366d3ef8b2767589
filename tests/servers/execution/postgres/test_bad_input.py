"""What a person sees when a source or a query is wrong: the cause, and what to do."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

from core.errors import InvalidInput, SourceError
from servers.execution.contract import Operation, Source
from servers.execution.engine import Engine

pytestmark = pytest.mark.anyio

QUERY = Operation("query_database", {})


async def fail(engine: Engine, source: Source, query: str = "SELECT 1") -> SourceError:
    with pytest.raises(SourceError) as caught:
        await engine.execute(source, QUERY, {"query": query}, timeout=20)
    return caught.value


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def test_source_that_is_down_is_unreachable(
    engine: Engine, make_source: Callable[..., Source], scratch: Any, closed_port: int
) -> None:
    source = make_source(dsn=scratch.with_parts(host="127.0.0.1", port=str(closed_port)))
    error = await fail(engine, source)
    assert (error.code, error.retryable) == ("source_unreachable", True)
    assert f"127.0.0.1:{closed_port}" in error.message
    assert "refused" in error.message


async def test_callers_of_a_source_that_does_not_answer_share_one_wait(
    engine: Engine, make_source: Callable[..., Source], scratch: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("servers.execution.backends.postgres.pools.FAILURE_SECONDS", 60.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.setblocking(False)
        dsn = scratch.with_parts(host="127.0.0.1", port=str(silent.getsockname()[1]))
        source = make_source(dsn=dsn, pool_max=2)
        errors = await asyncio.gather(*[fail(engine, source) for _ in range(12)])
        assert {error.code for error in errors} == {"source_unreachable"}
        assert "did not answer within 5 s" in errors[0].message
        # Two connections were tried; the ten callers behind them got the same answer, not 5 s each.
        for _ in range(2):
            silent.accept()[0].close()
        with pytest.raises(BlockingIOError):
            silent.accept()


async def test_wrong_password_says_so_and_shows_none(
    engine: Engine, make_source: Callable[..., Source], scratch: Any
) -> None:
    error = await fail(engine, make_source(dsn=scratch.with_parts(password="wrong-password")))
    assert error.code == "source_auth"
    assert scratch.user in error.message
    assert "wrong-password" not in error.message


async def test_unknown_user_is_an_auth_error(
    engine: Engine, make_source: Callable[..., Source], scratch: Any
) -> None:
    assert (await fail(engine, make_source(dsn=scratch.with_parts(user="nobody_here")))).code == "source_auth"


async def test_wrong_database_is_missing(
    engine: Engine, make_source: Callable[..., Source], scratch: Any
) -> None:
    error = await fail(engine, make_source(dsn=scratch.with_parts(dbname="no_such_database")))
    assert error.code == "source_missing"
    assert "no_such_database" in error.message


async def test_unknown_host_is_missing(
    engine: Engine, make_source: Callable[..., Source], scratch: Any
) -> None:
    error = await fail(engine, make_source(dsn=scratch.with_parts(host="no-such-host.invalid")))
    assert error.code == "source_missing"


async def test_address_that_is_not_allowed_is_never_connected_to(
    make_source: Callable[..., Source], scratch: Any
) -> None:
    asked: list[str] = []

    def allow(address: str) -> bool:
        asked.append(address)
        return False

    engine = Engine(allow_address=allow)
    with socket.create_server(("127.0.0.1", 0)) as trap:
        trap.setblocking(False)
        source = make_source(dsn=scratch.with_parts(host="localhost", port=str(trap.getsockname()[1])))
        assert (await fail(engine, source)).code == "source_denied"
        assert (await engine.check(source)).code == "source_denied"
        with pytest.raises(BlockingIOError):
            trap.accept()
    assert "127.0.0.1" in asked
    await engine.close()


async def test_sql_error_has_message_and_position(refused: Any) -> None:
    error = await refused("SELECT id, nmae FROM shop.item")
    assert error.code == "query_invalid"
    assert error.data["position"] == 12
    assert 'column "nmae" does not exist (at character 12 of the query)' in error.message


async def test_sql_error_carries_postgresqls_hint(refused: Any) -> None:
    error = await refused("SELECT nam FROM shop.item")
    assert 'Perhaps you meant to reference the column "item.name"' in error.data["hint"]


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("SELECT 'é€😀', nope", 15),
        ("SELECT 'é€😀' 1 1", 14),
        ("  \n SELECT nope", 12),
        ("SELEC 1", 1),
        ("SELECT 1 +", 11),
        ("/* é */ SELECT nope;", 16),
        ("EXPLAIN SELECT nope", 16),
    ],
)
async def test_position_counts_characters_of_the_callers_text(refused: Any, text: str, position: int) -> None:
    error = await refused(text)
    assert (error.code, error.data["position"]) == ("query_invalid", position)


async def test_position_is_right_after_named_parameters_were_replaced(refused: Any) -> None:
    text = "SELECT :long_parameter_name::int, :b || 'é', nope, :b"
    error = await refused(text, params={"long_parameter_name": 1, "b": "x"})
    assert error.data["position"] == text.index("nope") + 1


async def test_value_that_does_not_fit_is_a_query_error(refused: Any) -> None:
    error = await refused("SELECT id FROM shop.item WHERE id = $1", params=["abc"])
    assert error.code == "query_invalid"
    assert 'invalid input syntax for type integer: "abc"' in error.message


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("INSERT INTO shop.item VALUES (3)", "sql.statement"),
        ("UPDATE shop.item SET name = 'x'", "sql.statement"),
        ("DELETE FROM shop.item", "sql.statement"),
        ("DROP TABLE shop.item", "sql.statement"),
        ("SELECT 1; SELECT 2", "sql.single"),
        ("SELECT pg_sleep(10)", "sql.function"),
    ],
)
async def test_refusal_names_the_rule_and_what_to_do(refused: Any, text: str, rule: str) -> None:
    error = await refused(text)
    assert (error.code, error.data["rule"]) == ("query_refused", rule)
    assert error.message.count(".") >= 2 or ": " in error.message


async def test_million_rows_come_as_the_first_thousand_and_say_so(query: Any) -> None:
    outcome = await query("SELECT i FROM generate_series(1, 1000000) i")
    assert outcome.rows == outcome.structured["row_count"] == 1000
    assert outcome.structured["rows"][-1] == {"i": 1000}
    assert outcome.truncated
    assert outcome.structured["truncated"] is True
    assert "first 1000 rows" in outcome.structured["note"]


async def test_query_beyond_its_time_is_stopped_by_the_server(
    query: Any, refused: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("servers.execution.backends.postgres.queries._MARGIN", 9.0)
    await query("SELECT 1")
    error = await refused("SELECT count(*) FROM generate_series(1, 100000000000)", timeout=10)
    assert error.code == "source_timeout"
    assert "PostgreSQL stopped the query" in error.message


async def test_table_without_privilege_is_denied(refused: Any) -> None:
    error = await refused("SELECT * FROM shop.private")
    assert error.code == "source_denied"
    assert "permission denied for table private" in error.message
    assert "grant SELECT" in error.message


async def test_result_of_one_huge_value_is_refused_without_reading_it(refused: Any, query: Any) -> None:
    error = await refused("SELECT repeat('x', 50000000)")
    assert (error.code, error.data) == ("result_too_large", {"max_bytes": 1_048_576})
    assert (await query("SELECT 1 AS one")).rows == 1


async def test_rows_beyond_the_byte_limit_are_left_out_and_that_is_said(query: Any) -> None:
    outcome = await query("SELECT i, repeat('x', 300000) AS x FROM generate_series(1, 1000) i")
    assert 1 <= outcome.rows <= 3
    assert outcome.truncated
    assert outcome.size <= 1_048_576
    assert "1048576 bytes" in outcome.structured["note"]


async def test_huge_row_among_small_ones_is_refused(refused: Any) -> None:
    error = await refused("SELECT repeat('x', 1000000 * i) FROM generate_series(1, 9) i", limit=5)
    assert error.code == "result_too_large"
    assert "single row" in error.message


async def test_query_of_the_wrong_kind_of_argument_names_it(query: Any) -> None:
    for arguments, path in (
        ({"params": "x"}, "params"),
        ({"limit": 0}, "limit"),
        ({"params": [1]}, "params.0"),
        ({"params": {"a": "\x00"}, "text": "SELECT :a"}, "params.a"),
    ):
        with pytest.raises(InvalidInput) as caught:
            await query(arguments.pop("text", "SELECT 1"), **arguments)
        assert [fault["path"] for fault in caught.value.errors] == [path]


async def test_parameter_without_a_value_is_named(query: Any) -> None:
    with pytest.raises(InvalidInput) as caught:
        await query("SELECT $1, $2", params=["a"])
    assert caught.value.errors[0]["path"] == "params.1"


@pytest.mark.parametrize(
    ("text", "params", "words", "missing"),
    [
        ("SELECT :a, 'é', :c", {"a": 1, "b": 2}, "uses :c, but params holds a, b.", ["c"]),
        ("SELECT :c || :d, :c", {}, "uses :c, :d, but params is empty.", ["c", "d"]),
    ],
)
async def test_placeholder_that_params_does_not_hold_is_named(
    refused: Any, text: str, params: dict[str, Any], words: str, missing: list[str]
) -> None:
    error = await refused(text, params=params)
    assert (error.code, error.data["rule"]) == ("query_invalid", "sql.parameters")
    assert error.data["missing"] == missing
    assert error.data["position"] == text.index(":c") + 1
    assert words in error.message


async def test_colon_that_is_wrong_in_itself_stays_a_syntax_error(refused: Any) -> None:
    error = await refused("SELECT :c FROM FROM x", params={"a": 1})
    assert (error.code, error.data["sqlstate"]) == ("query_invalid", "42601")


async def test_operation_and_kind_that_do_not_exist_are_invalid(
    engine: Engine, make_source: Callable[..., Source]
) -> None:
    with pytest.raises(InvalidInput):
        await engine.execute(make_source(), Operation("drop_table", {}), {}, timeout=5)
    with pytest.raises(InvalidInput, match=r"Known: .*postgres"):
        engine.backend("oracle")
    with pytest.raises(InvalidInput):
        await engine.execute(Source(uuid4(), 1, "x", "oracle", 1, {}), QUERY, {}, timeout=5)
