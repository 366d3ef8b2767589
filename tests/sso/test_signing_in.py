"""Who comes in through a team's provider, and who does not: each refusal with its reason in the team's log."""

from __future__ import annotations

import dataclasses
import hmac
import json
import time
from functools import partial
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from django.conf import settings
from django.test import Client

from core.jwks import issuers
from tenants.models import AuditRecord, Membership, ProviderIdentity, SignIn, User
from tenants.roles import Role
from tenants.scoping import tenant_scope
from tenants.services.members import add_member, change_member, remove_member
from tenants.services.sso_providers import change_provider
from tests.factories import Team, make_team, make_user
from tests.frontend.visitor import by_password
from tests.plugins.issuer import OIDC, Answer, encode_token, make_key
from tests.sso.provider import TOKEN, OpenIdProvider, begin, come_by, fresh, trust


def last_reason(team: Team) -> str:
    """The code of the newest refused sign-in in the team's log."""
    with tenant_scope(team.tenant_id):
        record = AuditRecord.objects.filter(kind="session.refused").first()
    return "" if record is None else str(json.loads(bytes(record.body))["reason"]["code"])


def role_of(team: Team, email: str) -> str:
    with tenant_scope(team.tenant_id):
        found = Membership.objects.filter(user__email=email).values_list("role", flat=True).first()
    return found or ""


def test_new_person_becomes_a_member_and_the_log_says_through_whom(
    team: Team, provider: OpenIdProvider
) -> None:
    row, client, email = trust(team, provider), Client(), fresh()
    answer = come_by(client, team, provider, row, sub="s1", email=email.upper(), name="Ada")
    assert (answer.status_code, answer["Location"]) == (302, f"/app/{team.slug}/")
    page = client.get(f"/app/{team.slug}/")
    assert page.status_code == 200
    assert role_of(team, email) == "viewer"
    user = User.objects.get(email=email)
    assert (user.name, user.has_usable_password(), user.last_login) == ("Ada", False, None)
    with tenant_scope(team.tenant_id):
        kinds = list(AuditRecord.objects.order_by("seq").values_list("kind", flat=True))
        record = AuditRecord.objects.get(kind="session.signed_in", actor=f"user:{email}")
    assert kinds[-3:] == ["member.added", "sso.identity_added", "session.signed_in"]
    assert json.loads(bytes(record.body))["arguments"]["after"] == {"through": "Acme"}


def test_request_has_pkce_state_and_nonce_and_the_secret_stays_between_the_servers(
    team: Team, provider: OpenIdProvider
) -> None:
    row, client = trust(team, provider), Client()
    there = begin(client, team, row)
    assert provider.client_secret not in there["Location"]
    for part in ("code_challenge_method=S256", "nonce=", "state=", "response_type=code"):
        assert part in there["Location"]
    client.get(provider.agree(there["Location"], email=fresh()))
    assert "client_secret" not in provider.token_requests[0].form
    assert provider.token_requests[0].authorization.startswith("Basic ")


