"""Connected apps in the dashboard and in REST: who sees which, who ends which, and what that ends."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from core.errors import Unauthenticated
from tenants.models import AuditRecord, OAuthAuthorization, OAuthClient
from tenants.oauth_addresses import resource
from tenants.roles import Role
from tenants.scoping import tenant_scope
from tenants.tokens import caller_for_token
from tests.factories import Team, email_of
from tests.frontend.visitor import client_of
from tests.oauth.asking import form
from tests.oauth.flows import App, make_app
from tests.rest import Rest


def connections(rest: Rest, team: Team) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = rest.get(f"/tenants/{team.slug}/oauth/connections").body["results"]
    return found


def test_member_sees_and_ends_their_own_alone(team: Team, app: App) -> None:
    viewer = team.member(Role.VIEWER)
    token = app.tokens(viewer)["access_token"]
    theirs = app.tokens()["access_token"]
    rest = Rest(email=email_of(viewer))
    (mine,) = connections(rest, team)
    assert mine["member"] == email_of(viewer)
    with tenant_scope(team.tenant_id):
        other = OAuthAuthorization.objects.exclude(pk=mine["id"]).get()
    assert rest.delete(f"/tenants/{team.slug}/oauth/connections/{other.pk}").status == 404
    assert rest.delete(f"/tenants/{team.slug}/oauth/connections/{mine['id']}").status == 204
    with pytest.raises(Unauthenticated):
        caller_for_token(token, tenant_slug=team.slug)
    assert caller_for_token(theirs, tenant_slug=team.slug).scopes


def test_auditor_sees_all_and_ends_none(team: Team, app: App) -> None:
    app.tokens()
    auditor = Rest(email=email_of(team.member(Role.AUDITOR)))
    (row,) = connections(auditor, team)
    assert row["member"] == team.owner_email
    assert auditor.delete(f"/tenants/{team.slug}/oauth/connections/{row['id']}").status == 404


def test_page_shows_apps_and_disconnects(team: Team, app: App) -> None:
    tokens = app.tokens()
    browser = client_of(team)
    text = browser.get(f"/app/{team.slug}/apps/").content.decode()
    assert "Test app" in text
    assert team.owner_email in text
    (address,) = re.findall(r'action="([^"]+/end)"', text)
    assert browser.post(address, follow=True).status_code == 200
    assert app.refresh(tokens["refresh_token"]).status == 400
    assert "No app is connected" in browser.get(f"/app/{team.slug}/apps/").content.decode()
    with tenant_scope(team.tenant_id):
        record = AuditRecord.objects.get(kind="oauth.revoked")
    assert record.actor == f"user:{team.owner_email}"


def test_client_that_is_shut_out_is_out_for_good(team: Team, app: App) -> None:
    tokens = app.tokens()
    code = app.code()
    browser = client_of(team)
    address = f"/app/{team.slug}/apps/clients/{app.row.pk}/revoke"
    browser.post(address, {"confirm": "wrong"})
    assert caller_for_token(tokens["access_token"], tenant_slug=team.slug).scopes
    browser.post(address, {"confirm": "Test app"})
    with pytest.raises(Unauthenticated):
        caller_for_token(tokens["access_token"], tenant_slug=team.slug)
    assert app.exchange(code).body["error"] == "invalid_client"
    assert app.refresh(tokens["refresh_token"]).body["error"] == "invalid_client"
    assert Rest.admin(team).delete(f"/tenants/{team.slug}/oauth/clients/{app.row.pk}").status == 409


def test_client_that_the_page_does_not_list_is_not_shut_out_unconfirmed(team: Team) -> None:
    awaited = make_app(team, expires_at=timezone.now() + timedelta(hours=1))
    address = f"/app/{team.slug}/apps/clients/{awaited.row.pk}/revoke"
    assert client_of(team).post(address, {"confirm": ""}).status_code == 404
    with tenant_scope(team.tenant_id):
        assert OAuthClient.objects.get(pk=awaited.row.pk).revoked_at is None


def test_service_client_of_the_dashboard_gets_tokens(team: Team) -> None:
    browser = client_of(team)
    page = browser.post(f"/app/{team.slug}/apps/new", {"name": "Report", "scopes": ["tools:read"]})
    text = page.content.decode()
    secret = re.search(r'id="new-secret">([^<]+)<', text)
    client_id = re.search(r"Client id</dt><dd[^>]*>([^<]+)<", text)
    assert secret
    assert client_id
    assert secret[1] not in browser.get(f"/app/{team.slug}/apps/").content.decode()
    answer = form(
        team,
        "token",
        {
            "grant_type": "client_credentials",
            "client_id": client_id[1],
            "client_secret": secret[1],
            "resource": resource(team.slug),
        },
    )
    assert answer.json()["scope"] == "tools:read"


def test_service_client_needs_a_member_and_known_scopes(team: Team) -> None:
    path = f"/tenants/{team.slug}/oauth/clients"
    owner = Rest(email=team.owner_email)
    made = owner.post(path, {"name": "Report", "scopes": ["tools:read"]})
    assert made.status == 201
    assert made.body["client_secret"]
    assert "client_secret" not in owner.get(path).body["results"][0]
    assert owner.post(path, {"name": "Report", "scopes": ["admin"]}).status == 400
    assert owner.post(path, {"name": "Report", "scopes": []}).status == 400
    refused = Rest.admin(team).post(path, {"name": "Report", "scopes": ["tools:read"]})
    assert (refused.status, refused.body["code"]) == (403, "member_needed")
    viewer = Rest(email=email_of(team.member(Role.VIEWER)))
    assert viewer.post(path, {"name": "Report", "scopes": ["tools:read"]}).status == 403
    assert viewer.get(path).status == 403


def test_nothing_on_its_way_keeps_the_answer_with_a_new_secret(team: Team) -> None:
    owner = Rest(email=team.owner_email)
    made = owner.post(f"/tenants/{team.slug}/oauth/clients", {"name": "Report", "scopes": ["tools:read"]})
    assert (made.status, made.headers["Cache-Control"]) == (201, "no-store")
