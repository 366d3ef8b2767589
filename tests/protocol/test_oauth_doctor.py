"""The OAuth doctor over a running Marina: a sound connection is one timeline, and each fault has its own diagnosis."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlencode

import pytest
from django.test import Client
from django.utils import timezone

from servers.models import Server
from tenants.models import OAuthAccessToken, OAuthCode
from tenants.oauth_addresses import resource
from tenants.oauth_steps import Kind
from tenants.roles import Role
from tenants.scoping import tenant_scope
from tenants.services.oauth_clients import REGISTRATIONS
from tenants.services.oauth_diagnosis import CONNECTED, FAILED, STOPPED, UNDER_WAY
from tests.factories import Team, make_team, make_user
from tests.frontend.visitor import client_of
from tests.oauth.asking import begin, decide, number_of
from tests.oauth.documents import running_documents
from tests.oauth.flows import make_app, make_service
from tests.oauth.program import LATER, Program


@pytest.fixture
def browser(team: Team) -> Client:
    return client_of(team)


def test_sound_connection_is_one_timeline_from_challenge_to_call(program: Program) -> None:
    program.connected()
    timeline = program.timeline(LATER)
    assert [step.step.kind for step in timeline.steps] == [
        Kind.CHALLENGE,
        Kind.RESOURCE_METADATA,
        Kind.ISSUER_METADATA,
        Kind.REGISTRATION,
        Kind.AUTHORIZATION,
        Kind.CONSENT,
        Kind.TOKEN,
        Kind.CALL,
    ]
    assert (timeline.state, timeline.diagnosis.main, timeline.name) == (CONNECTED, None, "Probe")
    asked = timeline.steps[4].step.asked
    assert asked["resource"] == resource(program.team.slug)
    assert asked["code_challenge_method"] == "S256"
    assert timeline.attempt.member == program.team.owner_email
    assert not any(step.is_faulty for step in timeline.steps)


def test_client_that_is_on_its_way_is_not_at_fault(program: Program) -> None:
    program.discover()
    assert program.timeline().state == UNDER_WAY
    assert program.timeline(LATER).state == STOPPED


# 1. The server's metadata


def test_client_that_stops_at_the_challenge(program: Program) -> None:
    program.ask()
    assert program.fault(LATER) == "discovery_stopped"


@pytest.mark.parametrize(
    "path", ["/.well-known/oauth-protected-resource", "/mcp/{team}/.well-known/oauth-protected-resource"]
)
def test_client_that_asks_for_the_servers_metadata_at_a_wrong_address(program: Program, path: str) -> None:
    program.ask()
    wrong = path.replace("{team}", program.team.slug)
    assert program.send("GET", wrong).status_code == 404
    assert program.fault(LATER) == "well_known_path"
    main = program.timeline(LATER).diagnosis.main
    assert main is not None
    assert wrong in main.wrong


def test_client_that_finds_the_right_address_after_a_wrong_one_is_not_at_fault(program: Program) -> None:
    program.ask()
    program.send("GET", "/.well-known/oauth-protected-resource")
    program.send("GET", "/.well-known/oauth-authorization-server")
    program.connected()
    assert program.timeline(LATER).state == CONNECTED


# 2. The issuer


def test_client_that_asks_the_root_for_the_issuer(program: Program) -> None:
    program.ask()
    program.send("GET", f"/.well-known/oauth-protected-resource/mcp/{program.team.slug}")
    program.send("GET", "/.well-known/oauth-authorization-server")
    assert program.fault(LATER) == "issuer_metadata_missed"


def test_client_that_never_asks_the_issuer(program: Program) -> None:
    program.ask()
    program.send("GET", f"/.well-known/oauth-protected-resource/mcp/{program.team.slug}")
    assert program.fault(LATER) == "issuer_not_asked"


def test_client_that_comes_to_the_issuer_of_another_team(program: Program, browser: Client) -> None:
    other = make_team()
    begin(browser, program.app(), resource=resource(other.slug))
    assert program.fault() == "issuer_of_another_team"


# 3. Registration


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"redirect_uris": ["http://client.example/callback"]}, "registration_redirect_uri"),
        ({"grant_types": ["implicit"]}, "registration_metadata"),
    ],
)
def test_registration_that_is_refused(program: Program, changes: dict[str, object], fault: str) -> None:
    program.discover()
    assert program.register(**changes).status_code == 400
    assert program.fault() == fault


def test_registrations_beyond_the_quota(program: Program) -> None:
    program.discover()
    for _ in range(REGISTRATIONS[0]):
        assert program.register().status_code == 201
    assert program.register().status_code == 429
    assert program.fault() == "registration_quota"


# 4. The client


def test_client_whose_id_is_unknown(program: Program, browser: Client) -> None:
    app = make_app(program.team)
    app.row.client_id = "nobody"
    begin(browser, app)
    assert program.fault() == "client_unknown"


def test_unknown_client_at_the_token_endpoint(program: Program) -> None:
    app = make_app(program.team)
    app.row.client_id = "nobody"
    assert program.token(app, "x").status_code == 401
    assert program.fault() == "client_unknown"


def test_client_whose_document_cannot_be_fetched(program: Program, browser: Client) -> None:
    app = make_app(program.team)
    app.row.client_id = "https://127.0.0.1:9/client.json"
    begin(browser, app)
    assert program.fault() == "client_document_unreachable"


def test_client_whose_document_names_another_id(
    program: Program, browser: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_documents(tmp_path, monkeypatch) as documents:
        documents.serve(json.dumps({"client_id": "https://other.example/c", "redirect_uris": []}).encode())
        app = make_app(program.team)
        app.row.client_id = documents.url()
        begin(browser, app)
    assert program.fault() == "client_document_wrong"


# 5 to 8. The authorization request


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"redirect_uri": "https://client.example/other"}, "redirect_uri_unregistered"),
        ({"code_challenge": "", "code_challenge_method": ""}, "pkce_missing"),
        ({"code_challenge_method": "plain"}, "pkce_missing"),
        ({"resource": ""}, "resource_missing"),
        ({"resource": "{own}/"}, "resource_wrong"),
        ({"resource": "https://elsewhere.example/mcp"}, "resource_wrong"),
        ({"resource": "{own}/nowhere"}, "server_not_there"),
        ({"scope": "tools:read nonsense"}, "scope_unknown"),
        ({"response_type": "token"}, "response_type"),
    ],
)
def test_authorization_request_that_is_wrong(
    program: Program, browser: Client, changes: dict[str, str], fault: str
) -> None:
    app = program.app()
    begin(
        browser,
        app,
        **{name: text.replace("{own}", resource(program.team.slug)) for name, text in changes.items()},
    )
    timeline = program.timeline()
    assert timeline.state == FAILED
    assert program.fault() == fault
    (faulty,) = [step for step in timeline.steps if step.is_faulty]
    assert faulty.step.kind is Kind.AUTHORIZATION


def test_authorization_request_that_cannot_be_read(program: Program, browser: Client) -> None:
    browser.get(f"/oauth/{program.team.slug}/authorize?response_type=code&state=%00")
    assert program.fault() == "authorization_refused"


def test_authorization_request_with_two_resources(program: Program, browser: Client) -> None:
    app = program.app()
    asked = [*app.request().items(), ("resource", f"{resource(program.team.slug)}/other")]
    browser.get(f"/oauth/{program.team.slug}/authorize?{urlencode(asked)}")
    assert program.fault() == "resource_twice"


def test_member_whose_role_allows_nothing(program: Program) -> None:
    app = program.app()
    begin(client_of(program.team, Role.AUDITOR), app)
    assert program.fault() in {"scope_none", "server_not_there"}


# 9. Consent


def test_member_who_refuses(program: Program, browser: Client) -> None:
    app = program.app()
    decide(browser, app, number_of(begin(browser, app)), "deny")
    assert program.fault() == "consent_denied"


def test_consent_in_another_browser(program: Program, browser: Client) -> None:
    app = program.app()
    decide(client_of(program.team), app, number_of(begin(browser, app)))
    assert program.fault() == "consent_elsewhere"


def test_consent_that_nobody_answers(program: Program, browser: Client) -> None:
    begin(browser, program.app())
    assert program.fault(LATER) == "consent_unfinished"


def test_sign_in_that_nobody_does(program: Program) -> None:
    begin(Client(), program.app())
    assert program.fault(LATER) == "sign_in_unfinished"


def test_person_who_is_no_member(program: Program) -> None:
    outsider = Client()
    outsider.force_login(make_user())
    begin(outsider, program.app())
    assert program.fault() == "not_a_member"
    assert all(not step.step.member for step in program.timeline().steps)


def test_member_who_agrees_with_nothing_ticked(program: Program, browser: Client) -> None:
    app = program.app()
    decide(browser, app, number_of(begin(browser, app)), "allow", "prompts:read")
    assert program.fault() == "nothing_ticked"


# 10. The code


def test_code_that_is_never_exchanged(program: Program) -> None:
    program.agree(program.app())
    assert program.fault(LATER) == "code_not_redeemed"


def test_code_that_has_expired(program: Program) -> None:
    app = program.app()
    code = program.agree(app)
    with tenant_scope(program.team.tenant_id):
        OAuthCode.objects.update(expires=timezone.now() - timedelta(seconds=1))
    assert program.token(app, code).status_code == 400
    assert program.fault() == "code_expired"


def test_code_that_is_used_twice(program: Program) -> None:
    app = program.app()
    code = program.agree(app)
    program.token(app, code)
    program.token(app, code)
    assert program.fault() == "code_replayed"


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"code_verifier": "y" * 43}, "verifier_wrong"),
        ({"code_verifier": "short"}, "verifier_wrong"),
        ({"code_verifier": ""}, "verifier_wrong"),
        ({"code": "made up"}, "code_unknown"),
        ({"redirect_uri": "http://127.0.0.1:7777/other"}, "redirect_uri_changed"),
        ({"resource": ""}, "resource_missing"),
        ({"resource": "{own}/other"}, "resource_changed"),
        ({"grant_type": "password"}, "grant_not_offered"),
    ],
)
def test_token_request_that_is_wrong(program: Program, changes: dict[str, str], fault: str) -> None:
    app = program.app()
    code = program.agree(app)
    own = resource(program.team.slug)
    answer = program.token(
        app, **{"code": code, **{name: text.replace("{own}", own) for name, text in changes.items()}}
    )
    assert answer.status_code == 400
    assert program.fault() == fault


# 11. Who the client is, and refreshes


def test_service_whose_secret_is_wrong(program: Program) -> None:
    service = make_service(program.team)
    program.form(service, grant_type="client_credentials", client_secret="wrong")
    assert program.fault() == "client_secret_wrong"


def test_refreshes_in_parallel(program: Program) -> None:
    app, tokens = program.connected()
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: program.refresh(app, tokens["refresh_token"]), range(4)))
    assert sorted(answer.status_code for answer in answers) == [200, 400, 400, 400]
    timeline = program.timeline(LATER)
    assert "refresh_replayed" in {each.code for each in timeline.diagnosis.findings}
    assert timeline.state == FAILED


def test_refresh_token_that_is_unknown(program: Program) -> None:
    app, _ = program.connected()
    program.refresh(app, "mcp_rt_made_up")
    assert program.fault() == "refresh_unknown"


# 12. Requests with a token


def test_token_at_another_server(program: Program) -> None:
    with tenant_scope(program.team.tenant_id):
        Server.objects.create(slug="second", title="Second", offers_all=True)
    _, tokens = program.connected()
    assert program.ask(tokens["access_token"], path=f"/mcp/{program.team.slug}/second").status_code == 401
    assert program.fault() == "token_audience"


def test_token_in_the_address(program: Program) -> None:
    app = program.app()
    tokens = program.token(app, program.agree(app)).json()
    answer = program.ask(path=f"/mcp/{program.team.slug}?access_token={tokens['access_token']}")
    assert answer.status_code == 401
    assert program.fault() == "token_in_query"


def test_token_whose_hour_is_over(program: Program) -> None:
    app = program.app()
    tokens = program.token(app, program.agree(app)).json()
    with tenant_scope(program.team.tenant_id):
        OAuthAccessToken.objects.update(expires=timezone.now() - timedelta(seconds=1))
    assert program.ask(tokens["access_token"]).status_code == 401
    assert program.timeline().state == UNDER_WAY
    assert program.fault(LATER) == "token_expired"
    fresh = program.refresh(app, tokens["refresh_token"]).json()
    assert program.ask(fresh["access_token"]).status_code == 200
    assert program.timeline(LATER).state == CONNECTED


def test_missing_scope_that_is_not_asked_for(program: Program, browser: Client) -> None:
    app = program.app()
    code = program.agree(app, browser, scope="tools:read")
    token = program.token(app, code).json()["access_token"]
    call = {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "echo", "arguments": {}}}
    assert program.ask(token, message=call).status_code == 403
    assert program.fault(LATER) == "insufficient_scope"
    wider = program.token(app, program.agree(app, browser)).json()["access_token"]
    assert program.ask(wider, message=call).status_code == 200
    timeline = program.timeline(LATER)
    assert (timeline.state, [each.overcome for each in timeline.diagnosis.findings]) == (CONNECTED, [True])


def test_refresh_token_where_an_access_token_belongs(program: Program) -> None:
    app = program.app()
    tokens = program.token(app, program.agree(app)).json()
    program.ask(tokens["refresh_token"])
    assert program.fault() == "refresh_token_as_access"


def test_token_that_is_not_used(program: Program) -> None:
    app = program.app()
    program.token(app, program.agree(app))
    assert program.fault(LATER) == "token_not_used"
