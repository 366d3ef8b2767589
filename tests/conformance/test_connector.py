"""The official suite's scenarios of a client: Marina's connector at servers of the suite."""

from __future__ import annotations

import os
import re
import sys
from itertools import chain
from pathlib import Path

import pytest

from tests.conformance.suite import FOLDER, PROGRAM, read_checks, running

pytestmark = [pytest.mark.conformance, pytest.mark.timeout(120)]

ROOT = FOLDER.parents[1]
SCORED = {
    "2025-11-25": (
        "initialize",
        "tools_call",
        "elicitation-sep1034-client-defaults",
        "sse-retry",
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
    ),
    "2026-07-28": (
        "tools_call",
        "request-metadata",
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
        "sep-2322-client-request-state",
        "http-standard-headers",
        "http-custom-headers",
        "http-invalid-tool-headers",
        "json-schema-ref-no-deref",
    ),
}
"""What the suite asks of a client of each revision."""
ALSO_PASSED = (
    "auth/2025-03-26-oauth-metadata-backcompat",
    "auth/client-credentials-basic",
    "json-schema-2020-12-preservation",
)
NOT_BUILT = {
    "auth/2025-03-26-oauth-endpoint-fallback",
    "auth/client-credentials-jwt",
    "auth/enterprise-managed-authorization",
    "auth/dpop",
    "auth/dpop-nonce",
    "auth/wif-jwt-bearer",
    "sep-2640-client-no-prefetch",
    "sep-2640-client-verify-digest",
    "sep-2640-client-verify-frontmatter",
    "sep-2640-client-verify-size",
}
"""Without metadata nobody can say that PKCE is supported; the others are extensions (docs/limits.md)."""


def run_suite(*arguments: str, home: Path) -> str:
    path = os.pathsep.join([str(ROOT), str(ROOT / "platform")])
    with running(*arguments, home=home, PYTHONPATH=path) as process:
        assert process.stdout is not None
        with process.stdout:
            return process.stdout.read().decode(errors="replace")


def test_the_suite_asks_for_nothing_else(tmp_path: Path) -> None:
    lines = run_suite("list", home=tmp_path).partition("Client scenarios")[2].partition("\n\n")[0]
    listed = set(re.findall(r"- (\S+) \[", lines))
    assert listed == {*chain(*SCORED.values()), *ALSO_PASSED, *NOT_BUILT}
    for revision, scenarios in SCORED.items():
        asked = (PROGRAM.parents[1] / "requirements" / f"{revision}.yaml").read_text()
        part = asked.partition("\nclient:\n")[2].partition("\n\n")[0]
        assert re.findall(r"- (\S+)", part) == list(scenarios)


@pytest.mark.parametrize(
    ("revision", "scenario"),
    [
        *((revision, scenario) for revision, scenarios in SCORED.items() for scenario in scenarios),
        *(("", scenario) for scenario in ALSO_PASSED),
    ],
)
def test_the_connector_passes(revision: str, scenario: str, tmp_path: Path) -> None:
    command = f"{sys.executable} {FOLDER / 'connector.py'}"
    results = tmp_path / "results"
    said = run_suite(
        *("client", "--command", command, "--scenario", scenario, "-o", str(results)),
        *(("--spec-version", revision) if revision else ()),
        home=tmp_path,
    )
    checks = [check for path in results.glob("**/checks.json") for check in read_checks(scenario, path)]
    assert [check for check in checks if check.status == "SUCCESS"], said
    wrong = [f"{check.name}: {check.message}" for check in checks if check.status in ("FAILURE", "WARNING")]
    assert not wrong, said
