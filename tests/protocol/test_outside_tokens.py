"""Tokens of outside issuers at the MCP endpoint: what opens what, who is named, and what each fault is answered."""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import time
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from django.conf import settings
from django.test import Client

from core.errors import NotFound
from servers.services import grants
from servers.services.explaining import explain_call
from servers.services.runtime import Runtime
from tenants.oauth_addresses import issuer as own_issuer
from tenants.oauth_addresses import resource
from tenants.services.outside_issuers import change_issuer, get_issuer, remove_issuer
from tests.factories import Team, add_server, make_team
from tests.oauth.outside import issuer, trust, trust_by_asking
from tests.oauth.program import Program
from tests.plugins.issuer import INTROSPECTION, JWKS, OIDC, LoopbackIssuer, encode_token
from tests.protocol.conftest import HearAll, OnLoop, Records
from tests.protocol.wireclient import Answer, Endpoint

__all__ = ["issuer"]


def ping(endpoint: Endpoint, token: str) -> Answer:
    return endpoint.with_key(token).legacy("ping")


def code_of(answer: Answer) -> tuple[int, str]:
    return answer.status, "" if answer.status == 200 else answer.error["data"]["code"]


@pytest.fixture
def here(team: Team) -> str:
    return resource(team.slug)


def test_token_lists_and_calls_and_the_log_names_who_came(
    team: Team,
    endpoint: Endpoint,
    issuer: LoopbackIssuer,
    here: str,
    records: Records,
    runtime: Runtime,
    on_loop: OnLoop,
) -> None:
    row = trust(team, issuer)
    holder = endpoint.with_key(issuer.token(here, scope="openid mcp.use", email="ada@corp.example"))
    assert holder.modern("tools/list").status == 200
    assert holder.call("echo", {"text": "x"}).status == 200
    record = records(team)[-1]
    assert record["actor"] == "issuer:corp:ada (ada@corp.example)"
    on_loop(runtime.uses.flush())
    assert get_issuer(row.pk, caller=team.owner).last_used_at is not None


def test_each_person_of_an_issuer_is_somebody_else(
    team: Team, endpoint: Endpoint, issuer: LoopbackIssuer, here: str, records: Records
) -> None:
    trust(team, issuer)
    for subject in ("ada", "bob", "ada"):
        holder = endpoint.with_key(issuer.token(here, sub=subject, scope="mcp.use", jti=str(time.time_ns())))
        assert holder.call("echo", {"text": "x"}).status == 200
    ids = [record["credential_id"] for record in records(team, kind="tools/call")]
    assert len(set(ids)) == 2
    assert ids[0] == ids[-1]


def test_scopes_come_of_the_table_alone(
    team: Team, endpoint: Endpoint, issuer: LoopbackIssuer, here: str, records: Records
) -> None:
    trust(team, issuer)
    for scope in (None, "", "tools:execute tools:read admin", "MCP.USE", ["mcp.read"], 5, {"mcp.use": 1}):
        holder = endpoint.with_key(issuer.token(here, scope=scope))
        answer = holder.call("echo", {"text": "x"})
        assert code_of(answer) == (403, "insufficient_scope"), scope
        assert "outside issuer corp" in answer.error["message"]
        assert 'scope="tools:execute' in answer.headers["WWW-Authenticate"]
    assert records(team)[-1]["reason"]["rule"] == "scope:tools:execute"
    narrowed = endpoint.with_key(issuer.token(here, scope="mcp.echo"))
    assert narrowed.call("echo", {"text": "x"}).status == 200
    assert narrowed.call("fail").status == 403


@pytest.mark.parametrize(
    ("claim", "given"),
    [
        ("scp", {"scp": "mcp.use"}),
        ("scp", {"scp": ["a", "mcp.use"]}),
        ("roles", {"roles": ["mcp.use"]}),
        ("realm_access.roles", {"realm_access": {"roles": ["mcp.use"]}}),
        ("https://corp.example/roles", {"https://corp.example/roles": ["mcp.use"]}),
    ],
)
def test_any_claim_can_be_the_one_that_counts(
    team: Team, endpoint: Endpoint, issuer: LoopbackIssuer, here: str, claim: str, given: dict[str, Any]
) -> None:
    trust(team, issuer, scopes_claim=claim)
    assert endpoint.with_key(issuer.token(here, **given)).call("echo", {"text": "x"}).status == 200
    assert endpoint.with_key(issuer.token(here, scope="mcp.use")).call("echo", {"text": "x"}).status == 403


