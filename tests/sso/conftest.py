"""A team and a provider that runs beside it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.factories import Team, make_team
from tests.plugins.issuer import trusted
from tests.sso.provider import OpenIdProvider


@pytest.fixture
def team() -> Team:
    return make_team()


@pytest.fixture
def provider(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenIdProvider]:
    with trusted(OpenIdProvider(tmp_path), monkeypatch) as running:
        yield running
