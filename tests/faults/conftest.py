"""The web process that a fault test may kill."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.faults.web import KillableWeb


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
