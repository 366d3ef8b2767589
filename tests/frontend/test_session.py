"""Signing in and out: the session rotates, answers tell nothing about accounts, the log knows."""

from __future__ import annotations

import logging
from typing import Any
from urllib.parse import urlencode

import pytest
import redis
from django.test import Client
from redis.backoff import NoBackoff
from redis.retry import Retry

from tenants.services import counting
from tenants.services.log import search_records
from tenants.services.members import add_member
from tenants.services.sessions import MAX_FAILURES, WINDOW_SECONDS
from tests.factories import PASSWORD, Team, make_team, make_user
from tests.frontend.visitor import signed_in

SIGN_IN = "/app/sign-in"


def sign_in(client: Client, email: str, password: str = PASSWORD, *, then: str = "") -> Any:
    query = f"?{urlencode({'next': then})}" if then else ""
    return client.post(SIGN_IN + query, {"email": email, "password": password})


def test_a_member_signs_in_and_lands_in_their_team(team: Team) -> None:
    client = Client()
    client.get(SIGN_IN)
    answer = sign_in(client, team.owner_email.upper())
    assert (answer.status_code, answer["Location"]) == (302, "/app/")
    assert client.get("/app/")["Location"] == f"/app/{team.slug}/"


def test_signing_in_gives_the_session_another_key(team: Team) -> None:
    client = Client()
    session = client.session
    session["kept"] = "from before"
    session.save()
    before = session.session_key
    sign_in(client, team.owner_email)
    assert client.session.session_key != before


def test_unknown_address_and_wrong_password_get_the_same_answer(team: Team) -> None:
    bodies = []
    for email in (team.owner_email, "nobody@example.com"):
        answer = sign_in(Client(), email, "not the password")
        assert answer.status_code == 200
        assert "E-mail and password do not fit" in answer.content.decode()
        bodies.append(list(answer.context["form"].non_field_errors()))
    assert bodies[0] == bodies[1]


def sessions_of(team: Team) -> list[tuple[str, bool]]:
    found = search_records(caller=team.owner, kind="session.signed_in").records
    return [(record.actor, bool(record.request_id)) for record in found]


def test_a_session_is_in_the_log_of_a_team_once_it_comes_to_it(team: Team) -> None:
    client = Client()
    sign_in(client, team.owner_email)
    assert sessions_of(team) == []
    for page in ("", "tools/", "tools/"):
        client.get(f"/app/{team.slug}/{page}")
    assert sessions_of(team) == [(f"user:{team.owner_email}", True)]
    sign_in(client, team.owner_email)
    client.get(f"/app/{team.slug}/")
    assert len(sessions_of(team)) == 2


def test_whoever_adds_a_person_by_e_mail_does_not_see_them_sign_in_to_their_own_team(team: Team) -> None:
    elsewhere = make_team()
    add_member(team.owner_email, "viewer", caller=elsewhere.owner)
    client = Client()
    sign_in(client, team.owner_email)
    client.get(f"/app/{team.slug}/")
    assert sessions_of(elsewhere) == []
    client.get(f"/app/{elsewhere.slug}/")
    assert sessions_of(elsewhere) == [(f"user:{team.owner_email}", True)]
    assert len(sessions_of(team)) == 1


def test_ten_failures_end_the_trying_for_a_while_whether_or_not_there_is_such_an_account(team: Team) -> None:
    answers = {}
    for email in (team.owner_email, f"nobody-{team.slug}@example.com"):
        for _ in range(MAX_FAILURES):
            assert "do not fit" in sign_in(Client(), email, "wrong").content.decode()
        # The right password too: otherwise the answer would say that it is right.
        answer = sign_in(Client(), email)
        assert answer.status_code == 429
        assert 0 < int(answer["Retry-After"]) <= WINDOW_SECONDS
        answers[email] = list(answer.context["form"].non_field_errors())
    assert len({str(errors) for errors in answers.values()}) == 1
    assert "Wait 15 minutes" in str(answers[team.owner_email])


