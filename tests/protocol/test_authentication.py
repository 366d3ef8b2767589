"""Who may come in: keys that are missing, malformed, expired, revoked, of elsewhere; and what the log keeps."""

from __future__ import annotations

import http.client
import json
import re
from datetime import timedelta
from time import sleep
from typing import Any

import pytest
from django.utils import timezone

from servers.models import Server
from servers.services.runtime import Runtime
from tenants.models import ApiKey
from tenants.scoping import tenant_scope
from tenants.services.keys import issue_key, revoke_key
from tests.factories import Team, make_team
from tests.protocol.conftest import HearAll, OnLoop, Records
from tests.protocol.requirements import requirement
from tests.protocol.wireclient import Endpoint

UNKNOWN = "mcp_live_0123456789_" + "x" * 43


def same_but_for_the_id(answer: Any) -> Any:
    headers = {name: value for name, value in answer.headers.items() if name not in {"x-request-id", "date"}}
    # It repeats the path that was asked for, whether or not anything is there.
    if "www-authenticate" in headers:
        headers["www-authenticate"] = re.sub(
            r'resource_metadata="[^"]*"', "resource_metadata", headers["www-authenticate"]
        )
    return answer.status, headers, answer.body


@requirement("auth:401")
@pytest.mark.parametrize(
    ("authorization", "code", "words"),
    [
        (None, "key_missing", "needs an API key"),
        ("", "key_missing", "Bearer <key>"),
        ("Bearer", "key_malformed", "Bearer <key>"),
        ("Basic dXNlcjpwYXNz", "key_missing", "Bearer <key>"),
        ("Digest username=x", "key_missing", "Bearer <key>"),
        ("Bearer abc def", "key_malformed", "Bearer <key>"),
        ("Bearer sk-something", "key_malformed", "begin with mcp_live_"),
        ("Bearer " + "mcp_live_" + "x" * 500, "key_malformed", "begin with mcp_live_"),
        (f"Bearer {UNKNOWN}", "key_unknown", "not known here"),
    ],
)
def test_bad_credential_gets_401_with_cause_and_next_step(
    endpoint: Endpoint, authorization: str, code: str, words: str
) -> None:
    answer = endpoint.legacy("ping", headers={"Authorization": authorization})
    assert answer.status == 401
    assert answer.error["data"]["code"] == code
    assert words in answer.error["message"]
    challenge = answer.headers["WWW-Authenticate"]
    assert challenge.startswith('Bearer realm="marina"')
    assert 'scope="tools:read tools:execute"' in challenge
    assert ('error="invalid_token"' in challenge) == (code != "key_missing")


def test_scheme_is_case_insensitive(endpoint: Endpoint) -> None:
    assert endpoint.legacy("ping", headers={"Authorization": f"bearer {endpoint.key}"}).status == 200


def test_revoked_key_is_told_from_an_unknown_one(team: Team, endpoint: Endpoint) -> None:
    issued = issue_key("k", ["tools:read"], caller=team.owner)
    revoke_key(issued.row.id, caller=team.owner)
    answer = endpoint.with_key(issued.key).legacy("ping")
    assert (answer.status, answer.error["data"]["code"]) == (401, "key_revoked")


def test_revoking_a_key_in_use_closes_it_when_the_change_is_heard(
    team: Team, endpoint: Endpoint, runtime: Runtime, hear_all: HearAll
) -> None:
    issued = issue_key("k", ["tools:read"], caller=team.owner)
    held = endpoint.with_key(issued.key)
    assert held.legacy("ping").status == 200
    assert runtime.grants.peek(issued.key, team.slug) is not None
    revoke_key(issued.row.id, caller=team.owner)
    hear_all()
    assert held.legacy("ping").error["data"]["code"] == "key_revoked"


