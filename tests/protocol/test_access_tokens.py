"""Access tokens at the MCP endpoint: challenges that say where they come from, and what they open."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from django.conf import settings

from servers.services.runtime import Runtime
from tenants.models import OAuthAuthorization
from tenants.oauth_addresses import resource
from tenants.roles import Role
from tenants.scoping import tenant_scope
from tenants.services.oauth_flow import revoke_token
from tests.factories import Team, add_server, make_team
from tests.oauth.flows import App, make_app, make_service
from tests.protocol.conftest import HearAll, OnLoop, Records
from tests.protocol.streamclient import begin
from tests.protocol.wireclient import Endpoint
from tests.rest import Rest

BASE = settings.ENV.base_url


@pytest.fixture
def app(team: Team) -> App:
    return make_app(team)


def test_bare_request_is_told_where_tokens_come_from(team: Team, endpoint: Endpoint) -> None:
    for path, tail in ((endpoint.path, ""), (f"{endpoint.path}/reports", "/reports")):
        answer = endpoint.at(path).with_key(None).legacy("ping")
        found = re.search(r'resource_metadata="([^"]+)"', answer.headers["WWW-Authenticate"])
        assert answer.status == 401
        assert found
        assert found[1] == f"{BASE}/.well-known/oauth-protected-resource/mcp/{team.slug}{tail}"


def test_token_lists_and_calls_and_the_log_names_member_and_client(
    team: Team, endpoint: Endpoint, app: App, records: Records, runtime: Runtime, on_loop: OnLoop
) -> None:
    holder = endpoint.with_key(app.tokens()["access_token"])
    assert holder.modern("tools/list").status == 200
    assert holder.call("echo", {"text": "x"}).status == 200
    record = records(team)[-1]
    assert record["actor"] == f"user:{team.owner_email} via Test app"
    on_loop(runtime.uses.flush())
    with tenant_scope(team.tenant_id):
        authorization = OAuthAuthorization.objects.get()
    assert record["credential_id"] == str(authorization.id)
    assert authorization.last_used_at is not None


def test_token_that_lacks_scopes_is_told_all_that_it_needs(team: Team, endpoint: Endpoint, app: App) -> None:
    holder = endpoint.with_key(app.tokens(scope="tools:read tool:fail")["access_token"])
    answer = holder.call("echo", {"text": "x"})
    challenge = answer.headers["WWW-Authenticate"]
    assert answer.status == 403
    assert 'error="insufficient_scope"' in challenge
    assert 'scope="tools:execute tool:echo"' in challenge
    assert f'resource_metadata="{BASE}/.well-known/oauth-protected-resource/mcp/{team.slug}"' in challenge


def test_token_is_for_its_server_alone(team: Team, endpoint: Endpoint, app: App) -> None:
    add_server(team, "second")
    first = endpoint.with_key(app.tokens()["access_token"])
    second = endpoint.with_key(app.tokens(resource=resource(team.slug, "second"))["access_token"])
    there = f"{endpoint.path}/second"
    assert first.legacy("ping").status == 200
    assert first.at(f"{endpoint.path}/default").legacy("ping").status == 200
    assert second.at(there).legacy("ping").status == 200
    for holder in (first.at(there), second):
        for _ in range(2):
            answer = holder.legacy("ping")
            assert (answer.status, answer.error["data"]["code"]) == (401, "token_audience")
            assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"]


def test_only_the_diagonal_of_teams_and_tokens_answers(endpoint: Endpoint, team: Team) -> None:
    teams = [team, make_team(), make_team()]
    tokens = [make_app(each).tokens()["access_token"] for each in teams]
    for row, each in enumerate(teams):
        for column, token in enumerate(tokens):
            answer = endpoint.at(f"/mcp/{each.slug}").with_key(token).legacy("ping")
            assert answer.status == (200 if row == column else 401)
            if row != column:
                assert answer.error["data"]["code"] == "token_unknown"


def test_a_session_outlasts_a_new_consent_and_is_nobody_elses(
    team: Team, endpoint: Endpoint, app: App
) -> None:
    first = endpoint.with_key(app.tokens(scope="tools:read")["access_token"])
    session = begin(first)
    call = {"name": "echo", "arguments": {"text": "x"}}
    assert session.request("tools/call", call).status == 403
    wider = endpoint.with_key(app.tokens()["access_token"])
    assert replace(session, at=wider).request("tools/call", call).status == 200
    strangers = [
        make_app(team).tokens()["access_token"],
        app.tokens(team.member(Role.EDITOR))["access_token"],
        team.key(),
    ]
    for token in strangers:
        answer = replace(session, at=endpoint.with_key(token)).request("tools/list")
        assert (answer.status, answer.error["data"]["code"]) == (404, "session_unknown")


def test_revoked_token_in_use_closes_when_the_change_is_heard(
    team: Team, endpoint: Endpoint, app: App, hear_all: HearAll
) -> None:
    token = app.tokens()["access_token"]
    holder = endpoint.with_key(token)
    assert holder.legacy("ping").status == 200
    revoke_token(
        {"token": token, "client_id": app.row.client_id},
        authorization=None,
        tenant_id=team.tenant_id,
        tenant_slug=team.slug,
    )
    hear_all()
    assert holder.legacy("ping").error["data"]["code"] == "token_unknown"


def test_service_calls_in_its_own_name(team: Team, endpoint: Endpoint, records: Records) -> None:
    token = make_service(team).ask(grant_type="client_credentials").body["access_token"]
    assert endpoint.with_key(token).call("echo", {"text": "x"}).status == 200
    assert records(team)[-1]["actor"] == "client:Test app"


@pytest.mark.parametrize("token", ["mcp_at_", "mcp_at_" + "x" * 500, "mcp_at_nonsense", "mcp_rt_nonsense"])
def test_nonsense_is_no_token(team: Team, endpoint: Endpoint, token: str) -> None:
    assert endpoint.with_key(token).legacy("ping").status == 401


def test_token_in_the_address_counts_for_nothing(endpoint: Endpoint, app: App) -> None:
    token = app.tokens()["access_token"]
    assert endpoint.at(f"{endpoint.path}?access_token={token}").with_key(None).legacy("ping").status == 401


def test_refresh_token_opens_nothing(endpoint: Endpoint, app: App) -> None:
    assert endpoint.with_key(app.tokens()["refresh_token"]).legacy("ping").status == 401


def test_rest_takes_no_access_tokens_and_says_why(team: Team, app: App) -> None:
    answer = Rest(app.tokens()["access_token"]).get(f"/tenants/{team.slug}/members")
    assert (answer.status, answer.body["code"]) == (401, "token_audience")
    assert "REST" in answer.body["detail"]
