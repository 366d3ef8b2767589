"""Connections: how many, for how long, and what becomes of one whose caller is gone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest

from core.errors import SourceError
from core.outbound import AddressRule, parse_networks
from servers.execution.backends.postgres import PostgresBackend
from servers.execution.context import NOBODY
from servers.execution.contract import Operation, Source
from servers.execution.engine import Engine

pytestmark = pytest.mark.anyio

QUERY = Operation("query_database", {})
ENDLESS = {"query": "SELECT count(*) FROM generate_series(1, 100000000000)"}
ONE = {"query": "SELECT 1 AS one"}
RUNNING = "state = 'active'"


@pytest.fixture(autouse=True)
async def nobody_else(scratch: Any) -> None:
    """The server ends a backend a moment after its client has gone: let those of earlier tests end."""
    await scratch.wait_for_backends(0)


def backend(engine: Engine) -> PostgresBackend:
    found = engine.backend("postgres")
    assert isinstance(found, PostgresBackend)
    return found


async def test_cancelled_call_is_cancelled_at_the_server_and_its_place_is_free_again(
    engine: Engine, make_source: Callable[..., Source], scratch: Any
) -> None:
    source = make_source(pool_max=2, statement_timeout=30)
    calls = [asyncio.create_task(engine.execute(source, QUERY, ENDLESS, timeout=60)) for _ in range(2)]
    await scratch.wait_for_backends(2, RUNNING)
    for call in calls:
        call.cancel()
    assert all(
        isinstance(r, asyncio.CancelledError) for r in await asyncio.gather(*calls, return_exceptions=True)
    )
    await scratch.wait_for_backends(0, RUNNING, seconds=15)
    assert (await engine.execute(source, QUERY, ONE, timeout=10)).rows == 1


async def test_deadline_of_the_engine_stops_the_work_at_the_server(
    engine: Engine, make_source: Callable[..., Source], scratch: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The server's own limit usually comes first; without it the engine's must do the same.
    monkeypatch.setattr("servers.execution.backends.postgres.queries._MARGIN", -20.0)
    with pytest.raises(SourceError) as caught:
        await engine.execute(make_source(statement_timeout=30), QUERY, ENDLESS, timeout=1)
    assert caught.value.code == "source_timeout"
    await scratch.wait_for_backends(0, RUNNING, seconds=15)


async def test_caller_who_waits_for_a_busy_pool_is_told_so(
    engine: Engine, make_source: Callable[..., Source], scratch: Any
) -> None:
    source = make_source(pool_max=2)
    calls = [asyncio.create_task(engine.execute(source, QUERY, ENDLESS, timeout=60)) for _ in range(2)]
    await scratch.wait_for_backends(2, RUNNING)
    pool = backend(engine).pools.get(source)
    with pytest.raises(SourceError) as caught:
        async with pool.lease(timeout=0.05):
            pytest.fail("there was a third connection")
    assert (caught.value.code, caught.value.retryable) == ("source_timeout", True)
    assert "All 2 connections" in caught.value.message
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)


async def test_pool_is_bounded_and_its_connections_are_used_again(
    engine: Engine, make_source: Callable[..., Source], scratch: Any
) -> None:
    source = make_source(pool_max=3)
    await asyncio.gather(*[engine.execute(source, QUERY, ONE, timeout=30) for _ in range(60)])
    assert 1 <= scratch.count_backends() <= 3


async def test_idle_pool_closes_its_connections(
    engine: Engine, make_source: Callable[..., Source], scratch: Any
) -> None:
    await engine.execute(make_source(), QUERY, ONE, timeout=10)
    pools = backend(engine).pools
    await pools.close_idle(now=time.monotonic() + 30)
    assert (len(pools), scratch.count_backends()) == (1, 1)
    await pools.close_idle(now=time.monotonic() + 61)
    assert len(pools) == 0
    await scratch.wait_for_backends(0)


async def test_sweeper_closes_idle_connections_by_itself(
    make_source: Callable[..., Source], scratch: Any
) -> None:
    swept = PostgresBackend(
        allow_address=AddressRule(parse_networks(["127.0.0.0/8"])).allows, idle_seconds=0.05
    )
    await swept.execute(make_source(), QUERY, ONE, timeout=10, context=NOBODY)
    await scratch.wait_for_backends(0)
    assert len(swept.pools) == 0
    assert (await swept.execute(make_source(), QUERY, ONE, timeout=10, context=NOBODY)).rows == 1
    await swept.close()


async def test_new_version_of_a_source_retires_the_old_connections(
    engine: Engine, make_source: Callable[..., Source], scratch: Any
) -> None:
    source = make_source()
    await engine.execute(source, QUERY, ONE, timeout=10)
    changed = replace(source, version=2, settings={**source.settings, "row_limit": 5})
    outcome = await engine.execute(changed, QUERY, {"query": "SELECT generate_series(1, 9)"}, timeout=10)
    assert outcome.rows == 5
    await scratch.wait_for_backends(1)
    assert len(backend(engine).pools) == 1


async def test_closed_engine_has_no_connections_and_may_be_used_again(
    engine: Engine, make_source: Callable[..., Source], scratch: Any
) -> None:
    source = make_source()
    await engine.execute(source, QUERY, ONE, timeout=10)
    await engine.close()
    await scratch.wait_for_backends(0)
    assert (await engine.execute(source, QUERY, ONE, timeout=10)).rows == 1


async def test_connection_that_the_server_closed_meanwhile_is_replaced_unseen(
    engine: Engine, make_source: Callable[..., Source], scratch: Any
) -> None:
    source = make_source()
    await engine.execute(source, QUERY, ONE, timeout=10)
    scratch.run(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{scratch.user}'")
    assert (await engine.execute(source, QUERY, ONE, timeout=10)).rows == 1


async def test_connection_that_is_lost_while_a_query_runs_is_said_to_be_lost(
    engine: Engine, make_source: Callable[..., Source], scratch: Any
) -> None:
    call = asyncio.create_task(engine.execute(make_source(), QUERY, ENDLESS, timeout=60))
    await scratch.wait_for_backends(1, RUNNING)
    scratch.run(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{scratch.user}'")
    with pytest.raises(SourceError) as caught:
        await call
    assert (caught.value.code, caught.value.retryable) == ("source_unreachable", True)


async def test_transaction_is_never_left_open(
    engine: Engine, make_source: Callable[..., Source], scratch: Any
) -> None:
    source = make_source()
    for text in ("SELECT 1", "SELECT 1/0", "SELECT nope", "SELECT 'x' || repeat('x', 5000000)"):
        await asyncio.gather(
            engine.execute(source, QUERY, {"query": text}, timeout=10), return_exceptions=True
        )
    assert scratch.count_backends("state LIKE 'idle in transaction%%'") == 0


async def test_fault_of_a_query_keeps_the_connection(
    engine: Engine, make_source: Callable[..., Source], scratch: Any
) -> None:
    source = make_source()
    await engine.execute(source, QUERY, ONE, timeout=10)
    before = scratch.run(f"SELECT pid FROM pg_stat_activity WHERE usename = '{scratch.user}'")
    for text in ("SELECT nope", "SELECT 1/(i - 3) FROM generate_series(1, 9) i"):
        with pytest.raises(SourceError):
            await engine.execute(source, QUERY, {"query": text}, timeout=10)
    assert scratch.run(f"SELECT pid FROM pg_stat_activity WHERE usename = '{scratch.user}'") == before


async def test_source_does_not_show_its_settings() -> None:
    assert "secret" not in repr(Source(uuid4(), 1, "x", "postgres", 1, {"dsn": "secret"}))
