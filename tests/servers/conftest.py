"""A team of each test's own, and its REST API with a key of every right."""

from __future__ import annotations

import pytest

from tests.factories import Team, make_team
from tests.rest import Rest


@pytest.fixture
def team() -> Team:
    return make_team()


@pytest.fixture
def rest(team: Team) -> Rest:
    return Rest.admin(team)
