"""A session that came by a team's provider is somebody in that team and nobody elsewhere; what a team may require."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from django.test import Client
from django.utils import timezone

from servers.consumers import _caller
from tenants.arrivals import NOWHERE, SignInNeeded
from tenants.models import AuditRecord, SignIn, User
from tenants.roles import Role
from tenants.scoping import tenant_scope
from tenants.services.invitations import invite
from tenants.services.members import add_member, change_member, list_members
from tenants.services.signins import SESSION_KEY
from tenants.services.sso_providers import (
    change_provider,
    forget_identity,
    list_identities,
    require_single_sign_on,
)
from tests.factories import Team, make_team, make_user
from tests.frontend.visitor import by_password
from tests.oauth.asking import begin as begin_oauth
from tests.oauth.flows import make_app
from tests.sso.provider import OpenIdProvider, come_by, fresh, trust


@pytest.fixture
def linked(team: Team, provider: OpenIdProvider) -> tuple[User, Client]:
    """A member with a password of two teams, who came by the first one's provider in a browser of its own."""
    row = trust(team, provider, domains=("example.com",))
    user = make_user()
    add_member(user.email, "editor", caller=team.owner)
    come_by(by_password(user.email), team, provider, row, sub="s1", email=user.email)
    browser = Client()
    assert come_by(browser, team, provider, row, sub="s1", email=user.email).status_code == 302
    return user, browser


def test_it_opens_that_team_alone(team: Team, linked: tuple[User, Client]) -> None:
    user, browser = linked
    other = make_team()
    add_member(user.email, "admin", caller=other.owner)
    assert browser.get(f"/app/{team.slug}/").status_code == 200
    refused = browser.get(f"/app/{other.slug}/")
    assert (refused.status_code, refused["Location"].partition("?")[0]) == (302, "/app/sign-in")
    # Nobody learns whether the person belongs there, nor whether there is such a team.
    nobody = browser.get("/app/no-such-team-here/")
    assert nobody["Location"].partition("?")[0] == "/app/sign-in"
    rest = browser.get(f"/api/v1/tenants/{other.slug}/members")
    assert (rest.status_code, rest.json()["code"]) == (403, "sso_confined")
    assert browser.get("/api/v1/tenants/no-such-team-here/members").json()["code"] == "sso_confined"
    listed = browser.get("/api/v1/tenants").json()["results"]
    assert [each["slug"] for each in listed] == [team.slug]
    page = browser.get(f"/app/{team.slug}/").content.decode()
    assert other.slug not in page
    assert browser.get("/app/")["Location"] == f"/app/{team.slug}/"


def test_it_opens_nothing_of_the_persons_own(team: Team, linked: tuple[User, Client]) -> None:
    user, browser = linked
    User.objects.filter(pk=user.pk).update(is_staff=True, is_superuser=True)
    for path in ("/app/account/password", "/app/new-team", "/operator/", "/operator/tenants/user/"):
        answer = browser.get(path, follow=True)
        assert answer.redirect_chain[-1][0].startswith("/app/sign-in"), path
    page = browser.get("/app/account/").content.decode()
    assert "opens that team alone" in page
    assert "Change password" not in page
    # Their other browser shows nowhere, and cannot be signed out from here.
    own = SignIn.objects.get(user=user, by_password=True)
    assert str(own.pk) not in page
    browser.post(f"/app/account/sign-ins/{own.pk}/end")
    browser.post("/app/account/sign-ins/end")
    own.refresh_from_db()
    assert own.ended_at is None


def test_it_accepts_no_invitation_to_another_team(team: Team, linked: tuple[User, Client]) -> None:
    user, browser = linked
    other = make_team()
    invitation = invite(user.email, "viewer", caller=other.owner)
    assert other.slug not in browser.get("/app/account/").content.decode()
    answer = browser.post("/app/invitation", {"invitation": str(invitation.pk)})
    assert answer.status_code != 302
    with tenant_scope(other.tenant_id):
        invitation.refresh_from_db()
    assert invitation.accepted_at is None


def test_password_adds_the_rest_and_begins_a_new_session(team: Team, linked: tuple[User, Client]) -> None:
    user, browser = linked
    other = make_team()
    add_member(user.email, "admin", caller=other.owner)
    before = browser.cookies["marina_session"].value
    by_password(user.email, browser)
    assert browser.cookies["marina_session"].value != before
    assert browser.get(f"/app/{other.slug}/").status_code == 200
    assert browser.get("/app/account/password").status_code == 200


def test_signing_out_ends_it(linked: tuple[User, Client]) -> None:
    user, browser = linked
    browser.post("/app/sign-out")
    assert not SignIn.objects.filter(user=user, by_password=False, ended_at=None).exists()
    assert browser.get("/app/")["Location"].startswith("/app/sign-in")


def test_open_pages_are_told_of_that_team_alone(team: Team, linked: tuple[User, Client]) -> None:
    user, browser = linked
    other = make_team()
    add_member(user.email, "admin", caller=other.owner)
    session = browser.session
    found = _caller(session, user, team.slug)
    assert found is not None
    with pytest.raises(SignInNeeded):
        _caller(session, user, other.slug)
    assert session[SESSION_KEY]


def test_what_was_not_looked_at_opens_nothing() -> None:
    assert not NOWHERE.reaches("anywhere")


