"""Codes and tokens: hashed, bound, used once, and ended together when one is used twice."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from core.errors import Unauthenticated
from tenants.models import (
    Membership,
    OAuthAccessToken,
    OAuthAuthorization,
    OAuthClient,
    OAuthCode,
    OAuthRefreshToken,
    User,
)
from tenants.models_oauth import digest_of
from tenants.oauth_addresses import resource
from tenants.roles import Role
from tenants.scoping import tenant_scope
from tenants.services.oauth_flow import introspect_token, revoke_token
from tenants.services.oauth_parameters import OAuthFault, read_parameters
from tenants.tokens import caller_for_token
from tests.factories import Team, make_team
from tests.oauth.flows import App, kinds_of, make_app, make_service
from tests.together import do_at_once


def live(team: Team) -> int:
    """Tokens of the team that open something."""
    with tenant_scope(team.tenant_id):
        return (
            OAuthAccessToken.objects.count() + OAuthRefreshToken.objects.filter(revoked__isnull=True).count()
        )


def test_member_agrees_and_the_client_gets_tokens_of_this_team(team: Team, app: App) -> None:
    tokens = app.tokens()
    assert (tokens["token_type"], tokens["expires_in"]) == ("Bearer", 3600)
    assert tokens["scope"] == "tools:read tools:execute"
    caller = caller_for_token(tokens["access_token"], tenant_slug=team.slug)
    assert caller.scopes == {"tools:read", "tools:execute", "server:default"}
    assert caller.actor == f"user:{team.owner_email} via Test app"
    assert kinds_of(team) == ["oauth.consented", "oauth.token_issued"]


def test_codes_and_tokens_are_stored_as_hashes_alone(team: Team, app: App) -> None:
    code = app.code()
    answer = app.exchange(code)
    secrets = [code, answer.body["access_token"], answer.body["refresh_token"]]
    with connection.cursor() as cursor, tenant_scope(team.tenant_id):
        stored = ""
        for model in (OAuthCode, OAuthAccessToken, OAuthRefreshToken, OAuthAuthorization, OAuthClient):
            cursor.execute(f"SELECT t::text FROM {model._meta.db_table} t")
            stored += str(cursor.fetchall())
        cursor.execute("SELECT convert_from(body, 'UTF8') FROM tenants_auditrecord")
        logged = str(cursor.fetchall())
    for secret in secrets:
        assert secret not in stored
        assert secret not in logged
        assert digest_of(secret) in stored


def test_code_used_twice_ends_what_came_of_it(team: Team, app: App) -> None:
    code = app.code()
    first = app.exchange(code)
    again = app.exchange(code)
    assert (again.status, again.body["error"]) == (400, "invalid_grant")
    assert live(team) == 0
    with pytest.raises(Unauthenticated):
        caller_for_token(first.body["access_token"], tenant_slug=team.slug)
    assert app.refresh(first.body["refresh_token"]).status == 400
    assert kinds_of(team)[-1] == "oauth"


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"code_verifier": "x" * 43}, "invalid_grant"),
        ({"code_verifier": ""}, "invalid_request"),
        ({"code_verifier": "short"}, "invalid_grant"),
        ({"redirect_uri": "http://127.0.0.1:7777/other"}, "invalid_request"),
        ({"resource": ""}, "invalid_target"),
        ({"resource": "http://127.0.0.1:8000/mcp/other"}, "invalid_target"),
        ({"client_id": "someone-else"}, "invalid_client"),
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ({"grant_type": ""}, "unsupported_grant_type"),
        ({"code": "x" * 30}, "invalid_grant"),
    ],
)
def test_wrong_exchange_gets_the_protocols_error_and_no_token(
    team: Team, app: App, changes: dict[str, str], error: str
) -> None:
    code = app.code()
    answer = app.exchange(changes.pop("code", code), **changes)
    assert answer.status in {400, 401}
    assert answer.body["error"] in {error, "mismatching_redirect_uri"}
    assert answer.body["error_description"].endswith(".")
    assert live(team) == 0


def test_resource_of_another_server_than_agreed_to_is_refused(team: Team, app: App) -> None:
    answer = app.exchange(app.code(), resource=resource(team.slug, "other"))
    assert answer.body["error"] == "invalid_target"
    tokens = app.tokens()
    answer = app.refresh(tokens["refresh_token"], resource=resource(team.slug, "other"))
    assert answer.body["error"] == "invalid_target"


def test_expired_code_is_refused(team: Team, app: App) -> None:
    code = app.code()
    with tenant_scope(team.tenant_id):
        OAuthCode.objects.update(expires=timezone.now() - timedelta(seconds=1))
    answer = app.exchange(code)
    assert answer.body["error"] == "invalid_grant"
    assert "older than a minute" in answer.body["error_description"]


def test_refresh_replaces_both_tokens(team: Team, app: App) -> None:
    first = app.tokens()
    second = app.refresh(first["refresh_token"])
    assert second.status == 200
    assert second.body["refresh_token"] != first["refresh_token"]
    with pytest.raises(Unauthenticated):
        caller_for_token(first["access_token"], tenant_slug=team.slug)
    assert caller_for_token(second.body["access_token"], tenant_slug=team.slug).role is None
    assert live(team) == 2


def test_refresh_may_narrow_and_the_next_may_ask_for_all_again(team: Team, app: App) -> None:
    first = app.tokens()
    narrowed = app.refresh(first["refresh_token"], scope="tools:read")
    assert narrowed.body["scope"] == "tools:read"
    again = app.refresh(narrowed.body["refresh_token"])
    assert again.body["scope"] == "tools:read tools:execute"
    wider = app.refresh(again.body["refresh_token"], scope="tools:read prompts:read")
    assert wider.body["error"] == "invalid_scope"


def test_refresh_sheds_no_scope_that_narrows(team: Team, app: App) -> None:
    first = app.tokens(scope="tools:read tools:execute tool:echo tool:wait")
    shed = app.refresh(first["refresh_token"], scope="tools:execute")
    assert set(shed.body["scope"].split()) == {"tools:execute", "tool:echo", "tool:wait"}
    narrower = app.refresh(shed.body["refresh_token"], scope="tools:execute tool:echo")
    assert set(narrower.body["scope"].split()) == {"tools:execute", "tool:echo"}


@pytest.mark.parametrize("name", ["extra_credentials", "refresh_token_instance", "user", "scopes", "client"])
def test_parameters_that_no_token_request_has_do_nothing(team: Team, app: App, name: str) -> None:
    token = app.exchange(app.code(), **{name: "x"})
    assert token.status == 200
    assert app.refresh(token.body["refresh_token"], **{name: "x"}).status == 200


def test_introspection_calls_no_token_active_whose_member_has_gone(team: Team, app: App) -> None:
    member = team.member(Role.EDITOR)
    assert member.user_id is not None

    def told() -> dict[str, Any]:
        return introspect_token(token, tenant_id=team.tenant_id, tenant_slug=team.slug)

    token = app.tokens(member)["access_token"]
    assert told()["scope"] == "tools:read tools:execute"
    with tenant_scope(team.tenant_id):
        Membership.objects.filter(user_id=member.user_id).update(role=Role.AUDITOR.value)
    assert told()["scope"] == ""
    with tenant_scope(team.tenant_id):
        Membership.objects.filter(user_id=member.user_id).delete()
    assert told() == {"active": False}


def test_refresh_token_used_twice_ends_the_family(team: Team, app: App) -> None:
    first = app.tokens()
    second = app.refresh(first["refresh_token"])
    assert app.refresh(first["refresh_token"]).body["error"] == "invalid_grant"
    assert live(team) == 0
    assert app.refresh(second.body["refresh_token"]).body["error"] == "invalid_grant"


def test_parallel_refreshes_of_one_token_leave_no_live_token(team: Team, app: App) -> None:
    for _ in range(50):
        answers = do_at_once([partial(app.refresh, app.tokens()["refresh_token"])] * 8)
        assert sorted(answer.status for answer in answers) == [200] + [400] * 7
        assert live(team) == 0


def test_parallel_uses_of_one_code_leave_no_live_token(team: Team, app: App) -> None:
    for _ in range(10):
        answers = do_at_once([partial(app.exchange, app.code())] * 8)
        assert sorted(answer.status for answer in answers) == [200] + [400] * 7
        assert live(team) == 0


def test_another_clients_refresh_token_is_unknown(team: Team, app: App) -> None:
    tokens = app.tokens()
    other = make_app(team)
    assert other.refresh(tokens["refresh_token"]).body["error"] == "invalid_grant"
    assert app.refresh(tokens["refresh_token"]).status == 200


def test_another_teams_tokens_codes_and_clients_are_unknown(team: Team, app: App) -> None:
    elsewhere = make_app(make_team())
    code, tokens = app.code(), None
    elsewhere.verifier = app.verifier
    assert elsewhere.exchange(code).body["error"] == "invalid_grant"
    tokens = app.exchange(code).body
    assert elsewhere.refresh(tokens["refresh_token"]).body["error"] == "invalid_grant"
    with pytest.raises(Unauthenticated, match="not known here"):
        caller_for_token(tokens["access_token"], tenant_slug=elsewhere.team.slug)
    with pytest.raises(Unauthenticated, match="not known here"):
        caller_for_token(tokens["access_token"], tenant_slug="no-such-team")
    foreign = App(elsewhere.team, app.row)
    assert foreign.exchange(code).body["error"] == "invalid_client"


def test_token_does_what_the_members_role_allows_now(team: Team, app: App) -> None:
    editor = team.member(Role.EDITOR)
    token = app.tokens(editor)["access_token"]
    team.give_role(editor, Role.AUDITOR)
    assert caller_for_token(token, tenant_slug=team.slug).scopes == {"server:default"}
    team.part_with(editor)
    with pytest.raises(Unauthenticated, match="not known here"):
        caller_for_token(token, tenant_slug=team.slug)


def test_refresh_of_a_member_who_left_is_refused(team: Team, app: App) -> None:
    editor = team.member(Role.EDITOR)
    token = app.tokens(editor)["refresh_token"]
    team.part_with(editor)
    assert app.refresh(token).body["error"] == "invalid_grant"


@pytest.mark.parametrize("acting", ["member", "service"])
def test_closed_account_takes_its_clients_along(team: Team, app: App, acting: str) -> None:
    service = make_service(team)
    if acting == "service":
        token = service.ask(grant_type="client_credentials").body["access_token"]
    else:
        token = app.tokens()["access_token"]
    User.objects.filter(pk=team.owner.user_id or 0).update(is_active=False)
    with pytest.raises(Unauthenticated, match="not in this team"):
        caller_for_token(token, tenant_slug=team.slug)
    assert service.ask(grant_type="client_credentials").body["error"] == "invalid_grant"


def test_service_gets_tokens_for_itself_and_no_more_than_its_scopes(team: Team) -> None:
    service = make_service(team, "tools:read")
    answer = service.ask(grant_type="client_credentials")
    assert answer.body["scope"] == "tools:read"
    assert "refresh_token" not in answer.body
    caller = caller_for_token(answer.body["access_token"], tenant_slug=team.slug)
    assert (caller.actor, caller.user_id) == ("client:Test app", None)
    wider = service.ask(grant_type="client_credentials", scope="tools:read tools:execute")
    assert wider.body["error"] == "invalid_scope"
    service.secret = "wrong"
    assert service.ask(grant_type="client_credentials").body["error"] == "invalid_client"
    service.secret = ""
    assert service.ask(grant_type="client_credentials").body["error"] == "invalid_client"


def test_public_client_gets_no_tokens_for_itself(app: App) -> None:
    assert app.ask(grant_type="client_credentials").status in {400, 401}
    assert app.ask(grant_type="client_credentials", client_secret="x").status in {400, 401}


def test_revoking_either_token_ends_both(team: Team, app: App) -> None:
    for name in ("access_token", "refresh_token"):
        tokens = app.tokens()
        answer = revoke_token(
            {"token": tokens[name], "client_id": app.row.client_id},
            authorization=None,
            tenant_id=team.tenant_id,
            tenant_slug=team.slug,
        )
        assert answer.status == 200
        assert live(team) == 0
        assert kinds_of(team)[-1] == "oauth.revoked"


def test_another_client_cannot_revoke(team: Team, app: App) -> None:
    tokens = app.tokens()
    answer = revoke_token(
        {"token": tokens["access_token"], "client_id": make_app(team).row.client_id},
        authorization=None,
        tenant_id=team.tenant_id,
        tenant_slug=team.slug,
    )
    assert answer.status == 200
    assert live(team) == 2


def test_introspection_knows_this_teams_live_tokens_alone(team: Team, app: App) -> None:
    tokens = app.tokens()

    def ask(token: str, at: Team = team) -> dict[str, Any]:
        return introspect_token(token, tenant_id=at.tenant_id, tenant_slug=at.slug)

    told = ask(tokens["access_token"])
    assert (told["active"], told["aud"]) == (True, resource(team.slug))
    for token, at in (
        (tokens["refresh_token"], team),
        ("nonsense", team),
        ("\x00", team),
        (tokens["access_token"], make_team()),
    ):
        assert ask(token, at) == {"active": False}


@pytest.mark.parametrize(
    "given",
    [
        [("a", "1"), ("a", "2")],
        [("client_id", "a\x00b")],
        [("state", "x\r\ny")],
        [("scope", "x" * 100_000)],
        [("a", "x" * 20_000)],
        [("a", "\ud800")],
    ],
)
def test_unsound_parameters_are_refused(given: list[tuple[str, str]]) -> None:
    with pytest.raises(OAuthFault):
        read_parameters(given)
