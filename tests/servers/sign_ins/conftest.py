"""Servers that want a sign-in, and a person whose browser goes there."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.factories import Team, make_team
from tests.rest import Rest
from tests.servers.sign_ins.authority import Authority, open_authority
from tests.servers.sign_ins.person import Person


@pytest.fixture
def team() -> Team:
    return make_team()


@pytest.fixture
def rest(team: Team) -> Rest:
    return Rest.admin(team)


@pytest.fixture
def owner(team: Team) -> Person:
    return Person(team, team.owner_email)


@pytest.fixture(params=["legacy", "modern"])
def eras(request: pytest.FixtureRequest) -> Iterator[Authority]:
    with open_authority(request.param) as authority:
        yield authority


@pytest.fixture
def authority() -> Iterator[Authority]:
    with open_authority() as authority:
        yield authority
