"""Who sets up single sign-on, in the dashboard and in REST, and what is refused with its reason."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from core.errors import Conflict, Forbidden, InvalidInput, NotFound
from core.sealing import sealer
from tenants.access import caller_for_user
from tenants.models import AuditRecord, IdentityProvider, ProviderIdentity, Tenant, User
from tenants.roles import Role
from tenants.scoping import tenant_scope
from tenants.services.members import add_member
from tenants.services.sso_diagnosis import diagnose_provider
from tenants.services.sso_providers import (
    MAX_PROVIDERS,
    ProviderSettings,
    change_provider,
    create_provider,
    delete_provider,
    get_provider,
    list_providers,
    require_single_sign_on,
)
from tests.factories import Team, make_team, make_user
from tests.frontend.visitor import client_of
from tests.plugins.issuer import JWKS, Answer
from tests.rest import Rest
from tests.sso.provider import OpenIdProvider, come_by, settings_for, trust

SOUND: dict[str, Any] = {
    "name": "Acme",
    "issuer": "https://id.acme.example/realms/x",
    "client_id": "marina",
    "client_secret": "s3cret-of-acme",
    "domains": ["acme.example"],
}
FORM = {**SOUND, "domains": "acme.example\n@Sub.Acme.example", "default_role": "viewer", "enabled": "on"}


def sound(**changes: Any) -> ProviderSettings:
    return ProviderSettings(**{**SOUND, "domains": ("acme.example",), **changes})


def bodies(team: Team) -> str:
    with tenant_scope(team.tenant_id):
        return " ".join(bytes(each.body).decode() for each in AuditRecord.objects.all())


def test_secret_is_sealed_to_its_row_and_shown_nowhere(team: Team) -> None:
    rest = Rest.admin(team)
    made = rest.post(f"/tenants/{team.slug}/single-sign-on/providers", SOUND)
    assert made.status == 201
    assert made.body["redirect_uri"].endswith(f"/app/sign-in/{team.slug}/back")
    path = f"/tenants/{team.slug}/single-sign-on/providers/{made.body['id']}"
    listed = rest.get(f"/tenants/{team.slug}/single-sign-on/providers").body["results"]
    page = client_of(team).get(f"/app/{team.slug}/single-sign-on/{made.body['id']}/").content.decode()
    for text in (
        json.dumps(made.body),
        json.dumps(listed),
        json.dumps(rest.get(path).body),
        page,
        bodies(team),
    ):
        assert "s3cret-of-acme" not in text
    assert made.body["has_secret"] is True
    with tenant_scope(team.tenant_id):
        row = IdentityProvider.objects.get()
    assert b"s3cret" not in bytes(row.sealed or b"")
    assert sealer().open(bytes(row.sealed or b""), context=row.seal_context) == b"s3cret-of-acme"


def test_rest_reads_changes_and_deletes(team: Team) -> None:
    rest = Rest.admin(team)
    base = f"/tenants/{team.slug}/single-sign-on"
    made = rest.post(f"{base}/providers", SOUND).body
    path = f"{base}/providers/{made['id']}"
    groups = [{"group": "chiefs", "role": "admin"}]
    changed = rest.patch(path, {"groups_claim": "groups", "group_roles": groups, "default_role": "editor"})
    assert (changed.status, changed.body["group_roles"], changed.body["default_role"]) == (
        200,
        groups,
        "editor",
    )
    assert (changed.body["has_secret"], changed.body["name"]) == (True, "Acme")
    assert rest.patch(path, {"client_secret": ""}).body["has_secret"] is False
    assert rest.post(f"{base}/providers", SOUND).status == 409
    assert rest.patch(base, {"required": True}).body == {"required": True}
    assert rest.delete(path).body["code"] == "last_provider"
    assert rest.patch(path, {"enabled": False}).body["code"] == "last_provider"
    assert rest.patch(base, {"required": False}).status == 200
    assert rest.get(base).body == {"required": False}
    assert rest.delete(path).status == 204
    assert rest.get(path).status == 404
    assert rest.patch(base, {"required": True}).body["code"] == "no_provider"


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"issuer": "http://id.acme.example"}, "issuer"),
        ({"issuer": "https://id.acme.example/?x=1"}, "issuer"),
        ({"issuer": "https://user@id.acme.example"}, "issuer"),
        ({"issuer": "https://id.acme.example/../x"}, "issuer"),
        ({"issuer": "javascript:alert(1)"}, "issuer"),
        ({"client_id": "a b"}, "client_id"),
        ({"client_id": ""}, "client_id"),
        ({"client_secret": "a\nb"}, "client_secret"),
        ({"client_secret": "x" * 1001}, "client_secret"),
        ({"domains": ()}, "domains"),
        ({"domains": ("acme",)}, "domains.0"),
        ({"domains": ("acme.example", "*.acme.example")}, "domains.1"),
        ({"domains": ("127.0.0.1",)}, "domains.0"),
        ({"default_role": "owner"}, "default_role"),
        ({"groups_claim": "groups", "group_roles": (("chiefs", "owner"),)}, "group_roles.0.role"),
        ({"group_roles": (("chiefs", "admin"),)}, "groups_claim"),
        ({"name": "x\u202ey"}, "name"),
        ({"name": " "}, "name"),
    ],
)
def test_settings_that_are_wrong_are_named(team: Team, changes: dict[str, Any], path: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        create_provider(sound(**changes), caller=team.owner)
    assert refused.value.errors[0]["path"] == path
    assert list_providers(caller=team.owner) == []


@pytest.mark.parametrize("role", [Role.EDITOR, Role.VIEWER, Role.AUDITOR])
def test_only_owners_and_admins_set_it_up(team: Team, role: Role) -> None:
    row = create_provider(sound(), caller=team.member(Role.ADMIN))
    member = team.member(role)
    for attempt in (
        lambda: create_provider(sound(name="Other"), caller=member),
        lambda: change_provider(row.pk, {"enabled": False}, caller=member),
        lambda: delete_provider(row.pk, caller=member),
        lambda: require_single_sign_on(True, caller=member),
        lambda: diagnose_provider(row.pk, caller=member),
    ):
        with pytest.raises(Forbidden):
            attempt()
    assert client_of(team, role).post(f"/app/{team.slug}/single-sign-on/new", FORM).status_code == 403


def test_who_is_here_for_a_time_lets_nobody_in_for_good(team: Team) -> None:
    user = make_user()
    add_member(user.email, "admin", access_ends_at=timezone.now() + timedelta(days=1), caller=team.owner)
    with pytest.raises(Forbidden, match="has an end"):
        create_provider(sound(), caller=caller_for_user(user.pk, user.email, team.slug))


def test_providers_of_another_team_do_not_exist(team: Team) -> None:
    row, other = create_provider(sound(), caller=team.owner), make_team()
    for attempt in (
        lambda: get_provider(row.pk, caller=other.owner),
        lambda: change_provider(row.pk, {"name": "Mine"}, caller=other.owner),
        lambda: delete_provider(row.pk, caller=other.owner),
    ):
        with pytest.raises(NotFound):
            attempt()


def test_team_has_ten_providers_at_most(team: Team) -> None:
    for number in range(MAX_PROVIDERS):
        create_provider(sound(name=f"Acme {number}"), caller=team.owner)
    with pytest.raises(Conflict, match="at most 10"):
        create_provider(sound(name="One more"), caller=team.owner)


def test_another_issuer_knows_nobody_and_gets_no_secret_of_the_old_one(
    team: Team, provider: OpenIdProvider
) -> None:
    row, client = trust(team, provider), Client()
    come_by(client, team, provider, row, sub="s1", email=f"ada-{team.slug}@acme.example")
    with pytest.raises(InvalidInput, match="client_secret"):
        change_provider(row.pk, {"issuer": "https://evil.example"}, caller=team.owner)
    changes = {"issuer": "https://new.example", "client_secret": "another"}
    change_provider(row.pk, changes, caller=team.owner)
    with tenant_scope(team.tenant_id):
        assert not ProviderIdentity.objects.exists()
    assert client.get(f"/app/{team.slug}/").status_code == 302


def test_connection_is_tested_and_what_is_wrong_is_said(team: Team, provider: OpenIdProvider) -> None:
    row = trust(team, provider)

    def found() -> dict[str, tuple[bool | None, str]]:
        return {
            each.question: (each.good, each.words) for each in diagnose_provider(row.pk, caller=team.owner)
        }

    provider.metadata_changes["claims_supported"] = ["sub", "email"]
    first = found()
    assert first["Discovery document"][0] is True
    assert first["Keys"] == (True, "It publishes 1 that signatures can be checked with.")
    assert first["PKCE with S256"][0] is None
    assert "email_verified" in first["Claims"][1]
    provider.metadata_changes.update(
        code_challenge_methods_supported=["plain"],
        token_endpoint_auth_methods_supported=["private_key_jwt"],
        id_token_signing_alg_values_supported=["HS256"],
    )
    provider.faults[JWKS] = lambda: Answer({"keys": []})
    second = found()
    wrong = {question for question, (good, _) in second.items() if good is False}
    assert wrong == {"Endpoints", "PKCE with S256", "How the client shows who it is", "Signatures", "Keys"}
    provider.metadata_changes["issuer"] = f"{provider.identifier}/"
    third = found()
    assert list(third) == ["Discovery document"]
    assert "another issuer" in third["Discovery document"][1]


def test_dashboard_adds_tests_changes_requires_and_deletes(team: Team, provider: OpenIdProvider) -> None:
    client, base = client_of(team, Role.ADMIN), f"/app/{team.slug}/single-sign-on/"
    assert "No identity provider yet" in client.get(base).content.decode()
    assert f"/app/sign-in/{team.slug}/back" in client.get(f"{base}new").content.decode()
    given = {**FORM, "issuer": provider.identifier, "group_roles": "chiefs = admin", "groups_claim": "groups"}
    wrong = client.post(f"{base}new", {**given, "group_roles": "chiefs"})
    assert wrong.status_code == 400
    assert "group = role" in wrong.content.decode()
    made = client.post(f"{base}new", given)
    (row,) = list_providers(caller=team.owner)
    assert made["Location"] == f"{base}{row.pk}/"
    assert (row.domains, row.group_roles) == (["acme.example", "sub.acme.example"], [["chiefs", "admin"]])
    tested = client.post(f"{base}{row.pk}/test").content.decode()
    assert "It publishes 1 that signatures can be checked with." in tested
    sealed = bytes(row.sealed or b"")
    client.post(f"{base}{row.pk}/", {**given, "client_secret": "", "name": "Acme two"})
    row = get_provider(row.pk, caller=team.owner)
    assert (row.name, bytes(row.sealed or b"")) == ("Acme two", sealed)
    client.post(f"{base}require", {"required": "yes", "confirm": "wrong"})
    assert not Tenant.objects.get(pk=team.tenant_id).sso_required
    client.post(f"{base}require", {"required": "yes", "confirm": team.slug})
    assert Tenant.objects.get(pk=team.tenant_id).sso_required
    owner = client_of(team)
    assert "is required" in owner.get(base).content.decode()
    owner.post(f"{base}{row.pk}/delete", {"confirm": "Acme two"})
    assert len(list_providers(caller=team.owner)) == 1
    owner.post(f"{base}require", {"required": "no"})
    owner.post(f"{base}{row.pk}/delete", {"confirm": "Acme two"})
    assert list_providers(caller=team.owner) == []
    assert {
        "sso.provider_added",
        "sso.provider_changed",
        "sso.requirement_changed",
        "sso.provider_removed",
    } <= set(_kinds(team))


def test_editors_see_what_is_set_up_and_no_buttons(team: Team) -> None:
    row = create_provider(sound(), caller=team.owner)
    client = client_of(team, Role.EDITOR)
    page = client.get(f"/app/{team.slug}/single-sign-on/{row.pk}/").content.decode()
    assert "https://id.acme.example/realms/x" in page
    assert "Delete this provider" not in page
    assert "Test the connection" not in page


def test_forgotten_person_is_somebody_new(team: Team, provider: OpenIdProvider) -> None:
    row, email = trust(team, provider), f"ada-{team.slug}@acme.example"
    come_by(Client(), team, provider, row, sub="s1", email=email)
    rest = Rest.admin(team)
    path = f"/tenants/{team.slug}/single-sign-on/providers/{row.pk}/identities"
    (known,) = rest.get(path).body["results"]
    assert (known["email"], known["subject"]) == (email, "s1")
    assert rest.delete(f"{path}/{known['id']}").status == 204
    assert rest.delete(f"{path}/{known['id']}").status == 404
    assert come_by(Client(), team, provider, row, sub="s2", email=email).status_code == 302
    assert User.objects.filter(email=email).count() == 1


def test_rest_tests_a_provider(team: Team, provider: OpenIdProvider) -> None:
    row = create_provider(settings_for(provider), caller=team.owner)
    rest = Rest.admin(team)
    answer = rest.post(f"/tenants/{team.slug}/single-sign-on/providers/{row.pk}/test")
    assert answer.status == 200
    assert answer.body["results"][0]["question"] == "Discovery document"


def _kinds(team: Team) -> list[str]:
    with tenant_scope(team.tenant_id):
        return list(AuditRecord.objects.values_list("kind", flat=True))
