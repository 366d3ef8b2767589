"""Every error of the REST API is a problem document that names the cause, and no more than that."""

from __future__ import annotations

import json
import logging

import psycopg
import pytest
from django.db import OperationalError
from django.utils import timezone

from core.requestid import serving_request
from tenants.api.problems import problem_response
from tenants.models import ApiKey
from tenants.roles import Role
from tenants.scoping import tenant_scope
from tests.factories import Team, email_of, make_team
from tests.rest import API, Rest


@pytest.fixture
def team() -> Team:
    return make_team()


def test_a_path_that_leads_nowhere_is_a_404_problem() -> None:
    answer = Rest().get("/nothing/here")
    assert (answer.status, answer.body["code"]) == (404, "not_found")


def test_a_method_that_does_not_exist_is_a_405_that_lists_those_that_do(team: Team) -> None:
    answer = Rest.admin(team).call("put", f"/tenants/{team.slug}", {})
    assert answer.status == 405
    assert "PATCH" in answer.headers["Allow"]


def test_a_body_that_is_no_json_type_is_a_415(team: Team) -> None:
    rest = Rest.admin(team)
    response = rest.client.post(
        f"{API}/tenants/{team.slug}/members", "email=x", content_type="text/plain", headers=rest.headers
    )
    assert (response.status_code, response.json()["code"]) == (415, "unsupported_media_type")