def test_failures_elsewhere_or_for_somebody_else_do_not_count(team: Team) -> None:
    for _ in range(MAX_FAILURES + 1):
        sign_in(Client(), team.owner_email, "wrong")
    target = {"email": team.owner_email, "password": PASSWORD}
    assert Client(REMOTE_ADDR="192.0.2.7").post(SIGN_IN, target).status_code == 302
    assert sign_in(Client(), make_user().email).status_code == 302


def test_a_right_password_forgives_the_failures_before_it(team: Team) -> None:
    for _ in range(2):
        for _ in range(MAX_FAILURES - 1):
            sign_in(Client(), team.owner_email, "wrong")
        assert sign_in(Client(), team.owner_email).status_code == 302


def test_a_failed_sign_in_is_logged_without_the_e_mail(team: Team, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        answer = sign_in(Client(), team.owner_email, "wrong")
    logged = next(record for record in caplog.records if record.message == "sign-in failed")
    assert logged.__dict__["request_id"] == answer["X-Request-ID"]
    assert (logged.__dict__["address"], logged.__dict__["throttled"]) == ("127.0.0.1", False)
    assert team.owner_email not in str([record.__dict__ for record in caplog.records])


def test_people_sign_in_while_redis_is_away(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = redis.Redis(port=1, retry=Retry(NoBackoff(), 0))
    monkeypatch.setattr(counting, "redis_client", lambda: nowhere)
    assert sign_in(Client(), team.owner_email).status_code == 302


def test_a_refused_sign_in_is_not_in_the_log_as_signed_in(team: Team) -> None:
    client = Client()
    sign_in(client, team.owner_email, "not the password")
    client.get(f"/app/{team.slug}/")
    assert sessions_of(team) == []


@pytest.mark.parametrize(
    "target",
    ["https://evil.example/app/", "//evil.example/app/", "/api/v1/", "javascript:alert(1)", "/app/../x\\"],
)
def test_after_signing_in_nobody_is_sent_elsewhere(team: Team, target: str) -> None:
    answer = sign_in(Client(), team.owner_email, then=target)
    assert answer["Location"].startswith("/app/")
    assert "evil" not in answer["Location"]


def test_after_signing_in_the_page_that_was_asked_for_opens(team: Team) -> None:
    client = Client()
    wanted = f"/app/{team.slug}/log/?outcome=ok"
    asked = client.get(wanted)
    assert asked.status_code == 302
    assert sign_in(client, team.owner_email, then=wanted)["Location"] == wanted


def test_signing_out_needs_a_form_and_ends_the_session(team: Team) -> None:
    client = Client()
    sign_in(client, team.owner_email)
    assert client.get("/app/sign-out").status_code == 405
    assert client.post("/app/sign-out")["Location"] == SIGN_IN
    assert client.get(f"/app/{team.slug}/")["Location"].startswith(SIGN_IN)


def test_signing_in_without_the_forms_token_is_refused_with_a_page(team: Team) -> None:
    answer = Client(enforce_csrf_checks=True).post(SIGN_IN, {"email": team.owner_email, "password": PASSWORD})
    assert answer.status_code == 403
    assert "reload the page" in answer.content.decode()
    assert answer["X-Request-ID"] in answer.content.decode()


def test_a_person_without_a_team_is_told_so() -> None:
    assert "belongs to no team" in signed_in(make_user()).get("/app/").content.decode()


def test_a_part_asked_for_after_the_session_ended_sends_the_whole_page_to_the_sign_in(team: Team) -> None:
    headers = {"HX-Request": "true", "HX-Current-URL": f"http://testserver/app/{team.slug}/log/?outcome=ok"}
    answer = Client().get(f"/app/{team.slug}/overview/stats", headers=headers)
    assert answer.status_code == 200
    assert answer["HX-Redirect"] == f"{SIGN_IN}?{urlencode({'next': f'/app/{team.slug}/log/?outcome=ok'})}"
    assert answer.content == b""
