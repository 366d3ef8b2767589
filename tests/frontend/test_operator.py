"""The operator's pages: who gets in, what they see of a team, and that the team's log knows of it."""

from __future__ import annotations

import re
import secrets
from time import time
from urllib.parse import quote

import pytest
from django.test import Client
from django.urls import reverse

from frontend.operating import choice
from frontend.operating.site import site
from servers.services.sources import create_source
from tenants.models import User
from tenants.services.log import search_records
from tests.factories import Team, make_team

SECRET = "pw-of-the-reader"


@pytest.fixture
def operator(database: None) -> User:
    return User.objects.create_user(f"operator-{secrets.token_hex(8)}@example.com", "p", is_staff=True)


@pytest.fixture
def browser(operator: User) -> Client:
    client = Client(raise_request_exception=False)
    client.force_login(operator)
    return client


def furnished() -> Team:
    team = make_team()
    dsn = f"postgresql://reader:{SECRET}@db.example.com/airports"
    create_source(f"source-of-{team.slug}", "postgres", {"dsn": dsn}, caller=team.owner)
    return team


def enter(browser: Client, team: Team, reason: str = "ticket 7") -> int:
    return browser.post(reverse("operator:enter", args=[team.tenant_id]), {"reason": reason}).status_code


def lists() -> list[str]:
    """Every list page of what belongs to teams."""
    return [
        reverse(f"operator:{model._meta.app_label}_{model._meta.model_name}_changelist")
        for model in site._registry
        if any(field.name == "tenant" for field in model._meta.fields)
    ]


def pages() -> list[str]:
    return [reverse("operator:index"), reverse("operator:tenants_user_changelist"), *lists()]


def test_for_everyone_else_there_is_nothing(database: None) -> None:
    team = make_team()
    visitor, member = Client(), Client(raise_request_exception=False)
    member.force_login(User.objects.get(email=team.owner_email))
    for page in [*pages(), reverse("operator:enter", args=[team.tenant_id])]:
        answer = member.get(page, follow=True)
        assert answer.status_code == 404, page
    for page in pages():
        answer = visitor.get(page, follow=True)
        assert "/app/sign-in" in answer.redirect_chain[-1][0]
        assert f"next={quote(page, safe='')}" in answer.redirect_chain[-1][0]
    assert enter(member, team) == 404
    assert search_records(caller=team.owner, kind="operator.entered").records == []


def test_a_team_is_looked_into_for_a_reason_that_its_log_has(browser: Client, operator: User) -> None:
    team, other = furnished(), furnished()
    assert all(browser.get(page).status_code == 403 for page in lists())
    assert enter(browser, team, " ") == 422
    assert all(browser.get(page).status_code == 403 for page in lists())
    assert enter(browser, team) == 302
    (record,) = search_records(caller=team.owner, kind="operator.entered").records
    assert record.actor == f"operator:{operator.email}"
    assert record.arguments is not None
    assert record.arguments["after"] == {"reason": "ticket 7", "minutes": 30}
    seen = ""
    for page in lists():
        answer = browser.get(page)
        assert answer.status_code == 200, page
        text = answer.content.decode()
        for row in set(re.findall(rf'href="({page}[^"]+/change/)', text)):
            text += browser.get(row).content.decode()
        seen += text
    assert f"source-of-{team.slug}" in seen
    assert f"source-of-{other.slug}" not in seen
    assert SECRET not in seen
    assert "digest" not in seen
    browser.post(reverse("operator:leave"))
    assert all(browser.get(page).status_code == 403 for page in lists())


def test_the_look_ends_with_its_time(browser: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    team = furnished()
    assert enter(browser, team) == 302
    now = time()
    monkeypatch.setattr(choice, "time", lambda: now + 31 * 60)
    assert all(browser.get(page).status_code == 403 for page in lists())


def test_another_teams_row_is_not_found_by_its_id(browser: Client) -> None:
    team, other = furnished(), furnished()
    assert enter(browser, other) == 302
    page = reverse("operator:servers_datasource_changelist")
    found = re.search(rf'href="({page}[^"]+/change/)', browser.get(page).content.decode())
    assert found is not None
    assert enter(browser, team) == 302
    assert browser.get(found[1], follow=True).status_code == 200
    assert f"source-of-{other.slug}" not in browser.get(found[1], follow=True).content.decode()


def test_nothing_of_a_team_can_be_changed(browser: Client) -> None:
    team = furnished()
    assert enter(browser, team) == 302
    for page in lists():
        assert browser.get(f"{page}add/").status_code == 403
        assert browser.post(f"{page}add/", {}).status_code == 403
    changes = reverse("operator:tenants_membership_changelist")
    found = re.search(rf'href="({changes}[^"]+/change/)', browser.get(changes).content.decode())
    assert found is not None
    assert browser.post(found[1], {"role": "viewer"}).status_code == 403
    assert browser.post(found[1].replace("change", "delete"), {"post": "yes"}).status_code == 403


def test_an_account_is_shut_by_another_operator_only(browser: Client, operator: User) -> None:
    team = make_team()
    owner = User.objects.get(email=team.owner_email)
    member = Client(raise_request_exception=False)
    member.force_login(owner)
    page = reverse("frontend:overview", args=[team.slug])
    assert member.get(page).status_code == 200
    path = reverse("operator:tenants_user_change", args=[owner.pk])
    assert browser.post(path, {"is_active": ""}).status_code == 302
    owner.refresh_from_db()
    assert not owner.is_active
    assert member.get(page).status_code == 302
    own = reverse("operator:tenants_user_change", args=[operator.pk])
    assert browser.post(own, {"is_active": ""}).status_code == 403
    operator.refresh_from_db()
    assert operator.is_active


def test_what_is_not_shown_cannot_be_searched_for(browser: Client) -> None:
    team = furnished()
    assert enter(browser, team) == 302
    for page, lookup in (
        ("tenants_user", "password__startswith"),
        ("tenants_apikey", "digest__gt"),
        ("servers_datasource", "sealed__gt"),
        ("servers_tool", "source__sealed__gt"),
    ):
        answer = browser.get(reverse(f"operator:{page}_changelist"), {lookup: "a"})
        # Django answers so what it does not allow.
        assert (answer.status_code, lookup) == (400, lookup)
    assert browser.get("/operator/password_change/").status_code == 404
