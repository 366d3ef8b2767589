"""A client of 2026-07-28 and a server of before it, through three replicas: each finds the call that waits."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from servers.services.sources import create_source
from tests.factories import make_team
from tests.replicas.cluster import PYTHONPATH, running_replicas
from tests.replicas.leanclient import MODERN, LeanClient, Message, make_http
from tests.servers.execution.mcp.shipyard import open_shipyard

CALLS = 6
NAMES = {"Which first?": "Ann", "Which second?": "Ben"}


def _answer(method: str, params: Message) -> Message:
    return {"action": "accept", "content": {"name": NAMES[params["message"]]}}


async def _call(url: str, key: str) -> list[str]:
    async with make_http(CALLS) as http:
        clients = [LeanClient(http, url, key, MODERN, _answer) for _ in range(CALLS)]
        results = await asyncio.gather(*(client.call("ask_twice", {}) for client in clients))
    return [result["content"][0]["text"] for result in results]


@pytest.mark.timeout(180)
def test_answers_find_the_call_that_waits_at_another_replica(database: None, tmp_path: Path) -> None:
    team = make_team()
    key = team.key("tools:read", "tools:execute")
    environment = {"PYTHONPATH": PYTHONPATH, "MARINA_OUTBOUND_ALLOW": "127.0.0.0/8"}
    with open_shipyard("legacy") as yard, running_replicas(tmp_path, environment=environment) as replicas:
        create_source("yard", "mcp", {"url": yard.url}, caller=team.owner)
        before = len(yard.of("tools/call"))
        texts = asyncio.run(_call(replicas.mcp_url(team.slug), key))
        calls = len(yard.of("tools/call")) - before
        used = {passed.replica for passed in replicas.passed() if "/mcp/" in passed.path}
    assert texts == ["Ann and Ben"] * CALLS
    assert calls == CALLS
    assert used == {0, 1, 2}
