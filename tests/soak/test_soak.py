"""Mixed load on two web processes: what they hold does not grow. ``MARINA_SOAK_SECONDS=3600`` makes it an hour."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from asgiref.sync import sync_to_async
from django.conf import settings
from redis import Redis

from servers.services.sources import create_source
from servers.services.tools import create_tool
from tests.factories import Team, make_database, make_team
from tests.replicas.cluster import PYTHONPATH, Replicas, running_replicas
from tests.replicas.leanclient import make_http
from tests.soak.load import BOARD, Load
from tests.soak.samples import Sample, judge, take_sample
from tests.soak.streams import open_streams

pytestmark = pytest.mark.anyio

SECONDS = float(os.environ.get("MARINA_SOAK_SECONDS") or 120)
SAMPLES = 60
WORKERS = 12
STREAMS = 1000
MOST_MB = 100.0
"""What a thousand open streams may cost."""

_MARKING = Path(__file__).resolve().parents[1] / "isolation" / "plugin"
_ECHO = {
    "description": "Gives back what it is given.",
    "sql": "SELECT :payload::text AS payload",
    "parameters": {"payload": {"type": "string", "description": "Any", "required": True}},
}


@pytest.fixture(scope="module")
def replicas(database: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replicas]:
    """Two web processes behind the proxy."""
    environment = {"PYTHONPATH": f"{PYTHONPATH}{os.pathsep}{_MARKING}"}
    with running_replicas(tmp_path_factory.mktemp("soak"), count=2, environment=environment) as made:
        yield made


@pytest.fixture(scope="module")
def team(replicas: Replicas) -> Team:
    """A team with a tool of SQL, and with the plugin that reports, asks and notifies."""
    made = make_team("Soak")
    create_source("numbers", "postgres", {"dsn": make_database("SELECT 1")}, caller=made.owner)
    create_tool("echo", "numbers", "sql", _ECHO, caller=made.owner)
    marks = {"name": "marks", "kind": "marking", "settings": {"mark": secrets.token_hex(8)}}
    replicas.post(made, "data-sources", marks)
    return made


def make_key(team: Team) -> str:
    return team.key("tools:read", "tools:execute", "resources:read", "prompts:read")


@pytest.mark.timeout(SECONDS + 240)
async def test_nothing_grows_under_mixed_load(replicas: Replicas, team: Team) -> None:
    key = await sync_to_async(make_key)(team)
    samples: list[Sample] = []
    enough = asyncio.Event()
    with (
        psycopg.connect(settings.ENV.database_url, autocommit=True) as postgres,
        Redis.from_url(settings.ENV.redis_url) as redis,
    ):
        async with make_http(WORKERS * 3) as http:
            load = Load(http, replicas.mcp_url(team.slug), key, "soak")
            running = asyncio.create_task(load.run(WORKERS, enough))
            pids = [web.pid for web in replicas.webs]
            for _ in range(SAMPLES):
                # The length of the run, not a wait for something: what is measured is what time does.
                await asyncio.sleep(SECONDS / SAMPLES)
                samples.append(await asyncio.to_thread(take_sample, pids, postgres, redis))
            enough.set()
            await running
    table, grew = judge(samples)
    print(f"\n{sum(load.done.values())} turns in {SECONDS:.0f} s: {dict(load.done)}\n{table}")
    assert load.faults == [], (
        f"{len(load.faults)} faults, the first: {load.faults[:5]}\n{replicas.last_lines()}"
    )
    assert grew == [], f"{grew}\n{table}"


@pytest.mark.timeout(240)
async def test_a_thousand_open_streams_cost_little_memory(replicas: Replicas, team: Team) -> None:
    # Of several credentials: one may not hold so many.
    keys = [await sync_to_async(make_key)(team) for _ in range(4)]
    web = replicas.webs[0]
    grown = await open_streams(STREAMS, f"{web.base_url}/mcp/{team.slug}", keys, BOARD, pid=web.pid)
    print(f"\n{STREAMS} open streams: {grown:.1f} MB more")
    assert grown <= MOST_MB
