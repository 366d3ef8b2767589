"""A team of each test's own, and its owner with the dashboard open."""

from __future__ import annotations

import pytest
from django.test import Client

from tests.factories import Team, make_team
from tests.frontend.visitor import client_of


@pytest.fixture
def team() -> Team:
    return make_team()


@pytest.fixture
def client(team: Team) -> Client:
    return client_of(team)
