"""The self-test of OAuth: green against a running Marina, red in the right place behind a proxy that spoils a thing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from config.local.ports import find_free_port
from core.errors import Forbidden
from servers.services.oauth_selftest import TITLES, run_self_test
from tenants.models import AuditRecord, OAuthClient
from tenants.roles import Role
from tenants.scoping import tenant_scope
from tests.factories import Team
from tests.oauth.front_proxy import FrontProxy, serving
from tests.plugins.live_marina import LiveMarina
from tests.rest import Rest


@pytest.fixture(scope="module")
def behind(
    database: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[LiveMarina, FrontProxy, str]]:
    """A Marina whose base URL is that of a proxy before it."""
    port = find_free_port()
    front = f"http://127.0.0.1:{port}"
    marina = LiveMarina(
        tmp_path_factory.mktemp("behind") / "web.log",
        environment={"MARINA_BASE_URL": front, "MARINA_TRUSTED_PROXIES": "127.0.0.1"},
    )
    try:
        marina.start()
        proxy = FrontProxy(marina.base_url)
        with serving(proxy, port):
            yield marina, proxy, front
    finally:
        marina.stop()


def outcome_of(base_url: str, team: Team) -> dict[str, Any]:
    """The self-test's answer, by REST."""
    with httpx2.Client(base_url=base_url, trust_env=False, timeout=60) as http:
        answer = http.post(
            f"/api/v1/tenants/{team.slug}/oauth/self-test",
            headers={"Authorization": f"Bearer {team.key('admin')}"},
            json={},
        )
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def red(found: dict[str, Any]) -> dict[str, str]:
    """What is wrong, by its key."""
    return {check["key"]: check["problem"] for check in found["checks"] if check["passed"] is False}


def test_a_running_marina_is_green_and_nothing_is_left(live_marina: LiveMarina, team: Team) -> None:
    found = outcome_of(live_marina.base_url, team)
    assert red(found) == {}
    assert found["passed"] is True
    assert {check["key"] for check in found["checks"]} == set(TITLES)
    assert all(check["passed"] for check in found["checks"])
    with tenant_scope(team.tenant_id):
        assert not OAuthClient.objects.exists()
        kinds = set(AuditRecord.objects.values_list("kind", flat=True))
    assert {"oauth.client_registered", "oauth.client_revoked"} <= kinds
    assert Rest.admin(team).get(f"/tenants/{team.slug}/oauth/timelines").body["results"] == []


@pytest.mark.parametrize(
    ("spoil", "keys", "words"),
    [
        ("", set(), ""),
        ("well-known", {"resource_metadata", "issuer_metadata", "browsers"}, "not Marina"),
        ("challenge", {"challenge"}, "WWW-Authenticate"),
        ("options", {"browsers"}, "not Marina"),
        ("authorization", {"token"}, "did not learn who the client is"),
        (
            "https",
            {"challenge", "resource_metadata", "issuer_metadata", "browsers", "registration"},
            "MARINA_BASE_URL says http",
        ),
    ],
)
def test_what_a_proxy_spoils_is_red(
    behind: tuple[LiveMarina, FrontProxy, str], team: Team, spoil: str, keys: set[str], words: str
) -> None:
    marina, proxy, front = behind
    proxy.spoil = spoil
    found = outcome_of(marina.base_url, team)
    assert found["base_url"] == front
    assert set(red(found)) == keys
    assert all(words in problem for problem in red(found).values())
    assert found["passed"] is (not keys)
    for check in found["checks"]:
        if check["passed"] is False:
            assert check["next_step"]


def test_an_address_where_nothing_listens_is_red(team: Team) -> None:
    tested_here = run_self_test(caller=team.owner)
    problems = [check.problem for check in tested_here.checks if check.passed is False]
    assert problems
    assert all("nothing listens there" in problem for problem in problems)


def test_only_who_changes_keys_may_run_it(team: Team) -> None:
    for role in (Role.EDITOR, Role.VIEWER, Role.AUDITOR):
        with pytest.raises(Forbidden):
            run_self_test(caller=team.member(role))
    assert Rest(team.key()).post(f"/tenants/{team.slug}/oauth/self-test").status == 403
