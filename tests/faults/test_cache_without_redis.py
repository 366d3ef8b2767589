"""Redis stops while results are kept: each process goes on with what it has, and no call fails for it."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from redis import Redis

from core.threads import run_sync
from servers.services.caching import change_caching
from servers.services.sources import create_source
from servers.services.tools import list_tools
from tests.factories import Team, make_database, make_team
from tests.faults.stoppable import StoppableRedis
from tests.plugins.live_marina import LiveMarina
from tests.protocol.waiting import wait_for

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180)]

QUERY = "SELECT random() AS n WHERE :word = :word"
"""Each run gives another number."""


def make_keeping_team() -> tuple[Team, str]:
    team = make_team()
    create_source("db", "postgres", {"dsn": make_database("CREATE TABLE t (a int)")}, caller=team.owner)
    tool = next(each for each in list_tools(caller=team.owner) if each.name == "query_database")
    change_caching(tool.pk, seconds=3_600, caller=team.owner)
    return team, team.key()


async def ask(replica: LiveMarina, team: Team, key: str, word: str, *, mode: Any) -> float:
    """The number that a query gave, through the official client."""
    async with (
        httpx2.AsyncClient(headers={"Authorization": f"Bearer {key}"}) as http,
        Client(
            streamable_http_client(f"{replica.base_url}/mcp/{team.slug}", http_client=http), mode=mode
        ) as client,
    ):
        result = await client.call_tool("query_database", {"query": QUERY, "params": {"word": word}})
    assert not result.is_error, result.content
    assert result.structured_content is not None
    return float(result.structured_content["rows"][0]["n"])


async def test_without_redis_each_process_keeps_its_own_results(
    replicas: list[LiveMarina], redis: StoppableRedis
) -> None:
    one, two = replicas
    team, key = await run_sync(make_keeping_team)
    first = await ask(one, team, key, "before", mode="2026-07-28")
    with Redis.from_url(redis.url) as client:
        # It gets there behind the answer.
        await run_sync(wait_for, lambda: bool(client.exists(f"marina:results:{team.tenant_id}")))
    held = [await ask(each, team, key, "before", mode="legacy") for each in (one, two, one)]
    assert held == [first] * 3, "all processes have it by way of Redis"
    await run_sync(redis.stop)
    # Sessions are in Redis, so the older era is not served without it.
    assert await ask(one, team, key, "before", mode="2026-07-28") == first
    assert await ask(two, team, key, "before", mode="2026-07-28") == first
    alone = [await ask(each, team, key, "after", mode="2026-07-28") for each in (one, two, one, two)]
    assert alone[:2] == alone[2:]
    assert alone[0] != alone[1]
    await run_sync(redis.start)

    for number in range(1_000):
        numbers = [await ask(each, team, key, f"again {number}", mode="2026-07-28") for each in replicas]
        if numbers[0] == numbers[1]:
            return
    pytest.fail("Redis was not asked again")
