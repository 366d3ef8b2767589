"""The issuer's addresses as browsers and programs see them."""

from __future__ import annotations

import base64
import re
from typing import Any
from urllib.parse import urlencode

import pytest
from django.conf import settings
from django.test import Client

from frontend.begun import MOST
from frontend.oauth.tokens import introspection_secret
from tenants.models import AuditRecord, OAuthAccessToken, OAuthAuthorization
from tenants.oauth_addresses import issuer, resource
from tenants.roles import Role
from tenants.scoping import tenant_scope
from tests.factories import PASSWORD, Team, make_team, make_user
from tests.frontend.visitor import client_of
from tests.oauth.asking import begin, decide, form, number_of, parameters_of, query_of
from tests.oauth.flows import REDIRECT, App, make_app, make_service

BASE = settings.ENV.base_url


def test_metadata_names_the_base_url_whatever_host_was_asked(team: Team) -> None:
    path = f"/.well-known/oauth-authorization-server/oauth/{team.slug}"
    found = Client().get(path, headers={"Host": "localhost:8000"}).json()
    assert found["issuer"] == issuer(team.slug) == f"{BASE}/oauth/{team.slug}"
    assert found["code_challenge_methods_supported"] == ["S256"]
    assert found["response_types_supported"] == ["code"]
    assert found["authorization_response_iss_parameter_supported"] is True
    assert all(
        value.startswith(f"{BASE}/oauth/{team.slug}/")
        for name, value in found.items()
        if name.endswith("_endpoint")
    )


def test_resource_metadata_names_the_url_and_its_issuer(team: Team) -> None:
    for tail in ("", "/default", "/reports"):
        found = Client().get(f"/.well-known/oauth-protected-resource/mcp/{team.slug}{tail}").json()
        assert found["resource"] == f"{BASE}/mcp/{team.slug}{tail}"
        assert found["authorization_servers"] == [issuer(team.slug)]
        assert found["bearer_methods_supported"] == ["header"]


@pytest.mark.parametrize(
    "path",
    [
        "/.well-known/oauth-authorization-server/oauth/no-such-team",
        "/.well-known/oauth-authorization-server/oauth/No%00Team",
        "/.well-known/oauth-protected-resource/mcp/no-such-team",
        "/.well-known/oauth-protected-resource/mcp/no-such-team/default",
        "/.well-known/oauth-authorization-server",
        "/oauth/no-such-team/token",
    ],
)
def test_unknown_teams_have_no_issuer(path: str) -> None:
    assert Client().get(path).status_code == 404


def test_reserved_names_are_no_servers(team: Team) -> None:
    path = f"/.well-known/oauth-protected-resource/mcp/{team.slug}"
    assert Client().get(f"{path}/ws").status_code == 404
    assert Client().get(f"{path}/UPPER").status_code == 404


def test_member_sees_who_asks_for_what_and_where_it_leads(team: Team, app: App) -> None:
    page = begin(client_of(team), app)
    text = page.content.decode()
    assert page.status_code == 200
    for words in (
        "Test app",
        "Team",
        "127.0.0.1:7777",
        "on this computer",
        "Call the server&#x27;s tools",
        "nobody has checked",
    ):
        assert words in text, words
    assert page["X-Frame-Options"] == "DENY"
    policy = page["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in policy
    assert "form-action 'self' http://127.0.0.1:7777;" in policy


def test_agreeing_leads_back_with_code_state_and_issuer(team: Team, app: App) -> None:
    browser = client_of(team)
    found = query_of(decide(browser, app, number_of(begin(browser, app)), "allow", "tools:read"))
    assert (found["state"], found["iss"]) == ("the state", issuer(team.slug))
    answer = form(team, "token", app.redemption(found["code"]))
    assert answer.status_code == 200
    assert answer.json()["scope"] == "tools:read"
    assert answer["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("cursor://anysphere.cursor-mcp/oauth/callback", "cursor://anysphere.cursor-mcp"),
        ("com.example.app:/oauth/callback", "com.example.app:"),
    ],
)
def test_program_with_a_scheme_of_its_own_gets_its_code(team: Team, uri: str, shown: str) -> None:
    app, browser = make_app(team, redirect_uris=uri), client_of(team)
    page = begin(browser, app, redirect_uri=uri)
    assert f"<code>{shown}</code>" in page.content.decode()
    assert "on this computer" in page.content.decode()
    assert f"form-action 'self' {shown.partition(':')[0]}:;" in page["Content-Security-Policy"]
    answer = decide(browser, app, number_of(page))
    assert (answer.status_code, answer["Location"].partition("?")[0]) == (303, uri)
    code = parameters_of(answer["Location"])["code"]
    assert app.exchange(code, redirect_uri=uri).status == 200
    assert app.exchange(code, redirect_uri=f"{uri}/x").status == 400


