"""Second factors: setting one up, signing in with it, what half a sign-in opens, and what guessing comes to."""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Callable, Iterator
from functools import partial
from types import SimpleNamespace

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal import auth as allauth_totp
from django.core.management import CommandError, call_command
from django.db import OperationalError
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from core.crypto import SealError
from tenants.models import User
from tenants.services import factors, sessions
from tenants.services.factors import list_factors, use_code
from tenants.services.log import search_records
from tenants.services.members import add_member
from tests.factories import PASSWORD, Team, make_team
from tests.frontend.authenticator import codes_in, set_up_app, shown_app
from tests.frontend.visitor import by_password, is_signed_in
from tests.mailbox import letters_to, link_of
from tests.together import do_at_once

SIGN_IN = "/app/sign-in"
SECOND = "/app/sign-in/second-step"
ACCOUNT = "/app/account/"


def first_step(team: Team, *, address: str = "192.0.2.1") -> Client:
    """A browser whose person has given the right password."""
    return by_password(team.owner_email, Client(REMOTE_ADDR=address))


def browser_of(team: Team) -> Client:
    """A browser that the owner, without a second factor, signed in with and came to the team with."""
    client = first_step(team)
    assert client.get(f"/app/{team.slug}/").status_code == 200
    return client


def owner(team: Team) -> User:
    return User.objects.get(email=team.owner_email)


def kinds_of(team: Team, kind: str) -> list[tuple[str, str]]:
    return [(each.kind, each.outcome) for each in search_records(caller=team.owner, kind=kind).records]


def test_an_app_is_set_up_by_its_first_code_and_asked_for_after_the_password(team: Team) -> None:
    app, codes = set_up_app(browser_of(team))
    assert len(set(codes)) == 10
    client = first_step(team)
    assert client.get(SECOND).status_code == 200
    assert not is_signed_in(client)
    answer = client.post(SECOND, {"code": app.code(steps=1)})
    assert (answer.status_code, answer["Location"]) == (302, "/app/")
    assert is_signed_in(client)


def test_the_page_that_was_asked_for_opens_after_the_second_step(team: Team) -> None:
    app, _ = set_up_app(browser_of(team))
    client, wanted = Client(), f"/app/{team.slug}/log/?outcome=ok"
    client.post(f"{SIGN_IN}?next={wanted}", {"email": team.owner_email, "password": PASSWORD})
    assert client.post(SECOND, {"code": app.code(steps=1)})["Location"] == wanted


def test_the_second_step_gives_the_session_another_key(team: Team) -> None:
    app, _ = set_up_app(browser_of(team))
    client = first_step(team)
    before = client.session.session_key
    client.post(SECOND, {"code": app.code(steps=1)})
    assert client.session.session_key not in {None, before}


def test_a_code_is_taken_once_and_no_older_one_after_it(team: Team) -> None:
    app, _ = set_up_app(browser_of(team))
    code, older = app.code(steps=1), app.code()
    assert first_step(team).post(SECOND, {"code": code}).status_code == 302
    for used in (code, older):
        refused = first_step(team).post(SECOND, {"code": used})
        assert (refused.status_code, "was used already" in refused.content.decode()) == (400, True)


def test_the_code_that_set_the_app_up_signs_nobody_in(team: Team) -> None:
    client = browser_of(team)
    code = shown_app(client).code()
    client.post("/app/account/authenticator", {"code": code})
    assert first_step(team).post(SECOND, {"code": code}).status_code == 400


@pytest.mark.parametrize(("steps", "taken"), [(-2, False), (-1, True), (0, True), (1, True), (2, False)])
def test_a_clock_half_a_minute_off_is_forgiven_and_not_more(
    team: Team, monkeypatch: pytest.MonkeyPatch, steps: int, taken: bool
) -> None:
    app, _ = set_up_app(browser_of(team))
    row = Authenticator.objects.get(user=owner(team), type="totp")
    row.data["step"] = 0
    row.save()
    now = time.time()
    code = app.code(steps=steps)
    monkeypatch.setattr(allauth_totp, "time", SimpleNamespace(time=lambda: now))
    assert (first_step(team).post(SECOND, {"code": code}).status_code == 302) is taken


