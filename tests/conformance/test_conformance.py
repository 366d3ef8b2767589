"""The official suite against three replicas that share nothing but PostgreSQL and Redis; then with one being killed.

The suite sends no credential, so it meets a public server, made as an owner makes one: over REST.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.conformance.expected import CHECKS
from tests.conformance.opening import open_fixtures
from tests.conformance.suite import Run, Window, describe, run_requirements, run_scenario
from tests.replicas.cluster import Passed, Replicas

pytestmark = pytest.mark.conformance

REVISIONS = sorted(CHECKS)
ROUNDS = int(os.environ.get("CONFORMANCE_KILL_ROUNDS") or 2)
"""How often the whole set runs while a replica is being killed."""

REPEATS = 12
"""How often a scenario that lost a request may be tried again: the longest meet a kill or two each time, so half of
their tries may be in vain."""

_SLACK_SECONDS = 0.1
"""How far the suite's line about a scenario and the proxy's about a request may be apart."""


@pytest.fixture(scope="module")
def url(replicas: Replicas) -> str:
    """A public server that offers what the suite asks for."""
    return open_fixtures(replicas, "Conformance")


@pytest.mark.timeout(240)
@pytest.mark.parametrize("revision", REVISIONS)
def test_the_suite_finds_no_fault_on_three_replicas(
    replicas: Replicas, url: str, revision: str, tmp_path: Path
) -> None:
    began = time.time()
    run = run_requirements(url, revision, tmp_path)
    failed = run.failed
    assert not failed, f"{len(failed)} failed checks:\n{describe(failed)}\n{replicas.last_lines()}"
    assert made(run) == CHECKS[revision]
    passed = replicas.passed(began)
    assert {request.replica for request in passed} == {0, 1, 2}
    assert [request for request in passed if request.is_lost or is_server_error(request)] == []


@pytest.mark.timeout(900)
@pytest.mark.parametrize("revision", REVISIONS)
def test_killing_a_replica_fails_only_what_was_in_flight_on_it(
    replicas: Replicas, url: str, revision: str, tmp_path: Path
) -> None:
    began = time.time()
    runs: list[Run] = []
    wrong: list[tuple[str, Window, Run]] = []
    with replicas.killing(0) as kills:
        for number in range(ROUNDS):
            run = run_requirements(url, revision, tmp_path / f"whole-{number}")
            runs.append(run)
            left = find_wrong(run, revision)
            for attempt in range(1 + REPEATS):
                wrong += [(scenario, run.windows[scenario], run) for scenario, run in left.items()]
                if not left or attempt == REPEATS:
                    break
                again = {
                    scenario: run_scenario(
                        url, revision, scenario, tmp_path / f"{number}-{attempt}-{scenario}"
                    )
                    for scenario in left
                }
                left = {name: run for name, run in again.items() if name in find_wrong(run, revision)}
            assert not left, f"not once in {1 + REPEATS} times: {tell(left)}"
    passed = replicas.passed(began)
    lost = [request for request in passed if request.is_lost]
    print(
        f"{revision}: {kills.count} kills, {len(passed)} requests, {len(lost)} lost, "
        f"{len(wrong)} scenarios hurt: {', '.join(name for name, _, _ in wrong) or 'none'}"
    )
    # Nobody but the killed replica loses or refuses anything, and it did take its part between the kills.
    assert kills.count >= ROUNDS
    assert {request.replica for request in passed} == {0, 1, 2}
    assert {request.replica for request in lost} <= {0}
    assert [request for request in passed if is_server_error(request) or request.replica is None] == []
    # A scenario may fail where a request of its own was lost, and nowhere else.
    unhurt = {name: run for name, window, run in wrong if not any(within(window, one) for one in lost)}
    assert not unhurt, f"failed though no request of theirs was lost: {tell(unhurt)}"
    assert len(wrong) <= len(lost)


def find_wrong(run: Run, revision: str) -> dict[str, Run]:
    """The scenarios of this run that did not pass whole."""
    failed = {check.scenario for check in run.failed}
    counts = run.counts
    short = {name for name in run.windows if counts[name] != CHECKS[revision].get(name, counts[name])}
    missing = CHECKS[revision].keys() - run.windows.keys() if len(run.windows) > 1 else set[str]()
    assert not missing, f"not run at all: {sorted(missing)}"
    return dict.fromkeys(sorted(failed | short), run)


def made(run: Run) -> dict[str, int]:
    """Scenario → its checks."""
    return {name: run.counts[name] for name in run.windows}


def is_server_error(request: Passed) -> bool:
    """Whether a replica, not the proxy, gave up on it."""
    return request.status is not None and request.status >= 500


def within(window: Window, request: Passed) -> bool:
    """Whether the request ended while the scenario ran."""
    return window.began - _SLACK_SECONDS <= request.ended <= window.ended + _SLACK_SECONDS


def tell(runs: dict[str, Run]) -> str:
    """The failed checks of these scenarios."""
    lines = []
    for name, run in runs.items():
        failed = [check for check in run.failed if check.scenario == name]
        lines.append(describe(failed) or f"{name}: {run.counts[name]} checks only")
    return "\n".join(lines)