def test_refusing_leads_back_with_access_denied_and_issuer(team: Team, app: App) -> None:
    browser = client_of(team)
    found = query_of(decide(browser, app, number_of(begin(browser, app)), "deny"))
    assert (found["error"], found["iss"], found["state"]) == (
        "access_denied",
        issuer(team.slug),
        "the state",
    )
    with tenant_scope(team.tenant_id):
        assert not OAuthAuthorization.objects.exists()


def test_nothing_ticked_asks_again(team: Team, app: App) -> None:
    browser = client_of(team)
    number = number_of(begin(browser, app))
    page = decide(browser, app, number, "allow", "prompts:read")
    assert page.status_code == 400
    assert "at least one" in page.content.decode()
    assert query_of(decide(browser, app, number, "allow", "tools:read"))["code"]


def test_consent_counts_in_the_browser_that_began_it_and_once(team: Team, app: App) -> None:
    browser, other = client_of(team), client_of(team)
    number = number_of(begin(browser, app))
    stolen = decide(other, app, number)
    assert stolen.status_code == 400
    assert "Location" not in stolen
    assert query_of(decide(browser, app, number))["code"]
    assert decide(browser, app, number).status_code == 400


def test_consent_needs_the_forms_own_token(team: Team, app: App) -> None:
    browser = client_of(team)
    number = number_of(begin(browser, app))
    browser.handler.enforce_csrf_checks = True
    assert decide(browser, app, number).status_code == 403


def test_requests_that_wait_are_few(team: Team, app: App) -> None:
    browser = client_of(team)
    first = number_of(begin(browser, app))
    for _ in range(MOST):
        begin(browser, app)
    assert decide(browser, app, first).status_code == 400


def test_outsider_and_unknown_team_get_the_same_page(team: Team, app: App) -> None:
    outsider = client_of(make_team())
    here = begin(outsider, app)
    nowhere = outsider.get("/oauth/no-such-team/authorize", app.request())
    assert here.status_code == nowhere.status_code == 404
    strip = re.compile(r'<code id="request-id">.*?</code>')
    assert strip.sub("", here.content.decode()) == strip.sub("", nowhere.content.decode())


def test_who_is_not_signed_in_signs_in_and_comes_back(team: Team, app: App) -> None:
    browser = Client()
    sent = begin(browser, app)
    assert sent.status_code == 302
    assert sent["Location"].startswith("/app/sign-in?next=%2Foauth%2F")
    back = browser.post(sent["Location"], {"email": team.owner_email, "password": PASSWORD})
    assert browser.get(back["Location"]).status_code == 200


def test_rights_beyond_the_role_are_not_handed_on(team: Team, app: App) -> None:
    auditor = client_of(team, Role.AUDITOR)
    assert query_of(begin(auditor, app))["error"] in {"invalid_scope", "invalid_target"}


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"resource": ""}, "invalid_target"),
        ({"resource": f"{BASE}/mcp/elsewhere"}, "invalid_target"),
        ({"resource": f"{BASE}/mcp"}, "invalid_target"),
        ({"resource": "{own}/"}, "invalid_target"),
        ({"resource": "{own}/no-such-server"}, "invalid_target"),
        ({"resource": "{own}?x=1"}, "invalid_target"),
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"response_type": "code token"}, "unauthorized_client"),
        ({"response_type": ""}, "invalid_request"),
        ({"code_challenge": ""}, "invalid_request"),
        ({"code_challenge": "short"}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge_method": ""}, "invalid_request"),
        ({"scope": "tools:read admin"}, "invalid_scope"),
        ({"scope": "nonsense"}, "invalid_scope"),
        ({"scope": "tool:echo"}, "invalid_scope"),
        ({"response_mode": "fragment"}, "unsupported_response_type"),
        ({"request": "eyJ"}, "request_not_supported"),
    ],
)
def test_unsound_request_goes_back_with_its_error_and_the_issuer(
    team: Team, app: App, changes: dict[str, str], error: str
) -> None:
    given = {name: value.replace("{own}", resource(team.slug)) for name, value in changes.items()}
    found = query_of(begin(client_of(team), app, **given))
    assert (found["error"], found["iss"], found["state"]) == (error, issuer(team.slug), "the state")
    # A code alone helps no developer, and no member before whom it stands.
    assert found["error_description"].endswith(".")


def test_two_resources_are_refused(team: Team, app: App) -> None:
    asked = [*app.request().items(), ("resource", resource(team.slug))]
    found = query_of(client_of(team).get(f"/oauth/{team.slug}/authorize?{urlencode(asked)}"))
    assert found["error"] == "invalid_target"


