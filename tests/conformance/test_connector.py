"""The official suite's ``auth/*`` scenarios of a client: Marina's connector signs in at servers of the suite."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.conformance.suite import FOLDER, read_checks, running

pytestmark = [pytest.mark.conformance, pytest.mark.timeout(120)]

ROOT = FOLDER.parents[1]
PASSED = (
    "auth/metadata-default",
    "auth/metadata-var1",
    "auth/metadata-var2",
    "auth/metadata-var3",
    "auth/basic-cimd",
    "auth/scope-from-www-authenticate",
    "auth/scope-from-scopes-supported",
    "auth/scope-omitted-when-undefined",
    "auth/scope-step-up",
    "auth/scope-retry-limit",
    "auth/token-endpoint-auth-basic",
    "auth/token-endpoint-auth-post",
    "auth/token-endpoint-auth-none",
    "auth/pre-registration",
    "auth/2025-03-26-oauth-metadata-backcompat",
    "auth/resource-mismatch",
    "auth/offline-access-scope",
    "auth/offline-access-not-supported",
    "auth/authorization-server-migration",
    "auth/iss-supported",
    "auth/iss-not-advertised",
    "auth/iss-supported-missing",
    "auth/iss-wrong-issuer",
    "auth/iss-unexpected",
    "auth/iss-normalized",
    "auth/metadata-issuer-mismatch",
    "auth/client-credentials-basic",
)
NOT_BUILT = {
    "auth/2025-03-26-oauth-endpoint-fallback",
    "auth/client-credentials-jwt",
    "auth/enterprise-managed-authorization",
    "auth/dpop",
    "auth/dpop-nonce",
    "auth/wif-jwt-bearer",
}
"""Without metadata nobody can say that PKCE is supported; the others are extensions (docs/limits.md)."""


def run_suite(*arguments: str, home: Path) -> str:
    path = os.pathsep.join([str(ROOT), str(ROOT / "platform")])
    with running(*arguments, home=home, PYTHONPATH=path) as process:
        assert process.stdout is not None
        with process.stdout:
            return process.stdout.read().decode(errors="replace")


def test_the_suite_has_no_other_scenario(tmp_path: Path) -> None:
    words = (line.split() for line in run_suite("list", home=tmp_path).splitlines())
    found = {word[1] for word in words if len(word) > 1 and word[1].startswith("auth/")}
    assert found == {*PASSED, *NOT_BUILT}


@pytest.mark.parametrize("scenario", PASSED)
def test_the_connector_passes(scenario: str, tmp_path: Path) -> None:
    command = f"{sys.executable} {FOLDER / 'connector.py'}"
    results = tmp_path / "results"
    said = run_suite(
        *("client", "--command", command, "--scenario", scenario, "-o", str(results)), home=tmp_path
    )
    checks = [check for path in results.glob("**/checks.json") for check in read_checks(scenario, path)]
    assert [check for check in checks if check.status == "SUCCESS"], said
    wrong = [f"{check.name}: {check.message}" for check in checks if check.status in ("FAILURE", "WARNING")]
    assert not wrong, said
