"""Errors go to a client's address by themselves only where its member let the client in: anyone can register one."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

import pytest

from tenants.models import OAuthAuthorization, OAuthClient
from tenants.oauth_addresses import issuer
from tenants.roles import Role
from tenants.scoping import tenant_scope
from tests.factories import Team
from tests.frontend.visitor import client_of
from tests.oauth.asking import begin, decide, number_of, parameters_of, query_of
from tests.oauth.flows import App, make_app

FAR = "https://far.example/callback"


@pytest.fixture(params=["dcr", "cimd"])
def app(request: pytest.FixtureRequest, team: Team) -> App:
    """A client that came by itself."""
    return make_app(team, registration_source=request.param, redirect_uris=f"{FAR} http://127.0.0.1/cb")


def onward(page: Any) -> str:
    """Where the page's link leads; it leads there only when somebody follows it."""
    assert page.status_code == 400
    assert "Location" not in page
    found = re.search(r'id="go-on" href="([^"]+)"', page.content.decode())
    assert found, page.content.decode()
    return unescape(found[1])


def test_client_that_nobody_let_in_gets_no_browser_by_an_error(team: Team, app: App) -> None:
    page = begin(client_of(team), app, redirect_uri=FAR, scope="nonsense")
    location = onward(page)
    text = page.content.decode()
    assert "<code>far.example</code>" in text
    assert "<code>invalid_scope</code>" in text
    assert location.startswith(f"{FAR}?")
    found = parameters_of(location)
    assert (found["error"], found["state"], found["iss"]) == (
        "invalid_scope",
        "the state",
        issuer(team.slug),
    )


@pytest.mark.parametrize(
    "changes",
    [{"resource": ""}, {"response_type": "token"}, {"code_challenge": ""}, {"scope": "prompts:read admin"}],
)
def test_every_error_is_shown_first(team: Team, app: App, changes: dict[str, str]) -> None:
    assert onward(begin(client_of(team), app, redirect_uri=FAR, **changes)).startswith(FAR)


def test_error_of_a_members_rights_is_shown_first(team: Team, app: App) -> None:
    assert onward(begin(client_of(team, Role.AUDITOR), app, redirect_uri=FAR)).startswith(FAR)


def test_program_on_this_computer_is_named_as_that(team: Team, app: App) -> None:
    page = begin(client_of(team), app, redirect_uri="http://127.0.0.1:7777/cb", scope="nonsense")
    assert onward(page).startswith("http://127.0.0.1:7777/cb?")
    assert "on this computer" in page.content.decode()


def test_member_who_let_the_client_in_is_sent_at_once(team: Team, app: App) -> None:
    app.code(redirect_uri=FAR)
    sent = begin(client_of(team), app, redirect_uri=FAR, scope="nonsense")
    assert sent.status_code == 303
    assert sent["Location"].startswith(f"{FAR}?error=invalid_scope")
    assert "Location" not in begin(client_of(team, Role.EDITOR), app, redirect_uri=FAR, scope="nonsense")
    with tenant_scope(team.tenant_id):
        OAuthAuthorization.objects.update(revoked_at=OAuthClient.objects.get(pk=app.row.pk).created)
    assert "Location" not in begin(client_of(team), app, redirect_uri=FAR, scope="nonsense")


def test_refusal_by_hand_leads_back_at_once(team: Team) -> None:
    app = make_app(team, registration_source="dcr")
    browser = client_of(team)
    assert query_of(decide(browser, app, number_of(begin(browser, app)), "deny"))["error"] == "access_denied"
