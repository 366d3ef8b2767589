"""Signing up, following an invitation, making a team: each by a mailed link, and nothing told to strangers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from django.conf import settings
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tenants.models import Invitation, User
from tenants.roles import Role
from tenants.scoping import tenant_scope
from tenants.services.invitations import invite, withdraw_invitation
from tenants.services.log import search_records
from tenants.services.members import add_member
from tests.factories import PASSWORD, Team, make_user
from tests.frontend.visitor import client_of, signed_in
from tests.mailbox import letters_to, link_of

SIGN_UP = "/app/sign-up"
ACCOUNT = {"name": "Ada", "password": "another horse battery", "again": "another horse battery"}

SignUp = Callable[[str], None]


@pytest.fixture
def stranger(team: Team) -> str:
    """An address that nobody has used here."""
    return f"new-{team.slug}@example.com"


@pytest.fixture
def sign_up_is(monkeypatch: pytest.MonkeyPatch) -> SignUp:
    def choose(way: str) -> None:
        monkeypatch.setattr(settings, "ENV", replace(settings.ENV, signup=way))

    return choose


def client_from(stranger: str) -> Client:
    """A browser at an address of its own, so that tests use up none of another's letters."""
    return Client(REMOTE_ADDR=f"2001:db8::{abs(hash(stranger)) % 65535:x}")


def open_link(client: Client, email: str) -> str:
    """Follow the newest letter's link, and give the page's address."""
    answer = client.get(link_of(letters_to(email)[-1]))
    assert answer.status_code == 302, answer.content.decode()
    return answer["Location"]


def test_where_sign_up_is_open_a_stranger_signs_up_and_makes_a_team(
    stranger: str, team: Team, sign_up_is: SignUp
) -> None:
    sign_up_is("open")
    client = client_from(stranger)
    assert client.post(SIGN_UP, {"email": stranger.upper()})["Location"] == f"{SIGN_UP}/sent"
    assert not User.objects.filter(email=stranger).exists()
    page = open_link(client, stranger)
    assert client.post(page, ACCOUNT)["Location"] == "/app/"
    assert User.objects.get(email=stranger).name == "Ada"
    assert "new-team" in client.get("/app/").content.decode()
    taken = client.post("/app/new-team", {"name": "Ours", "slug": team.slug})
    assert (taken.status_code, "exists already" in taken.content.decode()) == (400, True)
    answer = client.post("/app/new-team", {"name": "Ours", "slug": f"o-{team.slug}"[:40]})
    assert client.get(answer["Location"]).status_code == 200


def test_a_sign_up_link_works_once_and_not_when_altered(stranger: str, sign_up_is: SignUp) -> None:
    sign_up_is("open")
    client = client_from(stranger)
    client.post(SIGN_UP, {"email": stranger})
    link = link_of(letters_to(stranger)[0])
    client.post(open_link(client, stranger), ACCOUNT)
    for broken in (link, link[:-3] + "abc", f"{SIGN_UP}/x"):
        answer = client_from(stranger).get(broken)
        assert (answer.status_code, "works no more" in answer.content.decode()) == (400, True)


@pytest.mark.parametrize("way", ["open", "invited"])
def test_known_and_unknown_addresses_get_the_same_answer(
    team: Team, stranger: str, sign_up_is: SignUp, way: str
) -> None:
    sign_up_is(way)
    invited = make_user().email
    pages = []
    for email in (team.owner_email, stranger, invited):
        client = client_from(email)
        answer = client.post(SIGN_UP, {"email": email})
        pages.append((answer.status_code, answer["Location"], client.get(answer["Location"]).content))
    assert pages[0][:2] == pages[1][:2] == pages[2][:2]
    assert "have an account" in letters_to(team.owner_email)[0].subject
    assert len(letters_to(stranger)) == (1 if way == "open" else 0)


def test_the_database_is_asked_as_much_for_a_known_address_as_for_an_unknown_one(
    team: Team, stranger: str
) -> None:
    asked = []
    for email in (team.owner_email, stranger):
        with CaptureQueriesContext(connection) as queries:
            client_from(email).post(SIGN_UP, {"email": email})
        asked.append(len(queries))
    assert asked[0] == asked[1] > 0


def test_by_invitation_only_whom_a_team_awaits_gets_a_link(team: Team, stranger: str) -> None:
    invite(f"a-{stranger}", "viewer", caller=team.owner)
    add_member(f"b-{stranger}", "viewer", caller=team.owner)
    for email, letters in ((f"a-{stranger}", 2), (f"b-{stranger}", 1), (f"c-{stranger}", 0)):
        client_from(email).post(SIGN_UP, {"email": email})
        assert len(letters_to(email)) == letters, email
    client = client_from(f"b-{stranger}")
    client.post(open_link(client, f"b-{stranger}"), ACCOUNT)
    assert client.get(f"/app/{team.slug}/").status_code == 200


def test_where_sign_up_is_closed_nobody_signs_up_even_invited(
    team: Team, stranger: str, sign_up_is: SignUp
) -> None:
    sign_up_is("closed")
    assert Client().get(SIGN_UP).status_code == 403
    assert SIGN_UP not in Client().get("/app/sign-in").content.decode()
    invite(stranger, "viewer", caller=team.owner)
    client = Client()
    page = open_link(client, stranger)
    assert "Sign-up is closed" in client.get(page).content.decode()
    client.post(page, ACCOUNT)
    assert not User.objects.filter(email=stranger).exists()


def test_only_where_sign_up_is_open_people_make_teams(sign_up_is: SignUp) -> None:
    client, given = signed_in(make_user()), {"name": "Ours", "slug": "not-to-be"}
    sign_up_is("invited")
    assert "founded by the operator" in client.post("/app/new-team", given).content.decode()
    sign_up_is("open")
    reserved = client.post("/app/new-team", {**given, "slug": "account"})
    assert "Choose another one" in reserved.content.decode()


