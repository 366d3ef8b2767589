"""How clients become known: registration by themselves, and documents at addresses of their own."""

from __future__ import annotations

import dataclasses
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
from django.conf import settings
from django.test import Client
from django.utils import timezone

from tenants.models import AuditRecord, OAuthClient
from tenants.oauth_addresses import resource
from tenants.scoping import tenant_scope
from tenants.services import oauth_clients
from tests.factories import Team, make_team
from tests.frontend.visitor import client_of
from tests.oauth.asking import begin, decide, number_of, query_of
from tests.oauth.documents import Documents, running_documents
from tests.oauth.flows import REDIRECT, App
from tests.together import apart


def register(team: Team, document: Any, address: str = "198.51.100.7") -> Any:
    body = document if isinstance(document, bytes | str) else json.dumps(document)
    return Client(raise_request_exception=False, REMOTE_ADDR=address).post(
        f"/oauth/{team.slug}/register", body, content_type="application/json"
    )


def asked(**changes: Any) -> dict[str, Any]:
    given = {
        "client_name": "Probe",
        "redirect_uris": [REDIRECT],
        "token_endpoint_auth_method": "none",
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        **changes,
    }
    return {name: value for name, value in given.items() if value is not None}


def row_of(team: Team, client_id: str) -> OAuthClient | None:
    with tenant_scope(team.tenant_id):
        return OAuthClient.objects.filter(client_id=client_id).first()


def test_client_registers_at_one_team_and_works_there(team: Team) -> None:
    answer = register(team, asked())
    assert answer.status_code == 201
    told = answer.json()
    assert "client_secret" not in told
    row = row_of(team, told["client_id"])
    assert row is not None
    assert row_of(make_team(), told["client_id"]) is None
    assert App(team, row).tokens()["access_token"]
    with tenant_scope(team.tenant_id):
        record = AuditRecord.objects.get(kind="oauth.client_registered")
    assert record.actor == "anonymous (198.51.100.7)"


def test_secret_is_told_once_and_kept_as_a_hash(team: Team) -> None:
    told = register(team, asked(token_endpoint_auth_method=None)).json()
    assert told["token_endpoint_auth_method"] == "client_secret_basic"
    row = row_of(team, told["client_id"])
    assert row is not None
    assert told["client_secret"] not in (row.client_secret, "")
    app = App(team, row)
    code = app.code()
    assert app.exchange(code).body["error"] == "invalid_client"
    app.secret = told["client_secret"]
    assert app.exchange(app.code()).status == 200


@pytest.mark.parametrize(
    "uri",
    [
        "javascript:alert(1)",
        "data:text/html,x",
        "http://example.com/callback",
        "http://127.0.0.1.evil.example/cb",
        "http://localhost.evil.example/cb",
        "https://user@example.com/cb",
        "https://example.com/cb#x",
        "https://example.com/../cb",
        "https://example.com:99999/cb",
        "https:///cb",
        "https://[::1/cb",
        "https://example.com/a b",
        "https://exam\u0440le.com/cb",
        "https://*.example.com/cb",
        "strange://callback",
        "cursor:///callback",
        "Java.Script//x",
        "x" * 600,
        5,
        None,
    ],
)
def test_redirect_uri_that_leads_astray_is_refused(team: Team, uri: Any) -> None:
    answer = register(team, asked(redirect_uris=[uri]))
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_redirect_uri")


@pytest.mark.parametrize(
    "uri",
    [
        "https://example.com/cb?x=1",
        "http://localhost:3000/cb",
        "http://[::1]:9/cb",
        "cursor://anysphere.cursor-mcp/oauth/callback",
        "com.example.app:/oauth/callback",
    ],
)
def test_redirect_uri_of_the_web_or_the_own_machine_is_taken(team: Team, uri: str) -> None:
    assert register(team, asked(redirect_uris=[uri])).json()["redirect_uris"] == [uri]


def test_program_that_calls_itself_a_web_application_is_native(team: Team) -> None:
    # As Cursor registers: its own scheme, the web and the own machine, all at once.
    uris = [
        "cursor://anysphere.cursor-mcp/oauth/callback",
        "https://example.com/cb",
        "http://localhost:8787/cb",
    ]
    answer = register(team, asked(redirect_uris=uris, application_type="web")).json()
    assert (answer["application_type"], answer["redirect_uris"]) == ("native", uris)


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"[]",
        b"nonsense",
        asked(redirect_uris=["https://example.com/\x00"]),
        b'{"redirect_uris": ["https://a.example/"], "redirect_uris": ["https://b.example/"]}',
        b"[" * 20_000,
        asked(redirect_uris=None),
        asked(redirect_uris=[]),
        asked(redirect_uris=[f"https://a.example/{n}" for n in range(11)]),
        asked(token_endpoint_auth_method="private_key_jwt"),
        asked(grant_types=["implicit"]),
        asked(grant_types=["client_credentials"]),
        asked(response_types=["token"]),
        asked(client_name="a\u202eb"),
        asked(client_name="x" * 100),
        asked(client_name=5),
        asked(application_type="other"),
    ],
)
def test_unsound_registration_is_refused(team: Team, document: Any) -> None:
    answer = register(team, document)
    assert answer.status_code == 400
    assert answer.json()["error"] in {"invalid_client_metadata", "invalid_redirect_uri"}


