"""The pages of outside issuers: trusting, changing, testing with a token, switching off, removing."""

from __future__ import annotations

import pytest
from django.urls import reverse

from tenants.oauth_addresses import resource
from tenants.roles import Role
from tenants.services.keys import issue_key
from tenants.services.outside_issuers import create_issuer, list_issuers
from tests.factories import Team, make_team
from tests.frontend.visitor import client_of
from tests.oauth.outside import issuer, trust, trust_by_asking
from tests.plugins.issuer import LoopbackIssuer

__all__ = ["issuer"]

FIELDS = {
    "name": "corp",
    "issuer": "https://id.corp.example",
    "method": "jwks",
    "audience": "",
    "scopes_claim": "roles",
    "table": "analyst = tools:read, tools:execute as editor\n\nguest = tools:read",
    "subject_claim": "sub",
    "email_claim": "email",
    "jwks_uri": "",
    "introspection_endpoint": "",
    "client_id": "",
    "client_secret": "",
}


@pytest.fixture
def team(database: None) -> Team:
    return make_team()


def test_issuer_is_trusted_changed_switched_off_and_removed(team: Team) -> None:
    client, base = client_of(team), f"/app/{team.slug}/issuers/"
    assert "No outside issuer" in client.get(base).content.decode()
    assert client.get(f"{base}new").status_code == 200
    assert client.post(f"{base}new", FIELDS).status_code == 302
    (row,) = list_issuers(caller=team.owner)
    assert row.mapping == [
        {"value": "analyst", "scopes": ["tools:read", "tools:execute"], "role": "editor"},
        {"value": "guest", "scopes": ["tools:read"], "role": "viewer"},
    ]
    page = f"{base}{row.pk}/"
    shown = client.get(page).content.decode()
    assert "analyst = tools:read tools:execute as editor" in shown
    assert client.post(page, {**FIELDS, "name": "corp2"}).status_code == 302
    assert client.post(f"{page}enabled", {"enabled": "false"}).status_code == 302
    (row,) = list_issuers(caller=team.owner)
    assert (row.name, row.enabled) == ("corp2", False)
    assert "corp2" in client.get(base).content.decode()
    client.post(f"{page}remove", {"confirm": "corp"})
    assert list_issuers(caller=team.owner)
    client.post(f"{page}remove", {"confirm": "corp2"})
    assert list_issuers(caller=team.owner) == []


@pytest.mark.parametrize(
    "change",
    [
        {"issuer": "http://id.corp.example"},
        {"table": "analyst"},
        {"table": "analyst = admin"},
        {"table": "analyst = tools:read as owner"},
        {"method": "introspection"},
        {"jwks_uri": "javascript:alert(1)"},
        {"name": "Not a name"},
    ],
)
def test_what_is_wrong_stands_beside_its_field(team: Team, change: dict[str, str]) -> None:
    answer = client_of(team).post(f"/app/{team.slug}/issuers/new", {**FIELDS, **change})
    assert answer.status_code == 400
    assert 'aria-invalid="true"' in answer.content.decode()
    assert list_issuers(caller=team.owner) == []


def test_what_is_wrong_in_the_table_is_named_by_its_row(team: Team) -> None:
    table = "analyst = tools:read\n\nguest = admin"
    answer = client_of(team).post(f"/app/{team.slug}/issuers/new", {**FIELDS, "table": table})
    assert "Row 2: the scope" in answer.content.decode()


def test_what_is_wrong_with_several_fields_is_said_at_once(team: Team) -> None:
    wrong = {"issuer": "http://id.corp.example", "table": "nonsense", "name": "Not a name"}
    answer = client_of(team).post(f"/app/{team.slug}/issuers/new", {**FIELDS, **wrong})
    assert answer.content.decode().count('aria-invalid="true"') == len(wrong)


def test_access_explained_asks_for_claims_only_where_somebody_outside_is_trusted(team: Team) -> None:
    key = issue_key("reader", ["tools:read"], caller=team.owner).row
    client, asked = client_of(team), {"credential": str(key.pk), "server": "default", "tool": "x"}
    page = reverse("frontend:access", args=[team.slug])
    for given in ({}, asked, {**asked, "values": "analyst"}):
        answer = client.get(page, given)
        assert (answer.status_code, "Values in its claim" in answer.content.decode()) == (200, False)
    client.post(f"/app/{team.slug}/issuers/new", FIELDS)
    assert "Values in its claim" in client.get(page).content.decode()


def test_token_is_judged_on_the_page_which_does_not_hold_it(team: Team, issuer: LoopbackIssuer) -> None:
    row = trust(team, issuer)
    client, test = client_of(team), f"/app/{team.slug}/issuers/{row.pk}/test"
    sound = issuer.token(resource(team.slug), scope="mcp.use")
    shown = client.post(test, {"token": sound}).content.decode()
    assert "The token is taken" in shown
    assert "issuer:corp:ada" in shown
    assert sound not in shown
    shown = client.post(test, {"token": issuer.token("https://other.example")}).content.decode()
    assert "The token is refused" in shown
    assert "Was it issued for here?" in shown
    assert client.post(test, {"token": ""}).status_code == 400


def test_secret_is_never_shown_and_stays_where_nothing_is_entered(team: Team, issuer: LoopbackIssuer) -> None:
    row = trust_by_asking(team, issuer)
    client, page = client_of(team), f"/app/{team.slug}/issuers/{row.pk}/"
    assert issuer.client_secret not in client.get(page).content.decode()
    same = {
        **FIELDS,
        "issuer": issuer.identifier,
        "method": "introspection",
        "client_id": issuer.client_id,
    }
    assert client.post(page, same).status_code == 302
    assert list_issuers(caller=team.owner)[0].has_secret
    assert client.post(page, {**same, "client_id": "other"}).status_code == 400


def test_auditor_reads_and_editor_sees_nothing(team: Team, issuer: LoopbackIssuer) -> None:
    row = trust(team, issuer)
    page = f"/app/{team.slug}/issuers/{row.pk}/"
    auditor = client_of(team, Role.AUDITOR)
    shown = auditor.get(page).content.decode()
    assert "mcp.use" in shown
    assert "Save" not in shown
    assert auditor.post(page, FIELDS).status_code == 403
    assert client_of(team, Role.EDITOR).get(page).status_code == 403
    assert client_of(make_team()).get(page).status_code == 404


def test_switching_on_what_cannot_be_on_says_why(team: Team, issuer: LoopbackIssuer) -> None:
    trust_by_asking(team, issuer)
    asked = {"method": "introspection", "client_id": "marina", "client_secret": "x", "enabled": False}
    second = create_issuer({"name": "b", "issuer": "https://b.example", **asked}, caller=team.owner)
    page = f"/app/{team.slug}/issuers/{second.pk}/"
    shown = client_of(team).post(f"{page}enabled", {"enabled": "true"}, follow=True).content.decode()
    assert "shown to one alone" in shown
    assert [row.enabled for row in list_issuers(caller=team.owner)] == [False, True]
