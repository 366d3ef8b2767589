"""A Marina in a process of its own, with everything that the protocol has, and the paths of a team in it."""

from __future__ import annotations

import os
from collections.abc import Iterator

import httpx2
import pytest

from tests.factories import Team, make_team
from tests.plugins.live_marina import ROOT, LiveMarina
from tests.protocol.fuzz.judge import Secrets, check_log
from tests.protocol.fuzz.wire import Target

PLUGIN = ROOT / "tests" / "conformance" / "plugin"
ENVIRONMENT = {
    "PYTHONPATH": os.pathsep.join(str(folder) for folder in (ROOT, ROOT / "platform", PLUGIN)),
    "MARINA_IDLE_SECONDS": "60",
    "MARINA_HEADER_SECONDS": "2",
    "MARINA_WRITE_SECONDS": "2",
}
SCOPES = ("tools:read", "tools:execute", "resources:read", "prompts:read")


@pytest.fixture(scope="session")
def web(database: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveMarina]:
    """A web process, real from its socket on."""
    with LiveMarina(tmp_path_factory.mktemp("fuzz") / "web.log", environment=ENVIRONMENT).running() as marina:
        yield marina


@pytest.fixture(scope="session")
def shared_team(web: LiveMarina) -> Team:
    """The team of all tests that read no log."""
    return furnished_team(web)


@pytest.fixture
def own_team(web: LiveMarina) -> Team:
    """A team of the test's own, as well furnished."""
    return furnished_team(web)


@pytest.fixture(scope="session")
def target(web: LiveMarina, shared_team: Team) -> Target:
    """The shared team's default server."""
    return Target(web.port, shared_team.slug, shared_team.key(*SCOPES))


@pytest.fixture(autouse=True)
def nothing_broke(web: LiveMarina, target: Target) -> Iterator[None]:
    """After each test a good request is served in both eras, and the process has told of no fault of its own."""
    began = web.log.stat().st_size
    yield
    with target.connect() as connection:
        assert connection.post(target, target.modern("server/discover")).json["result"]
        assert connection.post(target, target.legacy("ping")).json["result"] == {}
    with web.log.open(errors="replace") as log:
        log.seek(began)
        check_log(log.read(), Secrets(target.key))


def furnished_team(web: LiveMarina) -> Team:
    """A team with the fixtures of the official suite: tools, resources, a template, prompts, completions."""
    team = make_team()
    key = team.key("admin")
    answer = httpx2.post(
        f"{web.base_url}/api/v1/tenants/{team.slug}/data-sources",
        headers={"Authorization": f"Bearer {key}"},
        json={
            "name": "fixtures",
            "kind": "conformance",
            "settings": {"api_url": web.base_url, "admin_key": key},
        },
        timeout=30,
        trust_env=False,
    )
    assert answer.status_code == 201, answer.text
    return team
