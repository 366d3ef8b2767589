"""A person's own pages: where they are signed in, how that ends, and their password."""

from __future__ import annotations

import re

import pytest
from django.test import Client

from frontend.browsers import browser_words
from frontend.urls import urlpatterns
from servers.services.onboarding import RESERVED_SLUGS
from tenants.models import SignIn, User
from tenants.roles import Role
from tenants.services import sessions
from tenants.services.log import search_records
from tenants.services.members import add_member
from tests.factories import PASSWORD, Team, make_team
from tests.frontend.visitor import by_password, client_of, is_signed_in

ACCOUNT = "/app/account/"
NEW = "another horse battery"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


def browser_of(team: Team, *, agent: str = FIREFOX, address: str = "192.0.2.1") -> Client:
    """A browser that the owner signed in with."""
    client = Client(headers={"User-Agent": agent}, REMOTE_ADDR=address)
    signed = client.post("/app/sign-in", {"email": team.owner_email, "password": PASSWORD})
    assert signed.status_code == 302
    client.get("/app/")
    return client


def test_the_page_says_where_from_when_and_with_which_browser(team: Team) -> None:
    browser_of(team, agent="curl/8.5", address="198.51.100.7")
    body = browser_of(team).get(ACCOUNT).content.decode()
    assert all(words in body for words in ("Firefox on Linux", "192.0.2.1", "curl", "198.51.100.7"))
    assert body.count("this one") == 1


def test_a_sign_in_that_is_ended_opens_nothing_from_the_next_request_on(team: Team) -> None:
    lost, here = browser_of(team, address="198.51.100.7"), browser_of(team)
    lost.get(f"/app/{team.slug}/")
    row = SignIn.objects.get(user__email=team.owner_email, address="198.51.100.7")
    here.post(f"/app/account/sign-ins/{row.pk}/end")
    assert not is_signed_in(lost)
    assert lost.get(f"/app/{team.slug}/tools/")["Location"].startswith("/app/sign-in")
    assert lost.get(f"/api/v1/tenants/{team.slug}").status_code == 401
    assert is_signed_in(here)


def test_all_others_end_at_once(team: Team) -> None:
    others = [browser_of(team) for _ in range(3)]
    here = browser_of(team)
    here.post("/app/account/sign-ins/end")
    assert [is_signed_in(other) for other in others] == [False] * 3
    assert is_signed_in(here)


def test_nobody_ends_the_sign_in_of_somebody_else(team: Team) -> None:
    mine, theirs = browser_of(team), browser_of(make_team())
    row = SignIn.objects.get(user__email=team.owner_email)
    answer = theirs.post(f"/app/account/sign-ins/{row.pk}/end", follow=True)
    assert "not signed in there" in answer.content.decode()
    assert is_signed_in(mine)


def test_signing_out_and_signing_in_anew_leave_no_sign_in_behind(team: Team) -> None:
    client = browser_of(team)
    by_password(team.owner_email, client)
    client.get("/app/")
    living = SignIn.objects.filter(user__email=team.owner_email, ended_at__isnull=True)
    assert living.count() == 1
    client.post("/app/sign-out")
    assert living.count() == 0


def test_a_sign_in_ends_after_its_time_however_much_it_is_used(team: Team) -> None:
    client = browser_of(team)
    row = SignIn.objects.get(user__email=team.owner_email)
    SignIn.objects.filter(pk=row.pk).update(expires_at=row.created_at)
    assert not is_signed_in(client)


def test_a_change_of_password_ends_the_others_and_keeps_this_one(team: Team) -> None:
    other, here = browser_of(team), browser_of(team)
    assert here.get(f"/app/{team.slug}/").status_code == 200
    before = here.session.session_key
    form = {"old_password": PASSWORD, "new_password1": NEW, "new_password2": NEW}
    assert here.post("/app/account/password", form)["Location"] == ACCOUNT
    assert not is_signed_in(other)
    assert is_signed_in(here)
    assert here.session.session_key != before
    assert User.objects.get(email=team.owner_email).check_password(NEW)
    (record,) = search_records(caller=team.owner, kind="password.changed").records
    assert (record.actor, record.arguments) == (team.owner.actor, {"after": {"by": "password"}})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"old_password": "wrong"}, "old password was entered incorrectly"),
        ({"new_password2": "another"}, "match"),
        ({"new_password1": "12345678", "new_password2": "12345678"}, "too common"),
        ({"new_password1": "short", "new_password2": "short"}, "too short"),
    ],
)
def test_a_password_that_cannot_be_stays_as_it_was(team: Team, change: dict[str, str], words: str) -> None:
    form = {"old_password": PASSWORD, "new_password1": NEW, "new_password2": NEW, **change}
    answer = browser_of(team).post("/app/account/password", form)
    assert (answer.status_code, words in answer.content.decode()) == (400, True)
    assert User.objects.get(email=team.owner_email).check_password(PASSWORD)