def test_an_invited_stranger_signs_up_by_the_link_and_is_a_member(team: Team, stranger: str) -> None:
    invite(stranger, "editor", caller=team.owner)
    client = Client()
    page = open_link(client, stranger)
    shown = client.get(page).content.decode()
    assert "Sign up and join" in shown
    before = client.session.session_key
    assert client.post(page, ACCOUNT)["Location"] == f"/app/{team.slug}/"
    assert client.session.session_key != before
    assert client.get(f"/app/{team.slug}/tools/").status_code == 200
    again = Client()
    refused = again.get(open_link(again, stranger))
    assert (refused.status_code, "used already" in refused.content.decode()) == (409, True)


def test_an_invited_person_with_an_account_signs_in_to_join(team: Team) -> None:
    user = make_user()
    invite(user.email, "viewer", caller=team.owner)
    client = Client()
    page = open_link(client, user.email)
    shown = client.get(page).content.decode()
    assert "Sign in to join" in shown
    # The link is no way around the password.
    client.post(page, ACCOUNT)
    assert User.objects.get(pk=user.pk).check_password(PASSWORD)
    client.post(f"/app/sign-in?next={page}", {"email": user.email, "password": PASSWORD})
    assert "Join the team" in client.get(page).content.decode()
    with tenant_scope(team.tenant_id):
        invitation = Invitation.objects.get(email=user.email)
    assert client.post(page, {"invitation": invitation.pk})["Location"] == f"/app/{team.slug}/"
    assert client.get(f"/app/{team.slug}/").status_code == 200


def test_a_forwarded_link_is_refused_with_the_reason_and_the_team_learns_of_it(team: Team) -> None:
    user, other = make_user(), make_user()
    invitation = invite(user.email, "admin", caller=team.owner)
    client = signed_in(other)
    page = open_link(client, user.email)
    shown = client.get(page)
    assert (shown.status_code, f"signed in as {other.email}" in shown.content.decode()) == (403, True)
    assert client.post(page, {"invitation": invitation.pk}).status_code == 404
    assert client.get(f"/app/{team.slug}/").status_code == 404
    record = search_records(caller=team.owner, kind="invitation", outcome="refused").records[0]
    assert (record.actor, record.reason and record.reason["rule"]) == (
        f"user:{other.email}",
        "invitation:address",
    )


@pytest.mark.parametrize(("spoilt", "words"), [("expired", "has expired"), ("withdrawn", "was withdrawn")])
def test_a_link_that_is_too_late_says_why(team: Team, stranger: str, spoilt: str, words: str) -> None:
    invitation = invite(stranger, "viewer", caller=team.owner)
    client = Client()
    page = open_link(client, stranger)
    if spoilt == "withdrawn":
        withdraw_invitation(invitation.pk, caller=team.owner)
    else:
        with tenant_scope(team.tenant_id):
            Invitation.objects.filter(pk=invitation.pk).update(
                expires_at=timezone.now() - timedelta(seconds=1)
            )
    for answer in (client.get(page), client.post(page, ACCOUNT)):
        assert (answer.status_code, words in answer.content.decode()) == (409, True)
    assert not User.objects.filter(email=stranger).exists()


def test_a_link_that_is_none_says_so() -> None:
    client = Client()
    answer = client.get(client.get("/app/invitations/nothing-of-ours")["Location"])
    assert (answer.status_code, "not known" in answer.content.decode()) == (404, True)
    assert Client().get("/app/invitation").status_code == 404


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"password": "12345678", "again": "12345678"}, "too common"),
        ({"password": "new-t1-example.com", "again": "other"}, "not the same"),
        ({"name": "A\u202eB"}, "invisible character"),
    ],
)
def test_an_account_that_cannot_be_is_not_made(
    team: Team, stranger: str, change: dict[str, str], words: str
) -> None:
    invite(stranger, "viewer", caller=team.owner)
    client = Client()
    answer = client.post(open_link(client, stranger), {**ACCOUNT, **change})
    assert (answer.status_code, words in answer.content.decode()) == (400, True)
    assert not User.objects.filter(email=stranger).exists()


def test_who_is_signed_in_sees_what_they_are_invited_to_without_a_letter(team: Team) -> None:
    user = make_user()
    invitation = invite(user.email, "viewer", caller=team.owner)
    client = signed_in(user)
    for page in ("/app/", "/app/account/"):
        assert 'Join<span class="visually-hidden"> Team' in client.get(page).content.decode()
    assert client.post("/app/invitation", {"invitation": invitation.pk}).status_code == 302
    assert client.get(f"/app/{team.slug}/").status_code == 200


def test_the_members_page_invites_sends_again_and_withdraws(team: Team, stranger: str) -> None:
    client = client_of(team)
    page = f"/app/{team.slug}/members/"
    client.post(page, {"email": stranger, "role": "auditor", "last_day": "2030-01-31"})
    [(row, state, _)] = client.get(page).context["invitations"]
    assert (row.email, row.role, state) == (stranger, "auditor", "open")
    assert row.access_ends_at.isoformat() == "2030-02-01T00:00:00+00:00"
    client.post(f"{page}invitations/{row.pk}/resend")
    assert len(letters_to(stranger)) == 2
    body = client.post(f"{page}invitations/{row.pk}/withdraw", follow=True).content.decode()
    assert "opens nothing" in body


def test_an_editor_sees_invitations_and_no_button(team: Team, stranger: str) -> None:
    invite(stranger, "viewer", caller=team.owner)
    body = client_of(team, Role.EDITOR).get(f"/app/{team.slug}/members/").content.decode()
    assert stranger in body
    assert "Withdraw" not in body