def test_registrations_are_limited_by_address(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oauth_clients, "REGISTRATIONS", (2, 60))
    first, second = "2001:db8::1", "2001:db8::2"  # one customer's network
    assert [register(team, asked(), each).status_code for each in (first, second)] == [201, 201]
    refused = register(team, asked(), first)
    assert refused.status_code == 429
    assert int(refused["Retry-After"]) > 0
    assert register(make_team(), asked(), first).status_code == 201
    assert register(team, asked(), "203.0.113.1").status_code == 201


def waiting(team: Team) -> list[str]:
    """Names of the registrations that wait, the oldest first."""
    with tenant_scope(team.tenant_id):
        rows = OAuthClient.objects.filter(expires_at__isnull=False).order_by("created")
        return list(rows.values_list("name", flat=True))


def test_stranger_who_registers_many_clients_pushes_out_their_own(
    team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oauth_clients, "MAX_UNUSED_OF_ADDRESS", 3)
    monkeypatch.setattr(oauth_clients, "MAX_UNUSED", 5)
    stranger, neighbour = "2001:db8::1", "2001:db8::2"

    def come(name: str, address: str) -> None:
        assert register(team, asked(client_name=name), address).status_code == 201

    come("early", "203.0.113.1")
    for number in range(4):
        come(f"many {number}", (stranger, neighbour)[number % 2])
    assert waiting(team) == ["early", "many 1", "many 2", "many 3"]
    come("other", "203.0.113.2")
    come("late", "203.0.113.3")
    assert waiting(team) == ["early", "many 2", "many 3", "other", "late"]


def test_client_that_a_member_is_just_letting_in_is_not_pushed_out(
    team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oauth_clients, "MAX_UNUSED_OF_ADDRESS", 1)
    told = register(team, asked(client_name="first")).json()
    row = row_of(team, told["client_id"])
    assert row is not None

    second = apart(lambda: register(team, asked(client_name="second")).status_code)
    with ThreadPoolExecutor(1) as pool, tenant_scope(team.tenant_id):
        list(OAuthClient.objects.select_for_update(no_key=True).filter(pk=row.pk))
        assert pool.submit(second).result(60) == 201
    assert waiting(team) == ["first", "second"]
    assert App(team, row).tokens()["access_token"]


def test_registration_nobody_consented_to_ends_and_goes(team: Team) -> None:
    unused, used = (register(team, asked()).json()["client_id"] for _ in range(2))
    row = row_of(team, used)
    assert row is not None
    App(team, row).tokens()
    with tenant_scope(team.tenant_id):
        OAuthClient.objects.filter(client_id=unused).update(expires_at=timezone.now() - timedelta(seconds=1))
    row = row_of(team, unused)
    assert row is not None
    assert begin(client_of(team), App(team, row)).status_code == 400
    assert register(team, asked()).status_code == 201
    assert row_of(team, unused) is None
    kept = row_of(team, used)
    assert kept is not None
    assert kept.expires_at is None


# Documents


@pytest.fixture
def documents(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Documents]:
    with running_documents(tmp_path, monkeypatch) as served:
        yield served


def described(documents: Documents, **changes: Any) -> bytes:
    given = {"client_id": documents.url(), "client_name": "Described", "redirect_uris": [REDIRECT], **changes}
    return json.dumps({name: value for name, value in given.items() if value is not None}).encode()


def app_at(team: Team, url: str) -> App:
    return App(team, OAuthClient(client_id=url))


def test_client_described_by_a_document_works_and_is_fetched_once(team: Team, documents: Documents) -> None:
    documents.serve(described(documents))
    app = app_at(team, documents.url())
    browser = client_of(team)
    page = begin(browser, app)
    assert "described at" in page.content.decode()
    assert f"localhost:{documents.port}" in page.content.decode()
    code = query_of(decide(browser, app, number_of(page)))["code"]
    assert app.exchange(code).status == 200
    assert begin(browser, app).status_code == 200
    assert documents.asked == ["/client.json"]


