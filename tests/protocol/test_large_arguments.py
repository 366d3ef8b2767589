"""What a refused call brought is gone with its answer, without the collector, which would keep everybody waiting."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from servers.services.sources import create_source
from tests.factories import make_team
from tests.protocol.waiting import wait_for
from tests.protocol.wireclient import Endpoint

ROWS = 60_000
"""More than is read at once."""


@pytest.fixture
def uncollected() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def held() -> int:
    """Lists of so many rows that there are in this process."""
    return sum(type(each) is list and len(each) == ROWS for each in gc.get_objects())


@pytest.mark.usefixtures("uncollected")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"data": [[1]] * ROWS, "field": "a", "operator": "eq", "value": 1}, "must be of type object"),
        ({"data": [], "field": "a", "operator": "eq", "value": 1, "x": [[1]] * ROWS}, "is not an argument"),
    ],
    ids=["wrong", "unknown"],
)
def test_what_a_refused_call_brought_is_let_go(port: int, arguments: dict[str, object], words: str) -> None:
    team = make_team()
    create_source("toolkit", "toolkit", {}, caller=team.owner)
    endpoint = Endpoint(port, f"/mcp/{team.slug}", team.key())
    own = held()
    assert words in endpoint.call("filter_data", arguments).body.decode()
    wait_for(lambda: held() == own)
    # The answer is the same at once, and the call after it.
    assert words in endpoint.call("filter_data", arguments).body.decode()
