"""The processes that a fault test may kill."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.faults.stack import Stack, running_stack
from tests.faults.stoppable import StoppableRedis
from tests.faults.web import KillableWeb
from tests.plugins.live_marina import LiveMarina


@pytest.fixture
def environment() -> Mapping[str, str]:
    """What the web process is to be told."""
    return {}


@pytest.fixture
def web(database: None, tmp_path: Path, environment: Mapping[str, str]) -> Iterator[KillableWeb]:
    """A web process of this test's own: nobody else's tests are to be killed with it."""
    mine = KillableWeb(tmp_path / "web.log", environment)
    try:
        mine.start()
        yield mine
    finally:
        mine.close()


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[StoppableRedis]:
    with StoppableRedis.running(tmp_path) as mine:
        yield mine


@pytest.fixture
def replicas(database: None, redis: StoppableRedis, tmp_path: Path) -> Iterator[list[LiveMarina]]:
    """Two web processes that hear of changes from one Redis."""
    both = [LiveMarina(tmp_path / f"web-{n}.log", environment={"REDIS_URL": redis.url}) for n in range(2)]
    with ExitStack() as running:
        yield [running.enter_context(each.running()) for each in both]


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """All of a Marina, for tests that leave it as they found it: running, whatever they did to it."""
    with running_stack() as made:
        yield made
