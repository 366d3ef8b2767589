"""Sessions with upstreams: whose they are, how many, how they end, and what happens when one is lost."""

from __future__ import annotations

import asyncio
from time import monotonic

import pytest

from servers.execution.backends.mcp.pools import (
    MAX_SESSIONS,
    SESSION_IDLE_SECONDS,
)
from tests.marina.harbour import Harbour
from tests.servers.execution.mcp.conftest import Ask, Client

pytestmark = pytest.mark.anyio

SUM = {"a": 1, "b": 2}


def sessions_of(yard: Harbour) -> set[str]:
    return {
        seen.headers["mcp-session-id"] for seen in yard.of("tools/call") if "mcp-session-id" in seen.headers
    }


async def test_calls_of_one_caller_share_a_session_and_callers_share_none(
    ask: Ask, legacy_yard: Harbour
) -> None:
    for actor in ("key:1", "key:2", "key:1", "key:1"):
        await ask.call(legacy_yard.url, "add", SUM, client=Client(actor))
    assert len(legacy_yard.of("initialize")) == 2
    assert len(sessions_of(legacy_yard)) == 2


async def test_calls_that_begin_at_once_begin_one_session(ask: Ask, legacy_yard: Harbour) -> None:
    outcomes = await asyncio.gather(*(ask.call(legacy_yard.url, "add", SUM) for _ in range(10)))
    assert all(outcome.structured == {"result": 3} for outcome in outcomes)
    assert len(legacy_yard.of("initialize")) == 1
    assert len({seen.body["id"] for seen in legacy_yard.of("tools/call")}) == 10


async def test_a_lost_session_is_begun_anew_and_the_call_is_made_once(ask: Ask, legacy_yard: Harbour) -> None:
    await ask.call(legacy_yard.url, "add", SUM)
    legacy_yard.forget_sessions()
    outcome = await ask.call(legacy_yard.url, "add", SUM)
    assert outcome.structured == {"result": 3}
    assert len(legacy_yard.of("initialize")) == 2


async def test_sessions_are_ended_when_the_engine_closes(ask: Ask, legacy_yard: Harbour) -> None:
    await ask.call(legacy_yard.url, "add", SUM)
    await ask.engine.close()
    assert len(legacy_yard.verbs("DELETE")) == 1


async def test_sessions_that_are_not_used_are_ended(ask: Ask, legacy_yard: Harbour) -> None:
    await ask.call(legacy_yard.url, "add", SUM)
    await ask.backend.upstreams.close_idle(now=monotonic() + SESSION_IDLE_SECONDS + 1)
    assert len(ask.backend.upstreams) == 0
    assert len(legacy_yard.verbs("DELETE")) == 1


async def test_the_oldest_session_makes_room_for_a_new_one(ask: Ask, legacy_yard: Harbour) -> None:
    for number in range(MAX_SESSIONS + 2):
        await ask.call(legacy_yard.url, "add", SUM, client=Client(f"key:{number}"))
    await ask.engine.close()
    assert len(legacy_yard.of("initialize")) == MAX_SESSIONS + 2
    assert len(legacy_yard.verbs("DELETE")) == MAX_SESSIONS + 2


async def test_a_modern_server_has_no_session(ask: Ask, modern_yard: Harbour) -> None:
    for actor in ("key:1", "key:2"):
        await ask.call(modern_yard.url, "add", SUM, client=Client(actor))
    await ask.engine.close()
    assert [seen.method for seen in modern_yard.seen] == ["server/discover", "tools/call", "tools/call"]
