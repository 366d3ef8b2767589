"""The web process that a fault test may kill."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.web import KillableWeb


@pytest.fixture
def web(database: None, tmp_path: Path) -> Iterator[KillableWeb]:
    """A web process of this test's own: nobody else's tests are to be killed with it."""
    mine = KillableWeb(tmp_path / "web.log")
    try:
        mine.start()
        yield mine
    finally:
        mine.close()