def test_known_subject_is_the_same_person_whatever_their_address_becomes(
    team: Team, provider: OpenIdProvider
) -> None:
    row, email = trust(team, provider), fresh()
    come_by(Client(), team, provider, row, sub="s1", email=email)
    client = Client()
    come_by(client, team, provider, row, sub="s1", email=fresh())
    assert email in client.get(f"/app/{team.slug}/").content.decode()
    with tenant_scope(team.tenant_id):
        assert ProviderIdentity.objects.count() == 1


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"nonce": "another"}, "sso_wrong_nonce"),
        ({"nonce": None}, "sso_wrong_nonce"),
        ({"exp": int(time.time()) - 3600}, "sso_token_times"),
        ({"exp": None}, "sso_token_times"),
        ({"iat": int(time.time()) - 3600}, "sso_token_times"),
        ({"iat": None}, "sso_token_times"),
        # Reckoned when tests are collected: far enough ahead for however long they all take.
        ({"iat": int(time.time()) + 86_400}, "sso_token_times"),
        ({"aud": "another-client"}, "sso_token_audience"),
        ({"aud": ["marina", "another-client"]}, "sso_token_audience"),
        ({"azp": "another-client"}, "sso_token_audience"),
        ({"iss": "https://elsewhere.example"}, "sso_token_issuer"),
        ({"sub": None}, "sso_no_subject"),
        ({"sub": 7}, "sso_no_subject"),
        ({"sub": "x" * 256}, "sso_no_subject"),
        ({"email": None}, "sso_no_email"),
        ({"email": " ada@acme.example"}, "sso_no_email"),
        ({"email": "\u212aate@acme.example"}, "sso_no_email"),
        ({"email": "ada\u202e@acme.example"}, "sso_no_email"),
        ({"email_verified": False}, "sso_email_unverified"),
        ({"email_verified": None}, "sso_email_unverified"),
        ({"email_verified": "true"}, "sso_email_unverified"),
        ({"email": "ada@elsewhere.example"}, "sso_domain_not_allowed"),
        ({"email": "ada@sub.acme.example"}, "sso_domain_not_allowed"),
        ({"header": {"typ": "at+jwt"}}, "sso_token_header"),
        ({"header": {"kid": "unknown"}}, "sso_token_key"),
        ({"answer": {"iss": "https://elsewhere.example"}}, "sso_issuer_mixed_up"),
        ({"answer": {"error": "access_denied"}}, "sso_provider_refused"),
        ({"answer": {"code": None}}, "sso_no_code"),
        ({"answer": {"code": "another"}}, "sso_code_refused"),
        ({"answer": {"state": "another"}}, "sso_state_unknown"),
        ({"answer": {"state": None}}, "sso_state_unknown"),
        ({"answer": {"code": "x\x00"}}, "sso_answer_unsound"),
    ],
)
def test_what_is_wrong_with_an_answer_is_told_and_recorded(
    team: Team, provider: OpenIdProvider, changes: dict[str, Any], code: str
) -> None:
    row, client = trust(team, provider), Client()
    answer = come_by(client, team, provider, row, **changes)
    assert answer.status_code == 403
    assert "You were not signed in" in answer.content.decode()
    assert last_reason(team) == code
    assert client.get(f"/app/{team.slug}/").status_code == 302
    with tenant_scope(team.tenant_id):
        assert not ProviderIdentity.objects.exists()


def test_token_that_nobody_signed_opens_nothing(team: Team, provider: OpenIdProvider) -> None:
    row, client = trust(team, provider), Client()
    bare = partial(encode_token, {"alg": "none", "typ": "JWT"}, sign=lambda signed: b"")
    come_by(client, team, provider, row, token=bare)
    assert last_reason(team) in {"sso_token_header", "sso_token_form"}
    assert client.get(f"/app/{team.slug}/").status_code == 302


def test_public_key_is_not_taken_for_a_shared_secret(team: Team, provider: OpenIdProvider) -> None:
    row = trust(team, provider)
    header = {"alg": "HS256", "typ": "JWT", "kid": provider.keys[0].key_id}
    public = provider.keys[0].private.public_key()
    pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    shared = partial(encode_token, header, sign=lambda signed: hmac.digest(pem, signed, "sha256"))
    come_by(Client(), team, provider, row, token=shared)
    assert last_reason(team) == "sso_token_header"


def test_signature_of_another_key_opens_nothing(team: Team, provider: OpenIdProvider) -> None:
    row, other = trust(team, provider), make_key()
    header = {"kid": provider.keys[0].key_id}
    come_by(Client(), team, provider, row, key=other, header=header)
    assert last_reason(team) == "sso_token_signature"


def test_new_key_of_the_provider_works_at_once(team: Team, provider: OpenIdProvider) -> None:
    row = trust(team, provider)
    assert come_by(Client(), team, provider, row, sub="s1", email=fresh()).status_code == 302
    provider.rotate()
    assert come_by(Client(), team, provider, row, sub="s2", email=fresh()).status_code == 302


