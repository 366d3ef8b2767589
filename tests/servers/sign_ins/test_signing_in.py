"""Signing a team in to a source by a browser: the way there and back, what is kept, and what it is used for."""

from __future__ import annotations

import orjson
import pytest

from core.sealing import sealer
from servers.models import DataSource, UpstreamClient, UpstreamSignIn
from servers.services.sealed import seal_settings
from servers.services.sign_ins import keeper
from tenants.roles import Role
from tenants.scoping import tenant_scope
from tests.factories import Team, email_of, make_team
from tests.oauth.asking import parameters_of
from tests.rest import Rest
from tests.servers.sign_ins.authority import READ, WRITE, Authority, open_authority
from tests.servers.sign_ins.person import Person, add_source, call, refresh


def records(rest: Rest, team: Team, kind: str) -> list[dict]:  # type: ignore[type-arg]
    found = rest.get(f"/tenants/{team.slug}/audit/records?kind={kind}").body["results"]
    return [each for each in found if each["kind"] == kind]


def test_a_person_signs_in_and_everybody_calls(
    rest: Rest, team: Team, owner: Person, eras: Authority
) -> None:
    id_ = add_source(rest, team, eras.url)
    path = f"/tenants/{team.slug}/data-sources/{id_}"
    before = rest.post(f"{path}/test").body
    assert (before["state"], before["code"]) == ("needs_sign_in", "sign_in_needed")
    assert "/app/" not in before["reason"]
    page = owner.page(id_).content.decode()
    assert "needs sign-in" in page
    assert f"Sign in to 127.0.0.1:{eras.port}" in page
    owner.sign_in(id_)
    assert "nothing of what the MCP server offers was taken over yet" in owner.said[0]
    assert refresh(rest, team, id_).body["added"]["tools"] == ["who", "launch"]
    assert rest.post(f"{path}/test").body["state"] == "healthy"
    assert call(rest, team, "who")["text"] == f"anna with {READ}"
    sent = {each.headers.get("authorization", "Bearer access-").partition("-")[0] for each in eras.at("/mcp")}
    assert sent == {"Bearer access"}
    state = rest.get(f"{path}/sign-in").body
    assert (state["by"], state["state"], state["scopes"]) == ("team", "ready", [READ])
    assert state["issuer"] == f"{eras.origin}/"
    assert state["signed_in_by"] == f"user:{team.owner_email}"


def test_settings_that_are_not_saved_yet_say_what_to_do(rest: Rest, team: Team, authority: Authority) -> None:
    body = {"kind": "mcp", "settings": {"url": authority.url, "auth": "oauth"}}
    tried = rest.post(f"/tenants/{team.slug}/data-sources/test", body).body
    assert (tried["state"], tried["code"]) == ("needs_sign_in", "sign_in_needed")
    assert "save the data source, then sign in" in tried["reason"]
    assert rest.post(f"/tenants/{team.slug}/data-sources/preview", body).body["tools"] == []


def test_the_way_there_has_pkce_the_resource_and_the_one_way_back(
    rest: Rest, team: Team, owner: Person, authority: Authority
) -> None:
    id_ = add_source(rest, team, authority.url)
    there = owner.leave(id_)
    asked = parameters_of(there)
    assert there.startswith(f"{authority.origin}/authorize?")
    assert asked["code_challenge_method"] == "S256"
    assert asked["resource"] == authority.url
    assert asked["scope"] == READ
    assert asked["redirect_uri"].endswith("/upstream/back")
    registered = orjson.loads(authority.at("/register")[0].body)
    assert registered["redirect_uris"] == [asked["redirect_uri"]]
    assert registered["application_type"] == "native"
    owner.come_back(owner.visit(there))
    token = authority.at("/token")[0]
    sent = parameters_of(f"http://x/?{token.body.decode()}")
    assert sent["resource"] == authority.url
    assert "code_verifier" in sent


