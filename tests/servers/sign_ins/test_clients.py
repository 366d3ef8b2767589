"""What Marina is to authorization servers: entered, by its document, or registered; and one's client at no other."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.utils import timezone
from mcp.shared.auth import OAuthClientInformationFull
from pydantic import AnyUrl

from servers.models import UpstreamClient, UpstreamSignIn
from servers.services.sign_ins.addresses import callback_url
from servers.services.source_checks import check_sources_of
from tenants.scoping import tenant_scope
from tests.factories import Team
from tests.oauth.asking import parameters_of
from tests.rest import Rest
from tests.servers.named_secrets.desk import made, secrets_url
from tests.servers.sign_ins.authority import READ, Authority, open_authority
from tests.servers.sign_ins.person import Person, add_source, call, refresh

ENTERED = "entered-client"
SECRET = "entered-secret"


def know(authority: Authority) -> None:
    """Have a client there that somebody registered by hand."""
    authority.clients[ENTERED] = OAuthClientInformationFull(
        client_id=ENTERED,
        client_secret=SECRET,
        redirect_uris=[AnyUrl(callback_url())],
        scope=READ,
        token_endpoint_auth_method="client_secret_basic",
    )


def secrets_sent(authority: Authority) -> list[str]:
    """The client secrets that reached its token endpoint in a form."""
    return [
        parameters_of(f"http://x/?{each.body.decode()}").get("client_secret", "")
        for each in authority.at("/token")
    ]


def test_the_client_that_was_entered_is_used(
    rest: Rest, team: Team, owner: Person, authority: Authority
) -> None:
    know(authority)
    given = {"client_id": ENTERED, "client_secret": SECRET, "issuer": f"{authority.origin}/"}
    id_ = add_source(rest, team, authority.url, **given)
    assert SECRET not in str(rest.get(f"/tenants/{team.slug}/data-sources/{id_}").body)
    owner.sign_in(id_)
    refresh(rest, team, id_)
    assert call(rest, team, "who")["text"] == f"anna with {READ}"
    pair = b64encode(f"{ENTERED}:{SECRET}".encode()).decode()
    assert [each.headers["authorization"] for each in authority.at("/token")] == [f"Basic {pair}"]
    assert not authority.at("/register")


def test_a_named_secret_that_changed_is_used_from_then_on(
    rest: Rest, team: Team, owner: Person, authority: Authority
) -> None:
    know(authority)
    secret = made(team, rest, value=SECRET)
    given: dict[str, Any] = {
        "client_id": ENTERED,
        "client_secret": {"secret": "stripe-key"},
        "issuer": f"{authority.origin}/",
    }
    id_ = add_source(rest, team, authority.url, **given)
    owner.sign_in(id_)
    refresh(rest, team, id_)
    authority.clients[ENTERED].client_secret = "another-secret"
    assert rest.patch(secrets_url(team, secret["id"]), {"value": "another-secret"}).status == 200
    now = timezone.now()
    with tenant_scope(team.tenant_id):
        UpstreamSignIn.objects.update(renewed_at=now - timedelta(hours=1), expires_at=now)
    authority.end_access()
    authority.asked.clear()
    assert call(rest, team, "who")["text"] == f"anna with {READ}"
    pair = b64encode(f"{ENTERED}:another-secret".encode()).decode()
    assert [each.headers["authorization"] for each in authority.at("/token")] == [f"Basic {pair}"]
    rest.delete(f"/tenants/{team.slug}/data-sources/{id_}/sign-in")
    assert [each.headers["authorization"] for each in authority.at("/revoke")] == [f"Basic {pair}"]


def test_its_secret_goes_to_no_other_issuer(
    rest: Rest, team: Team, owner: Person, authority: Authority
) -> None:
    given = {"client_id": ENTERED, "client_secret": SECRET, "issuer": "https://login.example"}
    id_ = add_source(rest, team, authority.url, **given)
    assert owner.leave(id_).endswith(f"/data-sources/{id_}/")
    page = owner.page(id_).content.decode()
    assert "Nothing was sent there" in page
    assert not authority.at("/token")


def test_marinas_document_is_its_client_id_where_that_is_taken(
    rest: Rest, team: Team, owner: Person, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    id_ = add_source(rest, team, authority.url)
    authority.metadata = {"client_id_metadata_document_supported": True}
    # A document at an http address is nobody's client id.
    assert parameters_of(owner.leave(id_))["client_id"] in authority.clients
    monkeypatch.setattr(settings, "ENV", replace(settings.ENV, base_url="https://marina.example"))
    query = parameters_of(owner.leave(id_))
    assert query["client_id"] == "https://marina.example/upstream/client.json"
    assert query["redirect_uri"] == "https://marina.example/upstream/back"
    assert len(authority.at("/register")) == 1


def test_a_server_that_moves_to_another_issuer_has_marina_registered_there(
    rest: Rest, team: Team, owner: Person, authority: Authority
) -> None:
    id_ = add_source(rest, team, authority.url)
    owner.sign_in(id_)
    refresh(rest, team, id_)
    with open_authority() as other:
        other.access = authority.access
        authority.moved_to = f"{other.origin}/"
        authority.end_access()
        authority.asked.clear()
        other.person = "bert"
        owner.sign_in(id_)
        assert len(other.at("/register")) == 1
        assert not authority.at("/register")
        assert not authority.at("/token")
        assert secrets_sent(other) == [each.client_secret for each in other.clients.values()]
        assert call(rest, team, "who")["text"] == f"bert with {READ}"
    with tenant_scope(team.tenant_id):
        row = UpstreamSignIn.objects.select_related("client").get()
        assert (row.issuer, row.client.issuer) == (f"{other.origin}/", f"{other.origin}/")


def forget_clients(authority: Authority) -> list[str]:
    """Have it know nobody any more. Gives whom it knew."""
    known = list(authority.clients)
    authority.clients.clear()
    return known


def test_a_client_that_is_unknown_there_by_now_is_registered_anew(
    rest: Rest, team: Team, owner: Person, authority: Authority
) -> None:
    id_ = add_source(rest, team, authority.url)
    back = owner.visit(owner.leave(id_))
    [former] = forget_clients(authority)
    owner.come_back(back)
    assert "invalid_client" in owner.said[0]
    there = owner.leave(id_)
    assert parameters_of(there)["client_id"] != former
    owner.come_back(owner.visit(there))
    assert owner.said[0].startswith("You are signed in.")
    assert len(authority.at("/register")) == 2


def test_a_renewal_finds_out_that_its_client_is_unknown(
    rest: Rest, team: Team, owner: Person, authority: Authority
) -> None:
    id_ = add_source(rest, team, authority.url)
    owner.sign_in(id_)
    [former] = forget_clients(authority)
    authority.end_access()
    with tenant_scope(team.tenant_id):
        UpstreamSignIn.objects.update(renewed_at=timezone.now() - timedelta(minutes=5))
    check_sources_of(team.tenant_id)
    assert "invalid_client" in rest.get(f"/tenants/{team.slug}/data-sources/{id_}/sign-in").body["reason"]
    assert parameters_of(owner.leave(id_))["client_id"] != former


def test_who_signs_out_and_in_again_is_registered_anew(
    rest: Rest, team: Team, owner: Person, authority: Authority
) -> None:
    id_ = add_source(rest, team, authority.url)
    owner.sign_in(id_)
    # It would refuse to show its own page, and send nobody back.
    [former] = forget_clients(authority)
    rest.delete(f"/tenants/{team.slug}/data-sources/{id_}/sign-in")
    there = owner.leave(id_)
    assert parameters_of(there)["client_id"] != former
    owner.come_back(owner.visit(there))
    assert owner.said[0].startswith("You are signed in.")


def test_a_client_by_which_nobody_came_back_is_not_used_for_ever(
    rest: Rest, team: Team, owner: Person, authority: Authority
) -> None:
    id_ = add_source(rest, team, authority.url)
    former = parameters_of(owner.leave(id_))["client_id"]
    assert parameters_of(owner.leave(id_))["client_id"] == former
    with tenant_scope(team.tenant_id):
        UpstreamClient.objects.update(created_at=timezone.now() - timedelta(hours=2))
    assert parameters_of(owner.leave(id_))["client_id"] != former


@pytest.mark.parametrize("member", ["registration_endpoint", "code_challenge_methods_supported"])
def test_where_nobody_can_be_sent_the_page_says_why(
    rest: Rest, team: Team, owner: Person, authority: Authority, member: str
) -> None:
    authority.metadata = {member: None}
    id_ = add_source(rest, team, authority.url)
    owner.leave(id_)
    page = owner.page(id_).content.decode()
    assert ("redirect address" if member == "registration_endpoint" else "PKCE") in page


def test_no_browser_is_sent_to_a_script(rest: Rest, team: Team, owner: Person, authority: Authority) -> None:
    authority.metadata = {"authorization_endpoint": "javascript:alert(document.cookie)"}
    id_ = add_source(rest, team, authority.url)
    assert owner.leave(id_) == f"/app/{team.slug}/data-sources/{id_}/"
    assert "no authorization_endpoint that is taken" in owner.page(id_).content.decode()
    assert not authority.at("/register")