def test_key_that_ends_while_a_body_comes_opens_nothing(
    team: Team, endpoint: Endpoint, hear_all: HearAll, records: Records
) -> None:
    issued = issue_key("k", ["tools:read", "tools:execute"], caller=team.owner)
    params = {"name": "echo", "arguments": {"text": "late"}}
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).encode()
    headers = {
        "Content-Type": "application/json",
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": "2025-11-25",
        "Authorization": f"Bearer {issued.key}",
        "Content-Length": str(len(body)),
    }
    waiting = []
    for _ in range(2):
        client = http.client.HTTPConnection("127.0.0.1", endpoint.port, timeout=60)
        client.request("POST", endpoint.path, headers=headers)
        client.send(body[:-1])
        waiting.append(client)
    sleep(0.3)  # Both are let in by now, and wait for the last byte.
    served, late = waiting
    served.send(body[-1:])
    answer = json.loads(served.getresponse().read())
    assert answer["result"]["isError"] is False
    revoke_key(issued.row.id, caller=team.owner)
    hear_all()
    late.send(body[-1:])
    refused = late.getresponse()
    assert (refused.status, json.loads(refused.read())["error"]["data"]["code"]) == (401, "key_revoked")
    assert [each["outcome"] for each in records(team) if each["kind"] == "tools/call"].count("ok") == 1
    for client in waiting:
        client.close()


def test_expired_key_is_told_from_an_unknown_one(team: Team, endpoint: Endpoint) -> None:
    issued = issue_key("k", ["tools:read"], caller=team.owner)
    with tenant_scope(team.tenant_id):
        ApiKey.objects.filter(pk=issued.row.id).update(expires_at=timezone.now() - timedelta(seconds=1))
    answer = endpoint.with_key(issued.key).legacy("ping")
    assert (answer.status, answer.error["data"]["code"]) == (401, "key_expired")


def test_held_grant_ends_with_its_key(team: Team, endpoint: Endpoint, runtime: Runtime) -> None:
    issued = issue_key("k", ["tools:read"], caller=team.owner)
    held = endpoint.with_key(issued.key)
    assert held.legacy("ping").status == 200
    with tenant_scope(team.tenant_id):
        ApiKey.objects.filter(pk=issued.row.id).update(expires_at=timezone.now() - timedelta(microseconds=1))
    (grant,) = [
        each for each in runtime.grants._grants.values() if each.caller.credential_id == issued.row.id
    ]
    grant.expires = timezone.now().timestamp()
    assert held.legacy("ping").error["data"]["code"] == "key_expired"


@pytest.mark.parametrize("kind", ["foreign key here", "own key at no tenant", "unknown key at no tenant"])
def test_key_of_elsewhere_is_answered_like_an_unknown_one(endpoint: Endpoint, kind: str) -> None:
    unknown = endpoint.with_key(UNKNOWN).legacy("ping")
    nowhere = endpoint.at("/mcp/no-such-team")
    other = {
        "foreign key here": lambda: endpoint.with_key(make_team().key()),
        "own key at no tenant": lambda: nowhere,
        "unknown key at no tenant": lambda: nowhere.with_key(UNKNOWN),
    }[kind]()
    assert same_but_for_the_id(other.legacy("ping")) == same_but_for_the_id(unknown)


@pytest.mark.parametrize("key", [None, "nonsense"])
def test_unknown_tenant_is_not_told_by_a_bad_credential(endpoint: Endpoint, key: Any) -> None:
    here, nowhere = endpoint.with_key(key), endpoint.at("/mcp/no-such-team").with_key(key)
    assert same_but_for_the_id(nowhere.legacy("ping")) == same_but_for_the_id(here.legacy("ping"))


def test_unknown_server_of_another_team_is_not_told(endpoint: Endpoint) -> None:
    foreign = endpoint.with_key(make_team().key())
    known, unknown = foreign.at(f"{endpoint.path}/default"), foreign.at(f"{endpoint.path}/nothing")
    assert same_but_for_the_id(known.legacy("ping")) == same_but_for_the_id(unknown.legacy("ping"))


def test_unknown_server_of_the_own_team_gets_404_and_is_recorded(
    team: Team, endpoint: Endpoint, records: Records
) -> None:
    answer = endpoint.at(f"{endpoint.path}/nothing").legacy("ping")
    assert (answer.status, answer.error["data"]["code"]) == (404, "server_not_found")
    (record,) = records(team)
    assert (record["kind"], record["outcome"], record["reason"]["code"]) == (
        "auth",
        "invalid",
        "server_not_found",
    )
    assert (record["server"], record["request_id"]) == ("nothing", answer.headers["X-Request-ID"])
    assert record["actor"].startswith("key:test key (mcp_live_")