@pytest.mark.parametrize(
    "changes",
    [
        {"client_id": "unknown"},
        {"client_id": ""},
        {"client_id": "a\x00b"},
        {"redirect_uri": "https://evil.example/callback"},
        {"redirect_uri": "http://127.0.0.1:7777/callback/../x"},
        {"redirect_uri": "javascript:alert(1)"},
        {"redirect_uri": f"{REDIRECT}#fragment"},
        {"redirect_uri": "http://evil@127.0.0.1:7777/callback"},
        {"scope": "x" * 8000},
    ],
)
def test_who_is_not_to_be_trusted_is_sent_nowhere(team: Team, app: App, changes: dict[str, str]) -> None:
    response = begin(client_of(team), app, **changes)
    assert response.status_code == 400
    assert "Location" not in response
    text = response.content.decode()
    assert "evil" not in text
    assert ("This request ends here" in text, "Invalid input" in text) == (True, False)
    assert re.search(r"Begin again|Open the whole|longer than|control character", text)


def test_another_teams_client_is_unknown(team: Team) -> None:
    foreign = make_app(make_team())
    response = client_of(team).get(
        f"/oauth/{team.slug}/authorize", foreign.request(resource=resource(team.slug))
    )
    assert response.status_code == 400


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("", 400),
        ("grant_type=refresh_token&grant_type=refresh_token", 400),
        ("grant_type=%00", 400),
        ("grant_type=authorization_code&client_id=%00&code=a&resource={own}", 400),
        ("grant_type=refresh_token&client_id=a%00b&resource={own}&refresh_token=%00", 400),
        ("%ff=%ff", 400),
        ("a" * 100_000, 413),
        ("scope=" + "x" * 60_000, 400),
        ("&".join(f"a{n}=1" for n in range(200)), 400),
        ("grant_type=password&username=a&password=b&resource={own}", 400),
        ("grant_type=client_credentials&client_id=nobody&client_secret=x&resource={own}", 401),
        ("grant_type=urn:ietf:params:oauth:grant-type:device_code&resource={own}", 400),
    ],
)
def test_bad_bodies_get_the_protocols_errors(team: Team, body: str, status: int) -> None:
    for endpoint in ("token", "revoke"):
        answer = form(team, endpoint, body.replace("{own}", resource(team.slug)))
        assert answer.status_code < 500
        assert answer.json()["error"]
        if endpoint == "token":
            assert answer.status_code == status


def test_tokens_are_not_asked_for_in_the_query(team: Team, app: App) -> None:
    answer = Client().post(
        f"/oauth/{team.slug}/token?grant_type=refresh_token",
        "x=1",
        content_type="application/x-www-form-urlencoded",
    )
    assert answer.json()["error"] == "invalid_request"
    assert Client().get(f"/oauth/{team.slug}/token").status_code == 405


def test_basic_authentication_of_a_service(team: Team) -> None:
    service = make_service(team)
    asked = {"grant_type": "client_credentials", "resource": resource(team.slug)}

    def ask(name: str, secret: str) -> Any:
        basic = base64.b64encode(f"{name}:{secret}".encode()).decode()
        return form(team, "token", asked, Authorization=f"Basic {basic}")

    assert ask(service.row.client_id, service.secret).status_code == 200
    for name, secret in (
        (service.row.client_id, "wrong"),
        (service.row.client_id, ""),
        ("a\x00b", "x"),
        ("", ""),
    ):
        refused = ask(name, secret)
        assert (refused.status_code, refused.json()["error"]) == (401, "invalid_client")
    broken = form(team, "token", asked, Authorization="Basic ***")
    assert broken.status_code == 401


def test_introspection_is_for_our_own_resource_server(team: Team, app: App) -> None:
    token = app.tokens()["access_token"]
    own = form(
        team, "introspect", {"token": token}, Authorization=f"Bearer {introspection_secret(team.slug)}"
    )
    assert own.json()["active"] is True
    other = introspection_secret(make_team().slug)
    for authorization in ("", f"Bearer {other}", f"Bearer {token}", f"Bearer {team.key('admin')}"):
        refused = form(team, "introspect", {"token": token}, Authorization=authorization)
        assert (refused.status_code, refused.json()["error"]) == (401, "invalid_client")


def test_revocation_answers_200_whatever_the_token_was(team: Team, app: App) -> None:
    tokens = app.tokens()
    for token in ("nonsense", tokens["access_token"], tokens["access_token"]):
        answer = form(team, "revoke", {"token": token, "client_id": app.row.client_id})
        assert answer.status_code == 200
    with tenant_scope(team.tenant_id):
        assert not OAuthAccessToken.objects.exists()


def test_refusals_are_in_the_log_without_secrets(team: Team, app: App) -> None:
    app.request()
    answer = app.exchange(app.code(), code_verifier="y" * 43)
    assert answer.status == 400
    form(
        team,
        "token",
        {"grant_type": "refresh_token", "refresh_token": "mcp_rt_secret", "client_id": "nobody"},
    )
    with tenant_scope(team.tenant_id):
        (row,) = AuditRecord.objects.filter(kind="oauth")
    assert row.outcome == "refused"
    assert b"mcp_rt_secret" not in bytes(row.body)


def test_person_of_no_team_sees_no_consent(app: App) -> None:
    browser = Client()
    browser.force_login(make_user())
    assert begin(browser, app).status_code == 404