@pytest.mark.parametrize(
    ("body", "cause"),
    [
        (b'{"email": ', "line 1"),
        (b'{"email": "a@example.com", "email": "b@example.com", "role": "viewer"}', "twice"),
        (b'{"email": NaN}', "NaN"),
        (b'{"email": "\xff"}', "UTF-8"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"email": ' + b"9" * 5_000 + b"}", "number"),
        (b'{"email": 18446744073709551616}', "64 bits"),
        (b'{"email": "\\ud800"}', "surrogate"),
        (b'{"email": "\\u0000"}', "NUL"),
    ],
)
def test_a_malformed_body_is_a_400_that_says_what_is_wrong(team: Team, body: bytes, cause: str) -> None:
    rest = Rest.admin(team)
    response = rest.client.post(
        f"{API}/tenants/{team.slug}/members", body, content_type="application/json", headers=rest.headers
    )
    problem = response.json()
    assert (response.status_code, problem["code"]) == (400, "malformed_json")
    assert cause in problem["detail"]


def test_a_body_over_the_limit_is_a_413(team: Team) -> None:
    answer = Rest.admin(team).post(
        f"/tenants/{team.slug}/members", {"email": "x" * 5_000_000, "role": "viewer"}
    )
    assert (answer.status, answer.body["code"]) == (413, "too_large")


def test_a_body_of_unknown_length_is_a_411_instead_of_being_taken_for_empty(team: Team) -> None:
    answer = Rest.admin(team).call(
        "post", f"/tenants/{team.slug}/members", {}, **{"Transfer-Encoding": "chunked"}
    )
    assert answer.status == 411


def test_an_unknown_field_is_named_and_not_ignored(team: Team) -> None:
    answer = Rest.admin(team).post(
        f"/tenants/{team.slug}/members", {"email": "a@example.com", "role": "viewer", "rolle": "owner"}
    )
    assert answer.status == 400
    assert answer.paths == {"rolle"}
    assert "email, role" in answer.body["errors"][0]["message"]


def test_a_body_that_is_no_object_is_refused(team: Team) -> None:
    assert Rest.admin(team).post(f"/tenants/{team.slug}/members", [1]).status == 400


def test_nobody_gets_a_401_with_a_challenge(team: Team) -> None:
    answer = Rest().get(f"/tenants/{team.slug}")
    assert answer.status == 401
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="marina"'


@pytest.mark.parametrize(
    ("key", "code"),
    [
        ("abc", "key_malformed"),
        ("mcp_live_aaaaaaaaaa_" + "b" * 43, "key_unknown"),
        ("mcp_live_\N{SNOWMAN}", "key_malformed"),
    ],
)
def test_a_key_that_opens_nothing_gets_a_401(team: Team, key: str, code: str) -> None:
    rest = Rest()
    response = rest.client.get(f"{API}/tenants/{team.slug}", headers={"Authorization": f"Bearer {key}"})
    assert (response.status_code, response.json()["code"]) == (401, code)
    challenge = response["WWW-Authenticate"]
    assert challenge.startswith('Bearer realm="marina", error="invalid_token", error_description="This')
    assert '"' not in challenge.partition('error_description="')[2].removesuffix('"')


def test_a_key_that_lacks_a_scope_is_told_which_one_in_the_challenge(team: Team) -> None:
    answer = Rest(team.key("tools:read")).get(f"/tenants/{team.slug}/members")
    assert (answer.status, answer.body["code"]) == (403, "insufficient_scope")
    challenge = answer.headers["WWW-Authenticate"]
    assert 'error="insufficient_scope"' in challenge
    assert challenge.endswith('scope="admin"')


def test_a_person_whose_role_does_not_do_is_not_asked_for_a_key(team: Team) -> None:
    email = email_of(team.member(Role.VIEWER))
    answer = Rest(email=email).get(f"/tenants/{team.slug}/members")
    assert (answer.status, answer.body["code"]) == (403, "role_missing")
    assert "WWW-Authenticate" not in answer.headers


def test_an_expired_and_a_revoked_key_get_401s_that_say_so(team: Team) -> None:
    expired, revoked = team.key("admin", name="expired"), team.key("admin", name="revoked")
    with tenant_scope(team.tenant_id):
        ApiKey.objects.filter(name="expired").update(expires_at=timezone.now())
        ApiKey.objects.filter(name="revoked").update(revoked_at=timezone.now())
    assert Rest(expired).get("/tenants").body["code"] == "key_expired"
    assert Rest(revoked).get("/tenants").body["code"] == "key_revoked"


def test_a_revoked_key_is_an_unknown_one_to_another_team(team: Team) -> None:
    revoked = team.key("admin", name="revoked")
    with tenant_scope(team.tenant_id):
        ApiKey.objects.filter(name="revoked").update(revoked_at=timezone.now())
    assert Rest(revoked).get(f"/tenants/{make_team().slug}").body["code"] == "key_unknown"
    assert Rest(revoked).get(f"/tenants/{team.slug}").body["code"] == "key_revoked"


@pytest.mark.parametrize("slug", ["no-such-team", "UPPER", "a%00b", "x" * 300, "%20"])
def test_a_person_gets_one_answer_for_every_team_that_is_not_theirs(team: Team, slug: str) -> None:
    rest = Rest(email=team.owner_email)
    foreign, other = rest.get(f"/tenants/{make_team().slug}"), rest.get(f"/tenants/{slug}")
    assert foreign.status == 404
    assert {**foreign.body, "request_id": ""} == {**other.body, "request_id": ""}


def test_a_session_without_a_csrf_token_changes_nothing(team: Team) -> None:
    rest = Rest(email=team.owner_email, csrf=True)
    answer = rest.patch(f"/tenants/{team.slug}", {"name": "Forged"})
    assert (answer.status, answer.body["code"]) == (403, "csrf_failed")
    assert rest.get(f"/tenants/{team.slug}").body["name"] == "Team"


def test_an_unexpected_exception_says_nothing_of_itself_and_is_logged_with_the_request_id(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with serving_request("request-1"), caplog.at_level(logging.ERROR):
        response = problem_response(RuntimeError("postgres://user:secret@host"), {})
    assert response.status_code == 500
    assert "secret" not in json.dumps(response.data)
    record = caplog.records[-1]
    assert record.__dict__["request_id"] == "request-1"
    assert "secret" not in caplog.text + str(record.__dict__)


@pytest.mark.parametrize("fault", [OperationalError, psycopg.errors.AdminShutdown])
def test_a_database_that_does_not_answer_is_a_503_to_be_tried_again(fault: type[Exception]) -> None:
    response = problem_response(fault("connection refused: password=secret"), {})
    assert response.status_code == 503
    assert response.headers["Retry-After"]
    assert "secret" not in str(response.data)