def test_provider_switched_off_or_forgetting_somebody_ends_their_session(
    team: Team, provider: OpenIdProvider
) -> None:
    row, client = trust(team, provider), Client()
    come_by(client, team, provider, row, sub="s1", email=fresh())
    change_provider(row.pk, {"enabled": False}, caller=team.owner)
    gone = client.get(f"/app/{team.slug}/")
    assert gone["Location"].partition("?")[0] == f"/app/sign-in/{team.slug}/"
    change_provider(row.pk, {"enabled": True}, caller=team.owner)
    assert client.get(f"/app/{team.slug}/").status_code == 200
    (identity,) = list_identities(row.pk, caller=team.owner)
    forget_identity(row.pk, identity.pk, caller=team.owner)
    assert client.get(f"/app/{team.slug}/").status_code == 302


def test_providers_word_holds_for_half_a_day(team: Team, provider: OpenIdProvider) -> None:
    row, client, email = trust(team, provider), Client(), fresh()
    come_by(client, team, provider, row, sub="s1", email=email)
    found = SignIn.objects.get(user__email=email)
    (proof,) = found.proofs or []
    ends = timezone.now() + timedelta(hours=12)
    assert abs((datetime.fromisoformat(proof["until"]) - ends).total_seconds()) < 60
    found.proofs = [{**proof, "until": timezone.now().isoformat()}]
    found.save()
    assert client.get(f"/app/{team.slug}/").status_code == 302
    rest = client.get(f"/api/v1/tenants/{team.slug}")
    assert (rest.status_code, rest.json()["code"]) == (403, "sso_required")


def test_member_made_an_owner_signs_in_with_a_password_from_then_on(
    team: Team, provider: OpenIdProvider
) -> None:
    row, client, email = trust(team, provider), Client(), fresh()
    come_by(client, team, provider, row, sub="s1", email=email)
    (member,) = (each for each in list_members(caller=team.owner) if each.user.email == email)
    change_member(member.pk, role="owner", caller=team.owner)
    assert client.get(f"/api/v1/tenants/{team.slug}").json()["code"] == "sso_owner"


def test_required_single_sign_on_shuts_passwords_out_of_pages_rest_and_consent(
    team: Team, provider: OpenIdProvider
) -> None:
    row = trust(team, provider, domains=("example.com",))
    user = make_user()
    add_member(user.email, "admin", caller=team.owner)
    client = by_password(user.email)
    assert client.get(f"/app/{team.slug}/").status_code == 200
    require_single_sign_on(True, caller=team.owner)

    page = client.get(f"/app/{team.slug}/tools/")
    assert page["Location"] == f"/app/sign-in/{team.slug}/?next=%2Fapp%2F{team.slug}%2Ftools%2F"
    part = client.get(f"/app/{team.slug}/overview/stats", headers={"HX-Request": "true"})
    assert part["HX-Redirect"].startswith(f"/app/sign-in/{team.slug}/")
    assert (
        client.post(f"/app/{team.slug}/keys/new", {"name": "x"})["Location"] == f"/app/sign-in/{team.slug}/"
    )
    rest = client.get(f"/api/v1/tenants/{team.slug}/members")
    assert (rest.status_code, rest.json()["code"]) == (403, "sso_required")
    consent = begin_oauth(client, make_app(team))
    assert consent["Location"].startswith(
        f"/app/sign-in/{team.slug}/?next=%2Foauth%2F{team.slug}%2Fauthorize"
    )
    with pytest.raises(SignInNeeded):
        _caller(client.session, user, team.slug)
    with tenant_scope(team.tenant_id):
        found = AuditRecord.objects.filter(outcome="refused", actor=f"user:{user.email}")
        rules = {json.loads(bytes(each.body))["reason"]["rule"] for each in found}
    assert rules == {"sso:required"}

    assert come_by(client, team, provider, row, sub="s1", email=user.email).status_code == 302
    assert client.get(f"/app/{team.slug}/tools/").status_code == 200
    assert client.get(f"/api/v1/tenants/{team.slug}/members").status_code == 200
    assert begin_oauth(client, make_app(team)).status_code == 200
    # The password was shown in this session too: it still opens other teams.
    assert client.get("/app/account/password").status_code == 200


def test_owners_and_keys_go_on_where_single_sign_on_is_required(team: Team, provider: OpenIdProvider) -> None:
    trust(team, provider)
    key = team.key("admin")
    require_single_sign_on(True, caller=team.owner)
    owner = by_password(team.owner_email)
    assert owner.get(f"/app/{team.slug}/").status_code == 200
    answer = Client().get(f"/api/v1/tenants/{team.slug}/members", headers={"Authorization": f"Bearer {key}"})
    assert answer.status_code == 200


def test_every_way_from_a_session_to_a_team_says_how_it_was_signed_in() -> None:
    """Whoever finds a caller for a session and leaves that out would open a hole."""
    root = Path(__file__).resolve().parents[2]
    without = [
        f"{path.relative_to(root)}: {line.strip()}"
        for folder in ("frontend", "servers", "tenants")
        for path in (root / folder).rglob("*.py")
        if "node_modules" not in path.parts
        for line in path.read_text().splitlines()
        if "caller_for_user(" in line and "arrival" not in line and not line.startswith("def ")
    ]
    assert without == []


def test_role_of_a_confined_session_is_the_members(team: Team, linked: tuple[User, Client]) -> None:
    _, browser = linked
    assert browser.get(f"/app/{team.slug}/keys/").status_code == 403
    assert Role.EDITOR.value in browser.get(f"/app/{team.slug}/").content.decode().lower()