def test_subject_is_the_claim_that_the_team_names(
    team: Team, endpoint: Endpoint, issuer: LoopbackIssuer, here: str, records: Records
) -> None:
    trust(team, issuer, subject_claim="oid", email_claim="")
    holder = endpoint.with_key(issuer.token(here, oid="0-1", email="a@b.example", scope="mcp.use"))
    assert holder.call("echo", {"text": "x"}).status == 200
    assert records(team)[-1]["actor"] == "issuer:corp:0-1"
    for odd in (None, "", " ", 5, "a\u202eb", "x" * 200):
        assert code_of(ping(endpoint, issuer.token(here, oid=odd))) == (401, "token_invalid")


def test_faults_of_tokens_are_told_apart(
    team: Team, endpoint: Endpoint, issuer: LoopbackIssuer, here: str, records: Records
) -> None:
    trust(team, issuer)
    now = int(time.time())
    stranger = LoopbackIssuer(issuer.authority.parent)
    stranger.stop()
    public = (
        issuer.keys[0]
        .private.public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    claims = issuer.claims(here, scope="mcp.use")
    faults: list[tuple[str, str]] = [
        ("token_audience", issuer.token(f"{here}/", scope="mcp.use")),
        ("token_audience", issuer.token(resource(make_team().slug))),
        ("token_audience", issuer.token([here, "https://other.example"])),
        ("token_audience", issuer.token(None)),
        ("token_expired", issuer.token(here, exp=now - 3600)),
        ("token_expired", issuer.token(here, nbf=now + 3600)),
        ("token_expired", issuer.token(here, exp=None)),
        ("token_unknown", stranger.token(here)),
        ("token_unknown", issuer.token(here, iss=f"{issuer.identifier}/")),
        ("token_unknown", stranger.token(here, iss=issuer.identifier)),
        ("token_unknown", encode_token({"alg": "none"}, claims, lambda signed: b"x")),
        (
            "token_unknown",
            encode_token(
                {"alg": "HS256", "kid": issuer.keys[0].key_id},
                claims,
                lambda signed: hmac.digest(public, signed, hashlib.sha256),
            ),
        ),
        ("token_unknown", issuer.sign(claims, header={"crit": ["exp"]})),
        ("token_unknown", "a.b.c"),
        ("token_unknown", "e30.e30.AA"),
        ("key_malformed", "opaque-token-of-nobody"),
        ("key_unknown", "mcp_live_aaaaaaaa_" + "b" * 43),
    ]
    for code, token in faults:
        answer = ping(endpoint, token)
        assert code_of(answer) == (401, code), answer.error
        assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"]
        assert "/.well-known/oauth-protected-resource/mcp/" in answer.headers["WWW-Authenticate"]
    shown = str(records(team))
    assert "unknown outside token" in shown
    assert issuer.token(here).split(".")[2] not in shown


def test_team_without_outside_issuers_answers_as_before(
    team: Team, endpoint: Endpoint, issuer: LoopbackIssuer, here: str
) -> None:
    assert code_of(ping(endpoint, issuer.token(here))) == (401, "key_malformed")
    assert issuer.asked == []


def test_only_the_diagonal_of_teams_and_their_issuers_answers(
    team: Team, endpoint: Endpoint, issuer: LoopbackIssuer
) -> None:
    teams = [team, make_team(), make_team()]
    providers = [issuer, *(LoopbackIssuer(issuer.authority.parent) for _ in teams[1:])]
    try:
        for each, provider in zip(teams, providers, strict=True):
            trust(each, provider)
        for each in teams:
            for whose, provider in zip(teams, providers, strict=True):
                for audience in {resource(each.slug), resource(whose.slug)}:
                    answer = ping(endpoint.at(f"/mcp/{each.slug}"), provider.token(audience, scope="mcp.use"))
                    assert (answer.status == 200) is (each is whose)
                    assert answer.status in {200, 401}
    finally:
        for provider in providers[1:]:
            provider.stop()


def test_teams_that_trust_one_issuer_are_apart_by_audience(
    team: Team, endpoint: Endpoint, issuer: LoopbackIssuer
) -> None:
    other = make_team()
    trust(team, issuer)
    trust(other, issuer)
    token = issuer.token(resource(team.slug), scope="mcp.use")
    assert ping(endpoint, token).status == 200
    assert code_of(ping(endpoint.at(f"/mcp/{other.slug}"), token)) == (401, "token_audience")


def test_token_is_for_its_server_alone(
    team: Team, endpoint: Endpoint, issuer: LoopbackIssuer, here: str
) -> None:
    trust(team, issuer)
    add_server(team, "second")
    first = issuer.token(here, scope="mcp.use")
    second = issuer.token(resource(team.slug, "second"), scope="mcp.use")
    there = endpoint.at(f"{endpoint.path}/second")
    for _ in range(2):
        assert ping(endpoint, first).status == 200
        assert ping(there, second).status == 200
        assert code_of(ping(there, first)) == (401, "token_audience")
        assert code_of(ping(endpoint, second)) == (401, "token_audience")


def test_audience_of_the_teams_choice_opens_its_servers_as_the_table_narrows_them(
    team: Team, endpoint: Endpoint, issuer: LoopbackIssuer, here: str
) -> None:
    table = [
        {"value": "r", "scopes": ["tools:read", "server:second"]},
        {"value": "all", "scopes": ["tools:read"]},
    ]
    trust(team, issuer, audience="api://marina", mapping=table)
    add_server(team, "second")
    there = endpoint.at(f"{endpoint.path}/second")
    everywhere = issuer.token("api://marina", scope="all")
    assert [ping(each, everywhere).status for each in (endpoint, there)] == [200, 200]
    narrowed = issuer.token("api://marina", scope="r")
    assert [ping(each, narrowed).status for each in (endpoint, there)] == [403, 200]
    assert code_of(ping(endpoint, issuer.token(here, scope="all"))) == (401, "token_audience")


def test_table_that_narrows_to_another_server_leaves_a_servers_token_nothing(
    team: Team, endpoint: Endpoint, issuer: LoopbackIssuer, here: str
) -> None:
    trust(team, issuer, mapping=[{"value": "r", "scopes": ["tools:read", "server:second"]}])
    add_server(team, "second")
    token = issuer.token(here, scope="r")
    assert endpoint.with_key(token).modern("tools/list").status == 403
    for _ in range(2):
        assert code_of(ping(endpoint.at(f"{endpoint.path}/second"), token)) == (401, "token_audience")


def test_switching_off_is_heard_at_once_and_removing_too(
    team: Team, endpoint: Endpoint, issuer: LoopbackIssuer, here: str, hear_all: HearAll
) -> None:
    row = trust(team, issuer)
    token = issuer.token(here, scope="mcp.use")
    assert ping(endpoint, token).status == 200
    change_issuer(row.pk, {"enabled": False}, caller=team.owner)
    hear_all()
    assert ping(endpoint, token).status == 401
    change_issuer(row.pk, {"enabled": True}, caller=team.owner)
    hear_all()
    assert ping(endpoint, token).status == 200
    remove_issuer(row.pk, caller=team.owner)
    hear_all()
    assert ping(endpoint, token).status == 401


def test_grant_ends_by_itself_where_no_change_is_heard(
    team: Team,
    endpoint: Endpoint,
    issuer: LoopbackIssuer,
    here: str,
    monkeypatch: pytest.MonkeyPatch,
    runtime: Runtime,
) -> None:
    row = trust(team, issuer)
    token = issuer.token(here, scope="mcp.use")
    assert ping(endpoint, token).status == 200
    monkeypatch.setattr("tenants.services.outside_issuers.announce_change", lambda tenant_id: None)
    change_issuer(row.pk, {"enabled": False}, caller=team.owner)
    assert ping(endpoint, token).status == 200
    later = time.monotonic() + grants.GRANT_SECONDS
    monkeypatch.setattr("servers.services.grants.monotonic", lambda: later)
    assert ping(endpoint, token).status == 401


def test_grant_ends_with_its_token(
    team: Team, endpoint: Endpoint, issuer: LoopbackIssuer, here: str, runtime: Runtime
) -> None:
    trust(team, issuer)
    token = issuer.token(here, exp=int(time.time()) + 600, scope="mcp.use")
    assert ping(endpoint, token).status == 200
    caller = runtime.grants.peek(token, team.slug)
    assert caller is not None
    assert caller.expires_at is not None
    assert 590 < caller.expires_at.timestamp() - time.time() <= 600


def test_held_grant_asks_nobody(
    team: Team, endpoint: Endpoint, issuer: LoopbackIssuer, here: str, hear_all: HearAll
) -> None:
    trust_by_asking(team, issuer)
    hear_all()
    token = issuer.opaque_token(here, scope="mcp.use")
    for _ in range(10):
        assert ping(endpoint, token).status == 200
    assert issuer.asked.count(INTROSPECTION) == 1


def test_opaque_token_works_until_its_issuer_revokes_it(
    team: Team,
    endpoint: Endpoint,
    issuer: LoopbackIssuer,
    here: str,
    monkeypatch: pytest.MonkeyPatch,
    records: Records,
) -> None:
    trust_by_asking(team, issuer)
    token = issuer.opaque_token(here, scope="mcp.use", exp=None)
    assert endpoint.with_key(token).call("echo", {"text": "x"}).status == 200
    assert records(team)[-1]["actor"] == "issuer:corp:ada"
    del issuer.opaque[token]
    later = time.monotonic() + grants.GRANT_SECONDS
    monkeypatch.setattr("servers.services.grants.monotonic", lambda: later)
    assert code_of(ping(endpoint, token)) == (401, "token_unknown")
    assert token not in str(records(team))


def test_opaque_token_is_a_step_in_a_clients_timeline_like_a_signed_one(
    team: Team, port: int, issuer: LoopbackIssuer, here: str
) -> None:
    trust_by_asking(team, issuer)
    program = Program(port, team)
    assert program.ask(issuer.opaque_token(here, scope="mcp.use")).status_code == 200
    assert program.ask(issuer.opaque_token(None)).status_code == 401
    steps = [step for each in program.timelines() for step in each.attempt.steps]
    assert sorted((step.ok, step.code, step.asked["credential"]) for step in steps) == [
        (False, "token_audience", "a token of another issuer"),
        (True, "", "a token of another issuer"),
    ]


def test_opaque_tokens_are_judged_like_signed_ones(
    team: Team, endpoint: Endpoint, issuer: LoopbackIssuer, here: str
) -> None:
    trust_by_asking(team, issuer)
    past = int(time.time()) - 3600
    faults = {
        "token_audience": issuer.opaque_token(f"{here}/x/y"),
        "token_expired": issuer.opaque_token(here, exp=past),
        "token_unknown": issuer.opaque_token(here, iss="https://other.example"),
        "token_invalid": issuer.opaque_token(here, sub=None),
    }
    for code, token in faults.items():
        assert code_of(ping(endpoint, token)) == (401, code)
    assert code_of(ping(endpoint, issuer.opaque_token(None))) == (401, "token_audience")
    assert code_of(ping(endpoint, issuer.opaque_token([here, here]))) == (401, "token_audience")


def test_issuer_is_shown_no_credential_of_marinas_own(
    team: Team, endpoint: Endpoint, issuer: LoopbackIssuer
) -> None:
    trust_by_asking(team, issuer)
    for token in (team.key(), "mcp_live_aaaaaaaa_" + "b" * 43, "mcp_at_" + "c" * 43, "mcp_typo", "short"):
        ping(endpoint, token)
    assert INTROSPECTION not in issuer.asked


def test_wrong_secret_at_the_issuer_is_said_and_recorded(
    team: Team, endpoint: Endpoint, issuer: LoopbackIssuer, here: str, records: Records
) -> None:
    trust_by_asking(team, issuer, client_secret="wrong")
    for _ in range(3):
        answer = ping(endpoint, issuer.opaque_token(here))
        assert code_of(answer) == (503, "issuer_unavailable")
        assert "does not know Marina" in answer.error["message"]
    assert issuer.asked.count(INTROSPECTION) == 1
    assert records(team)[-1]["reason"]["code"] == "issuer_unavailable"


def test_issuer_that_is_away_is_no_fault_of_the_token(
    team: Team, endpoint: Endpoint, issuer: LoopbackIssuer, here: str
) -> None:
    trust(team, issuer)
    issuer.be_away(JWKS)
    answer = ping(endpoint, issuer.token(here))
    assert code_of(answer) == (503, "issuer_unavailable")
    assert answer.error["data"]["retryable"]
    assert "Retry-After" in answer.headers
    assert ping(endpoint, team.key()).status == 200


def test_flood_of_made_up_tokens_reaches_the_issuer_once(
    team: Team, endpoint: Endpoint, issuer: LoopbackIssuer, here: str
) -> None:
    trust(team, issuer)
    assert ping(endpoint, issuer.token(here)).status == 200
    for number in range(30):
        token = issuer.sign(issuer.claims(here), header={"kid": f"made-up-{number}"})
        assert code_of(ping(endpoint, token)) == (401, "token_unknown")
    assert issuer.asked == [OIDC, JWKS, JWKS]
    issuer.rotate("RS256")
    assert ping(endpoint, issuer.token(here)).status == 401


def test_rotated_key_works_at_once(team: Team, endpoint: Endpoint, issuer: LoopbackIssuer, here: str) -> None:
    trust(team, issuer)
    assert ping(endpoint, issuer.token(here)).status == 200
    issuer.rotate("PS256")
    assert ping(endpoint, issuer.token(here)).status == 200


def test_issuer_on_a_private_address_is_not_asked(
    team: Team, endpoint: Endpoint, issuer: LoopbackIssuer, here: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "ENV", dataclasses.replace(settings.ENV, outbound_allow=()))
    trust(team, issuer)
    assert code_of(ping(endpoint, issuer.token(here))) == (503, "issuer_unavailable")
    assert issuer.asked == []


def test_metadata_of_the_teams_servers_names_the_outside_issuer_while_it_is_on(
    team: Team, issuer: LoopbackIssuer
) -> None:
    def named(path: str) -> list[str]:
        servers: list[str] = (
            Client().get(f"/.well-known/oauth-protected-resource/mcp/{path}").json()["authorization_servers"]
        )
        return servers

    assert named(team.slug) == [own_issuer(team.slug)]
    row = trust(team, issuer)
    for path in (team.slug, f"{team.slug}/reports"):
        assert named(path) == [own_issuer(team.slug), issuer.identifier]
    assert named(make_team().slug) != named(team.slug)
    change_issuer(row.pk, {"enabled": False}, caller=team.owner)
    assert named(team.slug) == [own_issuer(team.slug)]


def test_explainer_and_endpoint_agree_on_what_values_are_worth(
    team: Team, endpoint: Endpoint, issuer: LoopbackIssuer, here: str, hear_all: HearAll
) -> None:
    row = trust(team, issuer)
    for values in ([], ["openid"], ["mcp.read"], ["mcp.use"], ["mcp.echo"], ["mcp.use", "mcp.echo"]):
        holder = endpoint.with_key(issuer.token(here, scope=" ".join(values)))
        for tool in ("echo", "fail", "nothing"):
            explained = explain_call(row.pk, "default", tool, values=values, caller=team.owner)
            answer = holder.call(tool, {"text": "x"} if tool == "echo" else {})
            refused = (
                answer.status == 403
                or answer.json.get("error", {}).get("data", {}).get("code") == "tool_unknown"
            )
            assert explained.allowed is not refused, (values, tool)
            if explained.refusal is not None and answer.status == 403:
                assert explained.refusal.answer == answer.error["message"]
    change_issuer(row.pk, {"enabled": False}, caller=team.owner)
    off = explain_call(row.pk, "default", "echo", values=["mcp.use"], caller=team.owner)
    assert off.refusal is not None
    assert off.refusal.name == "credential"
    with pytest.raises(NotFound):
        explain_call(row.pk, "default", "echo", caller=make_team().owner)
