"""PostgreSQL hangs: it closes nothing and answers nothing. Every request is refused in time, and all is well after."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from config import patience
from tests.plugins.live_marina import LiveMarina, wait_until
from tests.plugins.own_cluster import Cluster, running_cluster
from tests.protocol.wireclient import Endpoint

PROMISED_SECONDS = 5
LATEST_SECONDS = 20
"""For an answer that was given in time, on a busy machine. What waits for the database waits for ever."""
TEAM = """
import django
django.setup()
from tests.factories import make_team
team = make_team()
print(team.slug, team.key(), *(team.key(name=f"unused {n}") for n in range(12)))
"""


@pytest.fixture
def own_cluster() -> Iterator[Cluster]:
    """A PostgreSQL that a test may stop."""
    with running_cluster() as cluster:
        yield cluster


@pytest.fixture
def marina(own_cluster: Cluster, tmp_path: Path) -> Iterator[LiveMarina]:
    """A Marina on a database that a test may stop."""
    marina = LiveMarina(tmp_path / "web.log", environment={"DATABASE_URL": own_cluster.url})
    try:
        marina.start()
        yield marina
    finally:
        own_cluster.resume()
        marina.stop()


def _readiness(marina: LiveMarina) -> Any:
    try:
        with urllib.request.urlopen(f"{marina.base_url}/ready", timeout=60) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as refusal:
        return json.load(refusal)


@pytest.mark.timeout(180)
def test_while_the_database_hangs_every_request_is_refused_in_time_and_afterwards_served(
    own_cluster: Cluster, marina: LiveMarina
) -> None:
    assert patience.SECONDS < PROMISED_SECONDS
    slug, key, *unused = own_cluster.run_python("-c", TEAM).split()
    known = Endpoint(marina.port, f"/mcp/{slug}", key, seconds=LATEST_SECONDS)
    unheard = [known.with_key(each) for each in unused]
    anonymous = [known.with_key(None).at(f"/mcp/{slug}/s{number}") for number in range(6)]
    assert known.legacy("tools/list").status == 200
    own_cluster.pause()
    with ThreadPoolExecutor(40) as pool:
        # More look-ups than there are threads for them, and calls whose record waits.
        listing = [pool.submit(each.legacy, "tools/list") for each in (*unheard, *anonymous)]
        calling = [pool.submit(known.legacy, "tools/call", {"name": "nothing"}) for _ in range(6)]
        answers = [each.result() for each in (*listing, *calling)]
    assert {answer.status for answer in answers} == {503}
    assert {answer.error["data"]["code"] for answer in answers} <= {"database_unavailable", "log_unavailable"}
    assert marina.process is not None
    assert wait_until(lambda: _log_is(marina, "unhealthy"), marina.process) is None
    assert known.legacy("tools/list").error["data"]["code"] == "log_unavailable"
    own_cluster.resume()
    assert wait_until(lambda: _log_is(marina, "healthy"), marina.process) is None
    assert wait_until(lambda: _why_not(known), marina.process) is None
    assert {each.legacy("tools/list").status for each in unheard} == {200}


def _log_is(marina: LiveMarina, state: str) -> str | None:
    found = _readiness(marina)["parts"]["log"]
    return None if found["state"] == state else str(found)


def _why_not(endpoint: Endpoint) -> str | None:
    answer = endpoint.legacy("tools/list")
    return None if answer.status == 200 else str(answer.body)
