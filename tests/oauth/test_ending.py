"""A member who goes takes along what clients do in their name, and finds none of it on coming back."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from core.errors import NotFound, Unauthenticated
from tenants.access import Caller
from tenants.models import AuditRecord, OAuthAuthorization, User
from tenants.roles import Role
from tenants.scoping import tenant_scope
from tenants.services.members import add_member, leave_tenant
from tenants.services.oauth_apps import list_connections
from tenants.services.oauth_flow import check_authorization, grant
from tenants.tokens import caller_for_token
from tests.factories import Team, email_of
from tests.oauth.flows import App, make_service


def remove(team: Team, member: Caller) -> None:
    team.part_with(member)


def leave(team: Team, member: Caller) -> None:
    leave_tenant(caller=member)


@pytest.mark.parametrize("go", [remove, leave])
def test_member_who_comes_back_finds_no_app_let_in(
    team: Team, app: App, go: Callable[[Team, Caller], None]
) -> None:
    member = team.member(Role.EDITOR)
    email = email_of(member)
    waiting, verifier = app.code(member), app.verifier
    tokens, others = app.tokens(member), app.tokens()
    go(team, member)
    add_member(email, "editor", caller=team.owner)
    with pytest.raises(Unauthenticated, match="not known here"):
        caller_for_token(tokens["access_token"], tenant_slug=team.slug)
    assert app.refresh(tokens["refresh_token"]).body["error"] == "invalid_grant"
    app.verifier = verifier
    assert app.exchange(waiting).body["error"] == "invalid_grant"
    assert list_connections(caller=member) == []
    assert caller_for_token(others["access_token"], tenant_slug=team.slug).scopes
    with tenant_scope(team.tenant_id):
        records = AuditRecord.objects.filter(kind="oauth.revoked")
        assert len(records) == 2
        assert all(email in bytes(row.body).decode() for row in records)
        assert OAuthAuthorization.objects.filter(revoked_for="member_left").count() == 2


def test_service_of_a_member_who_left_asks_anew(team: Team) -> None:
    admin = team.member(Role.ADMIN)
    service = make_service(team)
    service.row.user_id = admin.user_id
    with tenant_scope(team.tenant_id):
        service.row.save(update_fields=["user"])
    token = service.ask(grant_type="client_credentials").body["access_token"]
    team.part_with(admin)
    add_member(email_of(admin), "admin", caller=team.owner)
    with pytest.raises(Unauthenticated, match="not known here"):
        caller_for_token(token, tenant_slug=team.slug)


def test_who_was_removed_while_the_page_stood_open_lets_nobody_in(team: Team, app: App) -> None:
    member = team.member(Role.EDITOR)
    asked = check_authorization(app.request(), caller=member)
    team.part_with(member)
    with pytest.raises(NotFound):
        grant(asked, asked.scopes, caller=member, user=User.objects.get(pk=member.user_id or 0))
    with tenant_scope(team.tenant_id):
        assert not OAuthAuthorization.objects.exists()
