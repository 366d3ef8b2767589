"""A team, and a client of its issuer, of each test's own."""

from __future__ import annotations

import pytest

from tests.factories import Team, make_team
from tests.oauth.flows import App, make_app


@pytest.fixture
def team() -> Team:
    return make_team()


@pytest.fixture
def app(team: Team) -> App:
    return make_app(team)