def test_answer_is_taken_once_and_in_the_browser_that_began(team: Team, provider: OpenIdProvider) -> None:
    row, client, stranger = trust(team, provider), Client(), Client()
    there = begin(client, team, row)
    back = provider.agree(there["Location"], email=fresh())
    assert stranger.get(back).status_code == 403
    assert last_reason(team) == "sso_state_unknown"
    assert client.get(back).status_code == 302
    client.get(f"/app/{team.slug}/")
    assert client.get(back).status_code == 403


def test_answer_is_not_taken_at_another_teams_address(team: Team, provider: OpenIdProvider) -> None:
    row, other, client = trust(team, provider), make_team(), Client()
    trust(other, provider)
    back = provider.agree(begin(client, team, row)["Location"], email=fresh())
    assert client.get(back.replace(team.slug, other.slug)).status_code == 403
    assert last_reason(other) == "sso_state_unknown"


def test_provider_that_promises_its_name_must_give_it(team: Team, provider: OpenIdProvider) -> None:
    provider.metadata_changes["authorization_response_iss_parameter_supported"] = True
    row = trust(team, provider)
    come_by(Client(), team, provider, row, email=fresh())
    assert last_reason(team) == "sso_issuer_mixed_up"
    named = {"iss": provider.identifier}
    assert come_by(Client(), team, provider, row, email=fresh(), answer=named).status_code == 302


@pytest.mark.parametrize(
    "changes",
    [
        {"issuer": "https://localhost/other"},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"authorization_endpoint": "http://localhost/authorize"},
        {"token_endpoint": None},
        {"code_challenge_methods_supported": ["plain"]},
    ],
)
def test_provider_whose_metadata_is_unsound_is_not_gone_to(
    team: Team, provider: OpenIdProvider, changes: dict[str, Any]
) -> None:
    provider.metadata_changes.update(changes)
    answer = begin(Client(), team, trust(team, provider))
    assert answer.status_code == 403
    assert "Location" not in answer
    assert last_reason(team) in {"sso_provider_unavailable", "sso_provider_unsound"}