@pytest.mark.parametrize("sign_in", ["team", "member", "client"])
def test_no_token_travels_in_clear(rest: Rest, team: Team, owner: Person, sign_in: str) -> None:
    entered = {"client_id": "marina", "client_secret": "very-secret", "issuer": "https://login.example"}
    settings = {"url": "http://mcp.invalid/mcp", "auth": "oauth", "sign_in": sign_in}
    settings |= entered if sign_in == "client" else {}
    below = f"/tenants/{team.slug}/data-sources"
    refused = rest.post(below, {"name": "clear", "kind": "mcp", "settings": settings})
    assert (refused.status, refused.paths) == (400, {"settings.url"})
    assert "https" in refused.body["detail"]
    # One that a former release took is asked for nothing.
    path = f"{below}/{add_source(rest, team, 'https://mcp.invalid/mcp')}"
    with tenant_scope(team.tenant_id):
        source = DataSource.objects.get()
        source.sealed = seal_settings(source, settings, sealer())
        source.save()
    tested = rest.post(f"{path}/test").body
    assert (tested["state"], tested["code"]) == ("unhealthy", "sign_in_unsound")
    if sign_in != "client":
        assert owner.leave(str(source.pk)).endswith(f"/data-sources/{source.pk}/")
        assert "has to begin with https://" in owner.page(str(source.pk)).content.decode()


def test_tokens_and_secrets_are_sealed_and_stand_nowhere(
    rest: Rest, team: Team, owner: Person, authority: Authority
) -> None:
    id_ = add_source(rest, team, authority.url)
    page = owner.sign_in(id_).content.decode()
    access, refreshing = next(iter(authority.access)), next(iter(authority.refreshing))
    secret = next(iter(authority.clients.values())).client_secret
    assert secret
    shown = orjson.dumps(
        [
            rest.get(f"/tenants/{team.slug}/data-sources/{id_}").body,
            rest.get(f"/tenants/{team.slug}/data-sources/{id_}/sign-in").body,
            rest.get(f"/tenants/{team.slug}/audit/records").body,
        ]
    ).decode()
    with tenant_scope(team.tenant_id):
        row, client = UpstreamSignIn.objects.get(), UpstreamClient.objects.get()
        stored = repr({**row.__dict__, **client.__dict__})
    for text in (access, refreshing, secret):
        assert text not in page + shown + stored
        assert text.encode() not in bytes(row.sealed) + bytes(client.sealed or b"")
    assert records(rest, team, "source.signed_in")[0]["arguments"]["after"]["client"] == "registered"


def test_an_answer_is_taken_once_from_the_browser_and_the_person_that_began(
    rest: Rest, team: Team, owner: Person, authority: Authority
) -> None:
    id_ = add_source(rest, team, authority.url)
    back = owner.visit(owner.leave(id_))
    other = Person(team, email_of(team.member(Role.ADMIN)))
    assert other.come_back(back).status_code == 400
    assert owner.come_back(back).status_code == 200
    assert owner.come_back(back).status_code == 400
    with tenant_scope(team.tenant_id):
        assert UpstreamSignIn.objects.get().signed_in_by == f"user:{team.owner_email}"


def test_an_answer_of_another_issuer_is_not_used(
    rest: Rest, team: Team, owner: Person, authority: Authority
) -> None:
    id_ = add_source(rest, team, authority.url)
    back = owner.visit(owner.leave(id_))
    owner.come_back(f"{back}&iss=https://evil.example")
    assert "does not come from the authorization server" in owner.said[0]
    assert not authority.at("/token")
    assert records(rest, team, "source.sign_in_failed")[0]["arguments"]["after"]["name"] == "yard"


def test_an_issuer_that_says_it_names_itself_has_to(
    rest: Rest, team: Team, owner: Person, authority: Authority
) -> None:
    authority.metadata = {"authorization_response_iss_parameter_supported": True}
    id_ = add_source(rest, team, authority.url)
    back = owner.visit(owner.leave(id_))
    owner.come_back(back)
    assert "does not come from the authorization server" in owner.said[0]
    owner.come_back(f"{owner.visit(owner.leave(id_))}&iss={authority.origin}/")
    assert owner.said[0].startswith("You are signed in.")


def test_who_is_sent_to_another_host_than_the_issuers_is_asked_first(
    rest: Rest, team: Team, owner: Person, authority: Authority
) -> None:
    id_ = add_source(rest, team, authority.url)
    path = f"/app/{team.slug}/data-sources/{id_}/sign-in"
    authority.metadata = {"authorization_endpoint": f"http://localhost:{authority.port}/authorize"}
    asked = owner.browser.post(path)
    assert asked.status_code == 200
    page = asked.content.decode()
    assert f"Go on to localhost:{authority.port}" in page
    assert f"127.0.0.1:{authority.port}" in page
    assert "http://localhost:*" in asked["Content-Security-Policy"]
    assert not authority.at("/register")
    agreed = asked.context["hosts"]["agreed"]
    assert f'value="{agreed}"' in page
    # It is agreed to these hosts, and to no others.
    authority.metadata = {"authorization_endpoint": f"http://localhost:{authority.port}/other"}
    assert owner.browser.post(path, {"agreed": agreed}).status_code == 200
    authority.metadata = {"authorization_endpoint": f"http://localhost:{authority.port}/authorize"}
    gone = owner.browser.post(path, {"agreed": agreed})
    assert gone.status_code == 303
    owner.come_back(owner.visit(gone["Location"]))
    assert owner.said[0].startswith("You are signed in.")


