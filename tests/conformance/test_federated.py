"""The official suite through Marina: three replicas in front of a server that is federated without a prefix."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conformance.expected import CHECKS
from tests.conformance.opening import open_fixtures, open_server
from tests.conformance.suite import describe, run_requirements
from tests.factories import make_team
from tests.replicas.cluster import Replicas

pytestmark = pytest.mark.conformance

LESS = {
    # The server closes its stream in the middle, and Marina comes back for the rest: its own client sees nothing of it.
    "2025-11-25": {"server-sse-polling": 1},
    # What the server offers otherwise is offered on when an admin took it over: two checks of SHOULD are warnings.
    "2026-07-28": {"server-stateless": 2},
}
"""Checks that count when the server is asked itself, by scenario, and say nothing through Marina."""


@pytest.fixture(scope="module")
def url(replicas: Replicas) -> str:
    """A public server with one source: the MCP server of another team, where the suite's fixtures are."""
    settings = {"url": open_fixtures(replicas, "Behind"), "prefix": ""}
    return open_server(replicas, make_team("Front"), {"behind": ("mcp", settings)})


@pytest.mark.timeout(400)
@pytest.mark.parametrize("revision", sorted(CHECKS))
def test_the_suite_finds_no_fault_in_what_is_federated(
    replicas: Replicas, url: str, revision: str, tmp_path: Path
) -> None:
    run = run_requirements(url, revision, tmp_path)
    failed = run.failed
    assert not failed, f"{len(failed)} failed checks:\n{describe(failed)}\n{replicas.last_lines()}"
    less = LESS[revision]
    expected = {name: count - less.get(name, 0) for name, count in CHECKS[revision].items()}
    assert {name: run.counts[name] for name in expected} == expected