def test_a_recovery_code_lets_in_once(team: Team) -> None:
    _, codes = set_up_app(browser_of(team))
    client = first_step(team)
    assert client.post(SECOND, {"code": f" {codes[3][:4]}-{codes[3][4:]} "}).status_code == 302
    assert "9 are left" in client.get(ACCOUNT).content.decode()
    assert first_step(team).post(SECOND, {"code": codes[3]}).status_code == 400
    assert first_step(team).post(SECOND, {"code": codes[4]}).status_code == 302
    assert list_factors(owner(team).pk).codes_left == 8


def test_new_recovery_codes_end_the_old_ones_and_are_shown_once(team: Team) -> None:
    client = browser_of(team)
    _, old = set_up_app(client)
    new = codes_in(client.post("/app/account/recovery-codes").content.decode())
    assert len(new) == 10
    assert not set(new) & set(old)
    assert not codes_in(client.get(ACCOUNT).content.decode())
    assert use_code(owner(team), old[0]) is None
    assert use_code(owner(team), new[0]) == "recovery_codes"


def routes(patterns: list[URLPattern | URLResolver], before: str = "") -> Iterator[str]:
    """Every address that Django serves, with something in place of what varies."""
    for entry in patterns:
        path = before + str(entry.pattern)
        if isinstance(entry, URLResolver):
            yield from routes(entry.url_patterns, path)
            continue
        path = re.sub(r"<uuid:\w+>", "00000000-0000-0000-0000-000000000001", path)
        path = re.sub(r"<int:\w+>", "1", path)
        yield "/" + re.sub(r"<[^>]+>", "TEAM", path)


def test_half_a_sign_in_opens_no_page_at_all(team: Team) -> None:
    set_up_app(browser_of(team))
    half, stranger = first_step(team), Client(REMOTE_ADDR="192.0.2.1")
    own = {SECOND, "/app/sign-in/second-step/passkey", "/app/sign-out"}
    asked = 0
    for route in routes(get_resolver().url_patterns):
        path = route.replace("TEAM", team.slug).replace("^", "").replace("$", "")
        if path in own or "(?P" in path:
            continue
        for method in (half.get, half.post):
            answer = method(path)
            other = getattr(stranger, method.__name__)(path)
            assert answer.status_code == other.status_code, path
            assert answer.get("Location") == other.get("Location"), path
            asked += 1
    assert asked > 300
    # None of them made it a whole one either.
    assert not is_signed_in(half)
    assert half.get(SECOND).status_code == 200


def test_half_a_sign_in_over_a_session_ends_that_session(team: Team) -> None:
    app, _ = set_up_app(browser_of(team))
    client = first_step(team)
    client.post(SECOND, {"code": app.code(steps=1)})
    client.post(SIGN_IN, {"email": team.owner_email, "password": PASSWORD})
    assert not is_signed_in(client)


def test_half_a_sign_in_lasts_ten_minutes_and_no_longer_than_the_password(team: Team) -> None:
    app, _ = set_up_app(browser_of(team))
    late, changed = first_step(team), first_step(team)
    session = late.session
    session["half_signed_in"] = {**session["half_signed_in"], "at": 0}
    session.save()
    assert late.post(SECOND, {"code": app.code(steps=1)})["Location"] == SIGN_IN
    person = owner(team)
    person.set_password("another horse battery")
    person.save()
    assert changed.post(SECOND, {"code": app.code(steps=1)})["Location"] == SIGN_IN
    assert not is_signed_in(changed)


