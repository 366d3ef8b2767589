"""A forgotten password: a mailed link, used once; answers tell nothing about accounts."""

from __future__ import annotations

import logging

import pytest
from django.conf import settings
from django.test import Client

from tenants.models import User
from tenants.services.log import search_records
from tenants.services.mail import LETTERS_TO_ADDRESS, Letter, send
from tests.factories import PASSWORD, Team, make_team
from tests.frontend.visitor import by_password, is_signed_in
from tests.mailbox import letters_to, link_of, lose_mail_server

FORGOTTEN = "/app/password/forgotten"
NEW = "another horse battery"


def link_for(team: Team) -> str:
    Client().post(FORGOTTEN, {"email": team.owner_email})
    return link_of(letters_to(team.owner_email)[-1])


def choose(client: Client, link: str, password: str = NEW) -> int:
    """The status of choosing a password behind a mailed link; 0 where the link works no more."""
    opened = client.get(link)
    if opened.status_code == 200:
        return 0
    answer = client.post(opened["Location"], {"new_password1": password, "new_password2": password})
    return answer.status_code


def test_a_mailed_link_changes_the_password_once_and_signs_out_everywhere(team: Team) -> None:
    here = by_password(team.owner_email)
    assert here.get(f"/app/{team.slug}/").status_code == 200
    link = link_for(team)
    assert choose(Client(), link) == 302
    assert not is_signed_in(here)
    assert User.objects.get(email=team.owner_email).check_password(NEW)
    assert choose(Client(), link, "yet another battery") == 0
    (record,) = search_records(caller=team.owner, kind="password.changed").records
    assert (record.actor, record.arguments) == (team.owner.actor, {"after": {"by": "link"}})


def test_known_and_unknown_addresses_get_the_same_answer(team: Team) -> None:
    unknown = f"nobody-{team.slug}@example.com"
    answers = [Client().post(FORGOTTEN, {"email": email}) for email in (team.owner_email, unknown)]
    assert {(answer.status_code, answer["Location"]) for answer in answers} == {(302, "/app/password/sent")}
    assert len(letters_to(team.owner_email)) == 1
    assert letters_to(unknown) == []


def test_the_link_names_the_configured_base_whatever_host_was_asked(team: Team) -> None:
    Client().post(FORGOTTEN, {"email": team.owner_email}, headers={"Host": "localhost:8000"})
    assert f"{settings.ENV.base_url}/app/password/" in str(letters_to(team.owner_email)[0].body)


def test_a_password_that_django_refuses_is_not_taken(team: Team) -> None:
    assert choose(Client(), link_for(team), "12345678") == 200
    assert User.objects.get(email=team.owner_email).check_password(PASSWORD)


def test_a_link_for_one_account_does_not_open_another(team: Team) -> None:
    uid, token = link_for(team).split("/")[-2:]
    other, _ = link_for(make_team()).split("/")[-2:]
    assert uid != other
    assert choose(Client(), f"/app/password/{other}/{token}") == 0


def test_an_address_gets_few_letters_an_hour_whether_or_not_it_has_an_account(team: Team) -> None:
    for email in (team.owner_email, f"nobody-{team.slug}@example.com"):
        address = f"2001:db8::{abs(hash(email)) % 65535:x}"
        client = Client(REMOTE_ADDR=address)
        for _ in range(LETTERS_TO_ADDRESS):
            assert client.post(FORGOTTEN, {"email": email}).status_code == 302
        answer = client.post(FORGOTTEN, {"email": email})
        assert (answer.status_code, "Wait 60 minutes" in answer.content.decode()) == (429, True)


def test_a_mail_server_that_fails_is_told_to_the_operator_without_the_letter(
    team: Team, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    lose_mail_server(monkeypatch)
    with caplog.at_level(logging.WARNING):
        assert not send(Letter(team.owner_email, "Subject", "https://example.com/secret"))
    assert "EMAIL_URL" in caplog.text
    assert not any(
        word in str([vars(row) for row in caplog.records]) for word in ("secret", team.owner_email)
    )
