"""A team and a provider that runs beside it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.factories import Team, make_team
from tests.sso.provider import OpenIdProvider, running_provider


@pytest.fixture
def team() -> Team:
    return make_team()


@pytest.fixture
def provider(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenIdProvider]:
    with running_provider(tmp_path, monkeypatch) as running:
        yield running