def test_wrong_codes_count_as_failed_sign_ins_and_a_right_password_between_forgives_nothing(
    team: Team,
) -> None:
    app, _ = set_up_app(browser_of(team))
    for _ in range(sessions.MAX_FAILURES // 2):
        assert first_step(team).post(SECOND, {"code": app.wrong()}).status_code == 400
    client = Client(REMOTE_ADDR="192.0.2.1")
    answer = client.post(SIGN_IN, {"email": team.owner_email, "password": PASSWORD})
    assert answer.status_code == 429


def test_ten_wrong_codes_end_the_trying_from_wherever_also_at_once_and_with_a_right_one(team: Team) -> None:
    app, codes = set_up_app(browser_of(team))
    browsers = [first_step(team, address=f"198.51.100.{number}") for number in range(12)]
    answers = [client.post(SECOND, {"code": app.wrong()}).status_code for client in browsers]
    assert answers == [400] * 10 + [429] * 2
    for code in (app.code(steps=1), codes[0]):
        refused = first_step(team, address="203.0.113.9").post(SECOND, {"code": code})
        assert refused.status_code == 429
        assert 0 < int(refused["Retry-After"]) <= factors.LIMITS[0][0]


def test_no_day_has_more_than_fifty_wrong_codes(team: Team) -> None:
    set_up_app(browser_of(team))
    row = Authenticator.objects.get(user=owner(team), type="recovery_codes")
    row.data["wrong"] = [time.time() - 3600] * 50
    row.save()
    refused = first_step(team).post(SECOND, {"code": "123456"})
    assert (refused.status_code, int(refused["Retry-After"]) > 80_000) == (429, True)


def test_each_failed_second_step_is_in_the_log_of_teams_that_its_person_has_come_to_and_of_no_other(
    team: Team, caplog: pytest.LogCaptureFixture
) -> None:
    elsewhere = make_team()
    add_member(team.owner_email, "viewer", caller=elsewhere.owner)
    app, codes = set_up_app(browser_of(team))
    wrong = app.wrong()
    with caplog.at_level(logging.WARNING):
        answer = first_step(team).post(SECOND, {"code": wrong})
    (record,) = search_records(caller=team.owner, kind="session.second_step").records
    assert (record.outcome, record.actor) == ("refused", f"user:{team.owner_email}")
    assert record.request_id == answer["X-Request-ID"]
    assert kinds_of(team, "factor.added") == [("factor.added", "ok")]
    for kind in ("session.second_step", "factor.added"):
        assert kinds_of(elsewhere, kind) == []
    # Times and numbers of threads may have six digits alike by chance.
    told = str(
        [
            value
            for each in caplog.records
            for value in vars(each).values()
            if not isinstance(value, int | float)
        ]
    )
    assert not any(secret in told for secret in (wrong, app.secret, codes[0], team.owner_email))


def test_secrets_are_sealed_at_rest_each_for_its_person(team: Team) -> None:
    client = browser_of(team)
    app, codes = set_up_app(client)
    rows = list(Authenticator.objects.filter(user=owner(team)))
    assert not any(secret in str([row.data for row in rows]) for secret in (app.secret, *codes))
    other = make_team()
    app_row = next(row for row in rows if row.type == "totp")
    Authenticator.objects.create(user=owner(other), type="totp", data=app_row.data)
    with pytest.raises(SealError):
        use_code(owner(other), app.code(steps=1))


def test_a_secret_that_waits_in_a_session_is_sealed_too(team: Team) -> None:
    client = browser_of(team)
    app = shown_app(client)
    assert app.secret not in str(dict(client.session))
    # It stays the same while its person fumbles with the app.
    assert client.post("/app/account/authenticator", {"code": app.wrong()}).status_code == 400
    assert client.post("/app/account/authenticator", {"code": app.code()}).status_code == 200


def test_adding_and_removing_a_factor_ends_every_other_session_and_tells_its_person(team: Team) -> None:
    other, here = browser_of(team), browser_of(team)
    before = here.session.session_key
    app, _ = set_up_app(here)
    assert (is_signed_in(other), is_signed_in(here)) == (False, True)
    assert here.session.session_key != before
    other = first_step(team)
    other.post(SECOND, {"code": app.code(steps=1)})
    assert is_signed_in(other)
    here.post("/app/account/authenticator/remove")
    assert (is_signed_in(other), is_signed_in(here)) == (False, True)
    assert not Authenticator.objects.filter(user=owner(team)).exists()
    assert is_signed_in(first_step(team))
    assert [kind for kind, _ in kinds_of(team, "factor.removed")] == ["factor.removed"]


PAGES = (
    ("get", "/app/account/authenticator"),
    ("get", "/app/account/passkeys/new"),
    ("post", "/app/account/authenticator"),
    ("post", "/app/account/authenticator/remove"),
    ("post", "/app/account/recovery-codes"),
    ("post", "/app/account/passkeys/new"),
    ("post", "/app/account/passkeys/begin"),
    ("post", "/app/account/passkeys/1/remove"),
)


def test_a_browser_that_opened_no_page_since_it_was_signed_in_is_signed_out_too(team: Team) -> None:
    waiting = first_step(team)
    set_up_app(browser_of(team))
    assert not is_signed_in(waiting)


def test_no_sign_in_that_is_under_way_outlasts_the_first_factor() -> None:
    for _ in range(4):
        one = make_team()
        setting_up, others = browser_of(one), [Client(REMOTE_ADDR=f"192.0.2.{n}") for n in range(10, 16)]
        app = shown_app(setting_up)
        pair = {"email": one.owner_email, "password": PASSWORD}
        acts: list[Callable[[], object]] = [
            partial(setting_up.post, "/app/account/authenticator", {"code": app.code()}),
            *(partial(other.post, SIGN_IN, pair) for other in others),
        ]
        do_at_once(acts)
        assert list_factors(owner(one).pk).totp is not None
        assert not [other for other in others if is_signed_in(other)]


def test_a_change_that_cannot_sign_the_other_browsers_out_is_not_made(
    team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = browser_of(team)
    app = shown_app(client)
    letters = len(letters_to(team.owner_email))

    def fail(*_: object, **__: object) -> int:
        raise OperationalError("the connection went away")

    monkeypatch.setattr(factors, "end_sign_ins", fail)
    with pytest.raises(OperationalError):
        client.post("/app/account/authenticator", {"code": app.code()})
    assert not Authenticator.objects.filter(user=owner(team)).exists()
    assert kinds_of(team, "factor.added") == []
    assert len(letters_to(team.owner_email)) == letters


def grow_old(client: Client) -> None:
    """Let the proof of who is there be an hour old."""
    session = client.session
    session["proven"] -= 3600
    session.save()


def test_nothing_changes_without_a_fresh_proof_of_who_is_there(team: Team) -> None:
    client = browser_of(team)
    set_up_app(client)
    grow_old(client)
    for method, path in PAGES:
        answer = getattr(client, method)(path)
        assert answer["Location"].startswith("/app/account/confirm?next="), path
    assert list_factors(owner(team).pk).totp is not None


CONFIRM = "/app/account/confirm"


def test_the_password_is_proof_of_who_has_no_factor_and_what_is_wrong_counts_as_a_failed_sign_in(
    team: Team,
) -> None:
    client = browser_of(team)
    page = "/app/account/passkeys/new"
    grow_old(client)
    assert client.post(CONFIRM, {"code": "123456"}).status_code == 400
    assert client.post(CONFIRM, {"password": PASSWORD, "next": page})["Location"] == page
    for _ in range(sessions.MAX_FAILURES):
        assert client.post(CONFIRM, {"password": "wrong"}).status_code == 400
    assert client.post(CONFIRM, {"password": PASSWORD}).status_code == 429


def test_a_cookie_and_the_password_do_not_take_a_second_factor_off(team: Team) -> None:
    client = browser_of(team)
    app, codes = set_up_app(client)
    grow_old(client)
    page = client.get(CONFIRM).content.decode()
    assert ('name="password"' in page, 'name="code"' in page) == (False, True)
    for proof in ({"password": PASSWORD}, {"password": PASSWORD, "code": app.wrong()}):
        assert client.post(CONFIRM, proof).status_code == 400
        assert client.post("/app/account/authenticator/remove")["Location"].startswith(CONFIRM)
    assert list_factors(owner(team).pk).totp is not None
    for proof in ({"code": app.code(steps=1)}, {"code": codes[0]}):
        grow_old(client)
        assert client.post(CONFIRM, proof)["Location"] == ACCOUNT
    client.post("/app/account/authenticator/remove")
    assert list_factors(owner(team).pk).totp is None


def test_wrong_codes_in_place_of_a_proof_count_as_failed_sign_ins(team: Team) -> None:
    client = browser_of(team)
    app, codes = set_up_app(client)
    for _ in range(sessions.MAX_FAILURES):
        assert client.post(CONFIRM, {"code": app.wrong()}).status_code == 400
    assert client.post(CONFIRM, {"code": codes[0]}).status_code == 429


@pytest.mark.parametrize("target", ["//evil.example", "https://evil.example/app/account/", "/app/sign-out"])
def test_a_proof_leads_nowhere_else(team: Team, target: str) -> None:
    client = browser_of(team)
    answer = client.post("/app/account/confirm", {"password": PASSWORD, "next": target})
    assert answer["Location"] == ACCOUNT


def test_a_password_chosen_anew_by_mail_leaves_the_second_factor_on(team: Team) -> None:
    app, _ = set_up_app(browser_of(team))
    Client().post("/app/password/forgotten", {"email": team.owner_email})
    link = link_of(letters_to(team.owner_email)[-1])
    client = Client()
    page = client.get(link, follow=True)
    new = "another horse battery"
    client.post(page.redirect_chain[-1][0], {"new_password1": new, "new_password2": new})
    assert not is_signed_in(client)
    client.post(SIGN_IN, {"email": team.owner_email, "password": new})
    assert not is_signed_in(client)
    assert client.post(SECOND, {"code": app.code(steps=1)}).status_code == 302


def test_consent_and_the_operators_pages_are_behind_the_second_step_too(team: Team) -> None:
    person = owner(team)
    person.is_staff = True
    person.save()
    app, _ = set_up_app(browser_of(team))
    client = Client()
    for page in (f"/oauth/{team.slug}/authorize?client_id=x", "/operator/"):
        client = first_step(team)
        assert client.get(page, follow=True).redirect_chain[-1][0].startswith(SIGN_IN)
    client.post(SECOND, {"code": app.code(steps=1)})
    assert client.get("/operator/").status_code == 200


@pytest.mark.parametrize("code", ["", " ", "x" * 41, "\u0660" * 6, "12345", "\0", "123 456"])
def test_what_is_no_code_is_refused(team: Team, code: str) -> None:
    set_up_app(browser_of(team))
    assert first_step(team).post(SECOND, {"code": code}).status_code == 400


def test_nobody_has_two_apps_and_who_has_none_gets_no_codes(team: Team) -> None:
    client = browser_of(team)
    client.post("/app/account/recovery-codes")
    assert not Authenticator.objects.filter(user=owner(team)).exists()
    set_up_app(client)
    assert client.get("/app/account/authenticator")["Location"] == ACCOUNT


def test_no_letter_says_more_than_that_something_changed(team: Team) -> None:
    app, codes = set_up_app(browser_of(team))
    text = str([letter.body for letter in letters_to(team.owner_email)])
    assert "authenticator app was added" in text
    assert not any(secret in text for secret in (app.secret, *codes))


def test_the_operator_lets_in_again_who_lost_them_all(team: Team) -> None:
    client = browser_of(team)
    set_up_app(client)
    call_command("remove_second_factors", team.owner_email)
    assert not is_signed_in(client)
    assert is_signed_in(first_step(team))
    (record,) = search_records(caller=team.owner, kind="factor.removed").records
    assert '"by":"operator"' in json.dumps(record.arguments, separators=(",", ":"))
    with pytest.raises(CommandError, match="There is no account"):
        call_command("remove_second_factors", "nobody@example.com")


def test_codes_tried_at_once_take_turns(team: Team) -> None:
    _, codes = set_up_app(browser_of(team))
    used = do_at_once([partial(use_code, owner(team), codes[0])] * 8)
    assert used.count("recovery_codes") == 1
    assert used.count(None) == 7