def test_changed_document_is_taken_when_it_is_old(team: Team, documents: Documents) -> None:
    documents.serve(described(documents), headers={"Cache-Control": "max-age=1"})
    app, browser = app_at(team, documents.url()), client_of(team)
    assert begin(browser, app).status_code == 200
    with tenant_scope(team.tenant_id):
        OAuthClient.objects.update(cimd_expires_at=timezone.now())
    documents.serve(described(documents, redirect_uris=["https://elsewhere.example/cb"]))
    assert begin(browser, app).status_code == 400
    with tenant_scope(team.tenant_id):
        assert AuditRecord.objects.filter(kind="oauth.client_changed").count() == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"client_id": "https://localhost/other.json"},
        {"client_id": None},
        {"redirect_uris": ["javascript:alert(1)"]},
        {"redirect_uris": None},
        {"client_secret": "x"},
        {"token_endpoint_auth_method": "private_key_jwt"},
        {"client_name": "x\u202ey"},
        {"padding": "x" * 20_000},
    ],
)
def test_document_that_is_wrong_makes_no_client(
    team: Team, documents: Documents, changes: dict[str, Any]
) -> None:
    documents.serve(described(documents, **changes))
    response = begin(client_of(team), app_at(team, documents.url()))
    assert response.status_code == 400
    assert "Location" not in response
    assert row_of(team, documents.url()) is None


@pytest.mark.parametrize(
    "answer",
    [
        {"status": 302, "headers": {"Location": "https://localhost/"}},
        {"status": 404},
        {"status": 500},
        {"content_type": "text/html"},
        {"headers": {"Content-Encoding": "gzip"}},
    ],
)
def test_answer_that_is_no_document_makes_no_client(
    team: Team, documents: Documents, answer: dict[str, Any]
) -> None:
    documents.serve(described(documents), **answer)
    assert begin(client_of(team), app_at(team, documents.url())).status_code == 400
    assert documents.asked == ["/client.json"]


def test_document_that_drips_is_given_up(
    team: Team, documents: Documents, monkeypatch: pytest.MonkeyPatch
) -> None:
    from frontend.oauth import registration

    monkeypatch.setattr(registration, "FETCH_SECONDS", 0.3)
    over = threading.Event()

    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        while not over.wait(0.05):
            try:
                handler.wfile.write(b" ")
            except OSError:
                return

    documents.answer = drip
    response = begin(client_of(team), app_at(team, documents.url()))
    over.set()
    assert response.status_code == 400
    assert "did not answer within" in response.content.decode()


def test_document_on_a_private_address_is_not_fetched(
    team: Team, documents: Documents, monkeypatch: pytest.MonkeyPatch
) -> None:
    documents.serve(described(documents))
    monkeypatch.setattr(settings, "ENV", dataclasses.replace(settings.ENV, outbound_allow=()))
    browser = client_of(team)
    for host in ("localhost", "127.0.0.1", "169.254.169.254", "[::1]", "[::ffff:7f00:1]", "0x7f.1"):
        response = begin(browser, app_at(team, documents.url(host=host)))
        assert response.status_code == 400, host
    assert documents.asked == []


def test_document_with_a_foreign_certificate_is_not_taken(team: Team, documents: Documents) -> None:
    documents.serve(described(documents))
    url = documents.url(host="127.0.0.1")
    assert begin(client_of(team), app_at(team, url)).status_code == 400
    assert documents.asked == []


@pytest.mark.parametrize(
    "client_id",
    [
        "https://localhost",
        "https://localhost/",
        "https://user@localhost/c.json",
        "https://localhost/../c.json",
        "https://localhost/c.json#x",
        "https://localhost:99999/c.json",
        "https://[::1/c.json",
        "https://localhost/" + "x" * 300,
        "HTTPS://localhost:1/c\x00.json",
    ],
)
def test_address_that_names_no_document_is_refused(team: Team, client_id: str) -> None:
    assert begin(client_of(team), app_at(team, client_id)).status_code == 400


def test_stranger_causes_no_fetch(team: Team, documents: Documents) -> None:
    documents.serve(described(documents))
    app = app_at(team, documents.url())
    assert begin(Client(), app).status_code == 302
    assert begin(client_of(make_team()), app).status_code == 404
    assert app.ask(grant_type="refresh_token", refresh_token="x", resource=resource(team.slug)).status == 401
    assert documents.asked == []


def test_fetches_are_limited(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oauth_clients, "FETCHES", (1, 60))
    browser = client_of(team)
    app = app_at(team, "https://nowhere.invalid/client.json")
    assert begin(browser, app).status_code == 400
    assert begin(browser, app).status_code == 429