def test_who_is_sent_elsewhere_by_a_server_that_names_itself_is_not_asked(
    rest: Rest, team: Team, owner: Person, authority: Authority
) -> None:
    id_ = add_source(rest, team, authority.url)
    elsewhere = f"http://localhost:{authority.port}/authorize"
    authority.metadata = {
        "authorization_endpoint": elsewhere,
        "authorization_response_iss_parameter_supported": True,
    }
    assert owner.leave(id_).startswith(elsewhere)


def test_who_refused_there_is_told_so(rest: Rest, team: Team, owner: Person, authority: Authority) -> None:
    id_ = add_source(rest, team, authority.url)
    state = parameters_of(owner.leave(id_))["state"]
    owner.come_back(f"http://x/upstream/back?state={state}&error=access_denied&error_description=<b>evil</b>")
    assert "access_denied" in owner.said[0]
    assert "evil" not in owner.said[0]


def test_more_rights_are_asked_for_together_with_those_that_there_are(
    rest: Rest, team: Team, owner: Person, authority: Authority
) -> None:
    id_ = add_source(rest, team, authority.url)
    owner.sign_in(id_)
    refresh(rest, team, id_)
    refused = call(rest, team, "launch")
    assert refused["error"]["code"] == "sign_in_needed"
    assert WRITE in refused["error"]["message"]
    source = rest.get(f"/tenants/{team.slug}/data-sources/{id_}").body
    assert (source["health"]["state"], WRITE in source["health"]["reason"]) == ("needs_sign_in", True)
    assert rest.post(f"/tenants/{team.slug}/data-sources/{id_}/test").body["state"] == "needs_sign_in"
    assert call(rest, team, "who")["text"] == f"anna with {READ}"
    assert parameters_of(owner.leave(id_))["scope"] == f"{READ} {WRITE}"
    owner.sign_in(id_)
    assert call(rest, team, "launch")["text"] == "launched"
    assert len(authority.at("/register")) == 1


def sessions(authority: Authority) -> set[str]:
    """In which tools were called."""
    return {each.headers["mcp-session-id"] for each in authority.at("/mcp") if b'"tools/call"' in each.body}


@pytest.mark.parametrize("signs_out", [False, True])
def test_another_account_finds_no_session_of_the_former_one(
    rest: Rest, team: Team, owner: Person, monkeypatch: pytest.MonkeyPatch, signs_out: bool
) -> None:
    monkeypatch.setattr(keeper, "BELIEVED_SECONDS", 0.0)
    with open_authority("legacy") as authority:
        id_ = add_source(rest, team, authority.url)
        owner.sign_in(id_)
        refresh(rest, team, id_)
        for _ in range(2):
            assert call(rest, team, "who")["text"] == f"anna with {READ}"
        [former] = sessions(authority)
        authority.asked.clear()
        authority.person = "bert"
        if signs_out:
            rest.delete(f"/tenants/{team.slug}/data-sources/{id_}/sign-in")
        owner.sign_in(id_)
        assert call(rest, team, "who")["text"] == f"bert with {READ}"
        assert len(sessions(authority) - {former}) == 1
        assert former not in sessions(authority)


def test_signing_out_ends_it_everywhere_and_gives_the_token_back(
    rest: Rest, team: Team, owner: Person, authority: Authority
) -> None:
    id_ = add_source(rest, team, authority.url)
    owner.sign_in(id_)
    path = f"/tenants/{team.slug}/data-sources/{id_}/sign-in"
    assert rest.delete(path).body == {"given_back": True}
    assert not authority.refreshing
    assert rest.get(path).body["state"] == "none"
    assert rest.delete(path).status == 409
    assert rest.get(f"/tenants/{team.slug}/data-sources/{id_}").body["health"]["state"] == "needs_sign_in"
    assert records(rest, team, "source.signed_out")