def test_refused_credential_is_in_the_log_without_the_key(
    team: Team, endpoint: Endpoint, records: Records
) -> None:
    answer = endpoint.with_key(UNKNOWN).legacy("ping", headers={"User-Agent": "probe/1"})
    (record,) = records(team)
    assert (record["kind"], record["outcome"], record["reason"]["code"]) == ("auth", "refused", "key_unknown")
    assert record["actor"] == "unknown key (mcp_live_0123456789)"
    assert record["request_id"] == answer.headers["X-Request-ID"]
    assert record["client"] == "probe/1"
    assert "xxx" not in json.dumps(record)


def test_flood_of_refusals_is_bounded_in_the_log_and_counted(
    team: Team, endpoint: Endpoint, records: Records, runtime: Runtime, on_loop: OnLoop
) -> None:
    refused = endpoint.with_key(UNKNOWN)
    for _ in range(65):
        assert refused.legacy("ping").status == 401

    async def end_window() -> Any:
        await runtime.refusals.close()

    on_loop(end_window())
    found = records(team)
    assert len(found) == 61
    assert found[-1]["reason"]["code"] == "refusals_suppressed"
    assert found[-1]["reason"]["message"].startswith("5 more")


@pytest.mark.parametrize("ended", ["revoked", "expired"])
def test_flood_of_strangers_does_not_drown_a_key_that_was_the_teams_own(
    team: Team, endpoint: Endpoint, records: Records, ended: str
) -> None:
    issued = issue_key("k", ["tools:read"], caller=team.owner)
    if ended == "revoked":
        revoke_key(issued.row.id, caller=team.owner)
    with tenant_scope(team.tenant_id):
        ApiKey.objects.filter(pk=issued.row.id).update(expires_at=timezone.now() - timedelta(seconds=1))
    stranger = endpoint.with_key(UNKNOWN)
    for _ in range(61):
        assert stranger.legacy("ping").status == 401
    assert endpoint.with_key(issued.key).legacy("ping").status == 401
    last = records(team)[-1]
    assert last["reason"]["code"] == f"key_{ended}"
    assert last["actor"] == f"{ended} key (mcp_live_{issued.row.prefix})"


def test_public_server_needs_no_key_and_names_anonymous(
    team: Team, endpoint: Endpoint, records: Records, runtime: Runtime, on_loop: OnLoop
) -> None:
    with tenant_scope(team.tenant_id):
        Server.objects.create(slug="open", title="Open", access="public", offers_all=True)
    everyone = endpoint.with_key(None).at(f"{endpoint.path}/open")
    assert everyone.call("echo", {"text": "x"}).status == 200
    assert records(team)[-1]["actor"] == "anonymous (127.0.0.1)"
    assert everyone.at(endpoint.path).call("echo", {"text": "x"}).status == 401
    assert everyone.with_key(UNKNOWN).call("echo", {"text": "x"}).status == 401


def test_use_of_a_key_is_noted(team: Team, endpoint: Endpoint, runtime: Runtime, on_loop: OnLoop) -> None:
    assert endpoint.legacy("ping").status == 200
    on_loop(runtime.uses.flush())
    with tenant_scope(team.tenant_id):
        assert ApiKey.objects.get().last_used_at is not None


@pytest.mark.parametrize("slug", ["UPPER", "x" * 300, "..", "a.b", "-"])
def test_path_that_is_no_slug_is_answered_like_an_unknown_team(endpoint: Endpoint, slug: str) -> None:
    nowhere = endpoint.at("/mcp/no-such-team")
    for key in (endpoint.key, None):
        answer = endpoint.at(f"/mcp/{slug}").with_key(key).legacy("ping")
        assert same_but_for_the_id(answer) == same_but_for_the_id(nowhere.with_key(key).legacy("ping"))


@pytest.mark.parametrize("slug", ["UPPER", "x" * 300, "-"])
def test_path_that_is_no_server_gets_404(endpoint: Endpoint, slug: str) -> None:
    answer = endpoint.at(f"{endpoint.path}/{slug}").legacy("ping")
    assert (answer.status, answer.error["data"]["code"]) == (404, "server_not_found")