def test_redirects_and_private_addresses_are_not_followed(
    team: Team, provider: OpenIdProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    row, secret = trust(team, provider), "/secret-of-the-cloud"
    provider.routes["GET", secret] = provider.routes["POST", secret] = lambda asked: Answer({"id_token": "x"})
    provider.redirect(TOKEN, f"{provider.origin}{secret}")
    come_by(Client(), team, provider, row, email=fresh())
    assert last_reason(team) == "sso_code_refused"
    provider.recover()
    issuers.cache_clear()
    provider.redirect(OIDC, f"{provider.origin}{secret}")
    assert begin(Client(), team, row).status_code == 403
    provider.recover()
    issuers.cache_clear()
    asked = len(provider.asked)
    monkeypatch.setattr(settings, "ENV", dataclasses.replace(settings.ENV, outbound_allow=()))
    assert begin(Client(), team, row).status_code == 403
    assert last_reason(team) == "sso_provider_unavailable"
    assert len(provider.asked) == asked
    assert secret not in provider.asked


def test_address_alone_opens_nobodys_account_and_a_password_connects_it(
    team: Team, provider: OpenIdProvider
) -> None:
    row = trust(team, provider)
    user = make_user()
    add_member(user.email, "editor", caller=team.owner)
    change_provider(row.pk, {"domains": ("example.com",)}, caller=team.owner)
    client = Client()
    answer = come_by(client, team, provider, row, sub="s1", email=user.email)
    assert last_reason(team) == "sso_link_needed"
    assert "Sign in with your password" in answer.content.decode()
    assert client.get(f"/app/{team.slug}/").status_code == 302
    by_password(user.email, client)
    assert come_by(client, team, provider, row, sub="s1", email=user.email).status_code == 302
    # From then on without the password, and then in this team alone.
    again = Client()
    assert come_by(again, team, provider, row, sub="s1", email=user.email).status_code == 302
    assert again.get(f"/app/{team.slug}/").status_code == 200


def test_somebody_elses_password_connects_nothing(team: Team, provider: OpenIdProvider) -> None:
    row, victim, other = trust(team, provider, domains=("example.com",)), make_user(), make_user()
    client = by_password(other.email)
    come_by(client, team, provider, row, sub="s1", email=victim.email)
    assert last_reason(team) == "sso_link_needed"


def test_member_without_an_account_of_their_own_comes_in_at_once(
    team: Team, provider: OpenIdProvider
) -> None:
    row, email = trust(team, provider, makes_members=False), fresh()
    add_member(email, "editor", caller=team.owner)
    assert come_by(Client(), team, provider, row, email=email).status_code == 302
    assert role_of(team, email) == "editor"


def test_where_signing_in_makes_nobody_a_member_strangers_stay_out(
    team: Team, provider: OpenIdProvider
) -> None:
    row, email = trust(team, provider, makes_members=False), fresh()
    come_by(Client(), team, provider, row, email=email)
    assert last_reason(team) == "sso_not_a_member"
    assert not User.objects.filter(email=email).exists()


def test_second_subject_for_one_person_is_refused(team: Team, provider: OpenIdProvider) -> None:
    row, email = trust(team, provider), fresh()
    come_by(Client(), team, provider, row, sub="s1", email=email)
    come_by(Client(), team, provider, row, sub="s2", email=email)
    assert last_reason(team) == "sso_another_subject"


def test_removed_member_does_not_come_back_by_signing_in(team: Team, provider: OpenIdProvider) -> None:
    row, email, client = trust(team, provider), fresh(), Client()
    come_by(client, team, provider, row, sub="s1", email=email)
    with tenant_scope(team.tenant_id):
        membership = Membership.objects.get(user__email=email)
    remove_member(membership.pk, caller=team.owner)
    assert client.get(f"/app/{team.slug}/").status_code == 404
    come_by(Client(), team, provider, row, sub="s1", email=email)
    assert last_reason(team) == "sso_not_a_member"
    add_member(email, "viewer", caller=team.owner)
    assert come_by(Client(), team, provider, row, sub="s1", email=email).status_code == 302


def test_groups_give_the_role_anew_at_each_sign_in(team: Team, provider: OpenIdProvider) -> None:
    pairs = (("chiefs", "admin"), ("makers", "editor"))
    row, email = trust(team, provider, groups_claim="groups", group_roles=pairs), fresh()
    come_by(Client(), team, provider, row, sub="s1", email=email, groups=["makers", "chiefs"])
    assert role_of(team, email) == "admin"
    come_by(Client(), team, provider, row, sub="s1", email=email, groups="makers")
    assert role_of(team, email) == "editor"
    come_by(Client(), team, provider, row, sub="s1", email=email)
    assert role_of(team, email) == "viewer"
    with tenant_scope(team.tenant_id):
        assert AuditRecord.objects.filter(kind="member.changed").count() == 2


def test_sight_of_data_goes_with_the_role_that_groups_take(team: Team, provider: OpenIdProvider) -> None:
    pairs = (("chiefs", "auditor"),)
    row, email = trust(team, provider, groups_claim="groups", group_roles=pairs), fresh()
    sights = []
    for groups in (["chiefs"], ["chiefs"], [], ["chiefs"]):
        come_by(Client(), team, provider, row, sub="s1", email=email, groups=groups)
        with tenant_scope(team.tenant_id):
            own = Membership.objects.get(user__email=email)
        sights.append((own.role, own.payloads))
        if len(sights) == 1:
            change_member(own.pk, payloads=True, caller=team.owner)
    assert sights == [("auditor", False), ("auditor", True), ("viewer", False), ("auditor", False)]


def test_owners_are_not_signed_in_and_not_changed(team: Team, provider: OpenIdProvider) -> None:
    pairs = (("chiefs", "admin"),)
    row = trust(team, provider, domains=("example.com",), groups_claim="groups", group_roles=pairs)
    client = by_password(team.owner_email)
    assert come_by(client, team, provider, row, sub="o", email=team.owner_email).status_code == 302
    assert role_of(team, team.owner_email) == "owner"
    come_by(Client(), team, provider, row, sub="o", email=team.owner_email)
    assert last_reason(team) == "sso_owner"
    # Nor is an owner whose account nobody has taken yet.
    email = fresh("example.com")
    add_member(email, Role.OWNER.value, caller=team.owner)
    come_by(Client(), team, provider, row, sub="o2", email=email)
    assert last_reason(team) == "sso_owner"


def test_session_gets_another_key_and_names_its_provider(team: Team, provider: OpenIdProvider) -> None:
    row, client, email = trust(team, provider), Client(), fresh()
    client.get(f"/app/sign-in/{team.slug}/")
    begin(client, team, row)
    before = client.cookies["marina_session"].value
    come_by(client, team, provider, row, sub="s1", email=email)
    assert client.cookies["marina_session"].value != before
    found = SignIn.objects.get(user__email=email)
    assert (found.by_password, (found.proofs or [{}])[0]["provider"]) == (False, "Acme")
    assert f"Acme ({team.slug})" in client.get("/app/account/").content.decode()


@pytest.mark.parametrize(
    "elsewhere", ["https://evil.example/", "//evil.example", "/app/other/", "/operator/", ""]
)
def test_afterwards_the_browser_goes_to_a_page_of_the_team(
    team: Team, provider: OpenIdProvider, elsewhere: str
) -> None:
    row, client = trust(team, provider), Client()
    there = begin(client, team, row, next=elsewhere)
    assert client.get(provider.agree(there["Location"], email=fresh()))["Location"] == f"/app/{team.slug}/"
    there = begin(client, team, row, next=f"/app/{team.slug}/tools/")
    back = client.get(provider.agree(there["Location"], sub="s9", email=fresh()))
    assert back["Location"] == f"/app/{team.slug}/tools/"


def test_door_of_a_team_without_providers_is_that_of_no_team(team: Team, provider: OpenIdProvider) -> None:
    client = Client()
    without = client.get(f"/app/sign-in/{team.slug}/")
    nobody = client.get("/app/sign-in/nobody-at-all/")
    assert (without.status_code, without.content) == (404, nobody.content)
    row = trust(team, provider)
    page = client.get(f"/app/sign-in/{team.slug}/")
    assert "Continue with Acme" in page.content.decode()
    assert "form-action 'self' https:" in page["Content-Security-Policy"]
    change_provider(row.pk, {"enabled": False}, caller=team.owner)
    assert client.get(f"/app/sign-in/{team.slug}/").status_code == 404


def test_team_is_found_by_its_name_and_not_by_an_address() -> None:
    client = Client()
    assert client.get("/app/sign-in/team?team=Harbour-Office")["Location"] == "/app/sign-in/harbour-office/"
    answer = client.get("/app/sign-in/team?team=ada@acme.example")
    assert answer.status_code == 400
    assert "Sign in with your team" in client.get("/app/sign-in").content.decode()


def test_log_takes_sixty_refusals_a_minute(team: Team, provider: OpenIdProvider) -> None:
    trust(team, provider)
    client = Client()
    for _ in range(63):
        assert client.get(f"/app/sign-in/{team.slug}/back?state=x").status_code == 403
    with tenant_scope(team.tenant_id):
        assert AuditRecord.objects.filter(kind="session.refused").count() == 60


def test_a_team_may_believe_a_provider_that_calls_no_address_verified(
    team: Team, provider: OpenIdProvider
) -> None:
    row = trust(team, provider, believes_addresses=True)
    assert come_by(Client(), team, provider, row, email=fresh(), email_verified=None).status_code == 302
    answer = come_by(Client(), team, provider, row, email=fresh(), email_verified=False)
    assert (answer.status_code, last_reason(team)) == (403, "sso_email_unverified")