def test_guessing_the_present_password_of_an_open_session_ends_like_guessing_at_the_sign_in(
    team: Team,
) -> None:
    client = browser_of(team)
    form = {"old_password": "wrong", "new_password1": NEW, "new_password2": NEW}
    for _ in range(sessions.MAX_FAILURES):
        assert client.post("/app/account/password", form).status_code == 400
    answer = client.post("/app/account/password", {**form, "old_password": PASSWORD})
    assert answer.status_code == 429
    assert User.objects.get(email=team.owner_email).check_password(PASSWORD)


def test_many_failures_count_for_the_e_mail_alone_and_for_the_address_alone(team: Team) -> None:
    for number in range(sessions.MAX_FAILURES_OF_EMAIL):
        sessions.note_failure(team.owner_email, address=f"2001:db8:1:{number}::1")
    assert sessions.claim_attempt(team.owner_email, address="2001:db8:1:ffff::1") > 0
    for number in range(sessions.MAX_FAILURES_OF_ADDRESS):
        sessions.note_failure(f"{team.slug}-{number}@example.com", address=f"2001:db8:2::{number}")
    assert sessions.claim_attempt(f"{team.slug}@example.com", address="2001:db8:2::ffff") > 0
    assert sessions.claim_attempt(f"{team.slug}@example.com", address="2001:db8:1:fffe::1") == 0


def test_the_addresses_that_one_customer_has_count_as_one(team: Team) -> None:
    for number in range(sessions.MAX_FAILURES):
        assert sessions.claim_attempt(team.owner_email, address=f"2001:db8:3:1::{number:x}") == 0
    assert sessions.claim_attempt(team.owner_email, address="2001:db8:3:1:ffff::1") > 0
    assert sessions.claim_attempt(team.owner_email, address="2001:db8:3:2::1") == 0


def test_switching_to_another_team_gives_the_session_another_key(team: Team) -> None:
    other = make_team("Other")
    add_member(team.owner_email, "viewer", caller=other.owner)
    client = browser_of(team)
    client.get(f"/app/{team.slug}/")
    keys = [client.session.session_key]
    for path in (f"/app/{team.slug}/tools/", f"/app/{other.slug}/", f"/app/{other.slug}/tools/"):
        assert client.get(path).status_code == 200
        keys.append(client.session.session_key)
    assert keys[0] == keys[1] != keys[2] == keys[3]
    # Pages of both stand open: what they ask for by themselves is no switch.
    client.get(f"/app/{team.slug}/overview/stats", headers={"HX-Request": "true"})
    assert client.session.session_key == keys[3]
    assert SignIn.objects.filter(user__email=team.owner_email, ended_at__isnull=True).count() == 1


def test_a_viewer_leaves_from_their_account(team: Team) -> None:
    client = client_of(team, Role.VIEWER)
    assert f"/app/{team.slug}/members/leave" in client.get(ACCOUNT).content.decode()
    assert client.post(f"/app/{team.slug}/members/leave", {"confirm": "no"}).status_code == 302
    assert client.get(f"/app/{team.slug}/").status_code == 200
    client.post(f"/app/{team.slug}/members/leave", {"confirm": team.slug})
    assert client.get(f"/app/{team.slug}/").status_code == 404


def test_no_team_may_have_the_address_of_a_page() -> None:
    patterns = [str(entry.pattern) for entry in urlpatterns]  # type: ignore[attr-defined]
    beside = {re.split(r"[/<]", pattern)[0] for pattern in patterns} - {""}
    assert beside <= RESERVED_SLUGS


@pytest.mark.parametrize(
    ("agent", "words"),
    [
        (FIREFOX, "Firefox on Linux"),
        (
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) … Chrome/140.0 Safari/537.36 Edg/140.0",
            "Edge on Windows",
        ),
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) … Version/18.0 Safari/604.1",
            "Safari on iPhone",
        ),
        ("", "Unknown browser"),
    ],
)
def test_browsers_are_named_in_words(agent: str, words: str) -> None:
    assert browser_words(agent) == words