def test_what_another_person_signed_in_for_is_given_back(
    rest: Rest, team: Team, owner: Person, authority: Authority
) -> None:
    id_ = add_source(rest, team, authority.url)
    owner.sign_in(id_)
    [first] = authority.refreshing
    # Of one person's, many servers end all by one token, and there is only the new one in use.
    owner.sign_in(id_)
    [second] = authority.refreshing.keys() - {first}
    assert not authority.at("/revoke")
    authority.person = "bert"
    Person(team, email_of(team.member(Role.ADMIN))).sign_in(id_)
    [third] = authority.refreshing.keys() - {first, second}
    assert set(authority.refreshing) == {first, third}


def test_what_was_had_as_another_client_is_given_back(
    rest: Rest, team: Team, owner: Person, authority: Authority
) -> None:
    id_ = add_source(rest, team, authority.url)
    owner.sign_in(id_)
    with tenant_scope(team.tenant_id):
        UpstreamClient.objects.update(redirect_uri="https://elsewhere.example/upstream/back")
    owner.sign_in(id_)
    assert len(authority.at("/register")) == 2
    assert len(authority.refreshing) == len(authority.at("/revoke")) == 1


def test_a_token_is_sent_to_no_other_address(
    rest: Rest, team: Team, owner: Person, authority: Authority
) -> None:
    id_ = add_source(rest, team, authority.url)
    owner.sign_in(id_)
    refresh(rest, team, id_)
    elsewhere = f"http://localhost:{authority.port}/mcp"
    changed = rest.patch(
        f"/tenants/{team.slug}/data-sources/{id_}", {"settings": {"url": elsewhere, "auth": "oauth"}}
    )
    assert changed.status == 200, changed.body
    with tenant_scope(team.tenant_id):
        assert not UpstreamSignIn.objects.exists()
        assert not UpstreamClient.objects.exists()
    authority.asked.clear()
    assert call(rest, team, "who")["error"]["code"] == "sign_in_needed"
    assert not [each for each in authority.asked if "authorization" in each.headers and each.path == "/mcp"]


def test_what_was_taken_over_stays_compared_when_settings_change(
    rest: Rest, team: Team, owner: Person, authority: Authority
) -> None:
    id_ = add_source(rest, team, authority.url)
    owner.sign_in(id_)
    refresh(rest, team, id_)
    path = f"/tenants/{team.slug}/data-sources/{id_}"
    rest.delete(f"{path}/sign-in")
    settings = {"url": authority.url, "auth": "oauth", "timeout": 9}
    assert rest.patch(path, {"settings": settings}).status == 200
    assert rest.get(path).body["settings"]["upstream"]["name"] == "guarded"
    assert {each["name"] for each in rest.get(f"/tenants/{team.slug}/tools").body["results"]} == {
        "launch",
        "who",
    }


def test_deleting_the_source_gives_the_token_back(
    rest: Rest, team: Team, owner: Person, authority: Authority
) -> None:
    id_ = add_source(rest, team, authority.url)
    owner.sign_in(id_)
    assert rest.delete(f"/tenants/{team.slug}/data-sources/{id_}").status == 204
    assert not authority.refreshing
    with tenant_scope(team.tenant_id):
        assert not DataSource.objects.exists()


def test_who_may_not_change_sources_signs_nobody_in(
    rest: Rest, team: Team, owner: Person, authority: Authority
) -> None:
    id_ = add_source(rest, team, authority.url)
    viewer = Person(team, email_of(team.member(Role.VIEWER)))
    assert f"Sign in to 127.0.0.1:{authority.port}" not in viewer.page(id_).content.decode()
    answer = viewer.browser.post(f"/app/{team.slug}/data-sources/{id_}/sign-in")
    assert answer.status_code == 403


def test_another_team_finds_nothing(rest: Rest, team: Team, owner: Person, authority: Authority) -> None:
    id_ = add_source(rest, team, authority.url)
    owner.sign_in(id_)
    outsider = make_team()
    asking = Rest.admin(outsider)
    path = f"/tenants/{outsider.slug}/data-sources/{id_}/sign-in"
    assert (asking.get(path).status, asking.delete(path).status) == (404, 404)
    person = Person(outsider, outsider.owner_email)
    assert person.browser.post(f"/app/{outsider.slug}/data-sources/{id_}/sign-in").status_code == 404
    with tenant_scope(outsider.tenant_id):
        assert not UpstreamSignIn.objects.exists()
        assert not UpstreamClient.objects.exists()


def test_marina_says_who_it_is(rest: Rest) -> None:
    said = rest.client.get("/upstream/client.json")
    assert said.status_code == 200
    document = said.json()
    assert document["client_id"].endswith("/upstream/client.json")
    assert document["redirect_uris"] == [document["client_id"].replace("client.json", "back")]
    assert document["token_endpoint_auth_method"] == "none"
