"""Over MCP: what a key may do shrinks with its maker, and it works from its addresses only, on every transport."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from django.conf import settings
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from core.outbound import parse_networks
from servers.endpoint import watch
from servers.services.runtime import Runtime
from tenants.models import ApiKey
from tenants.roles import Role
from tenants.scoping import tenant_scope
from tenants.services.keys import issue_key, restrict_key, revoke_key
from tests.factories import Team, make_team
from tests.plugins.live_marina import NO_REDIS, LiveMarina
from tests.protocol.conftest import ALL_SCOPES, EndOfCall, HearAll, OnLoop, Records
from tests.protocol.streamclient import Stream, begin, open_modern
from tests.protocol.talker import TalkerBackend
from tests.protocol.waiting import in_thread
from tests.protocol.wireclient import Endpoint

HERE, THERE = "203.0.113.7", "198.51.100.9"


@pytest.fixture
def behind_proxy(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Marina believes what whoever connects over loopback says of the client."""
    trusting = dataclasses.replace(settings.ENV, trusted_proxies=parse_networks(["127.0.0.0/8"]))
    monkeypatch.setattr(settings, "ENV", trusting)


def come_from(address: str) -> dict[str, str | None]:
    return {"X-Forwarded-For": address}


# The maker


def test_a_key_in_use_loses_what_its_maker_loses_as_soon_as_that_is_heard(
    team: Team, endpoint: Endpoint, runtime: Runtime, hear_all: HearAll, records: Records
) -> None:
    maker = team.member(Role.ADMIN)
    issued = issue_key("k", ["tools:read", "tools:execute"], caller=maker)
    held = endpoint.with_key(issued.key)
    hear_all()
    assert held.call("echo", {"text": "x"}).status == 200
    assert runtime.grants.peek(issued.key, team.slug) is not None
    team.give_role(maker, Role.AUDITOR)
    hear_all()
    refused = held.call("echo", {"text": "x"})
    assert refused.status == 403
    assert refused.error["data"]["code"] == "maker_bound"
    assert refused.error["message"].startswith("The key's maker is now an auditor")
    record = records(team)[-1]
    assert (record["outcome"], record["reason"]["rule"]) == ("refused", "maker:tools.call")
    assert held.legacy("ping").status == 200


def test_a_grant_that_was_held_ends_within_its_seconds_where_nothing_is_heard(
    team: Team, endpoint: Endpoint, runtime: Runtime, hear_all: HearAll
) -> None:
    maker = team.member(Role.ADMIN)
    issued = issue_key("k", ["tools:read"], caller=maker)
    held = endpoint.with_key(issued.key)
    hear_all()
    assert held.modern("tools/list").status == 200
    before = runtime.grants.drop_tenant
    runtime.grants.drop_tenant = lambda tenant_id: None  # type: ignore[method-assign]
    try:
        team.part_with(maker)
        hear_all()
        (grant,) = [
            each for each in runtime.grants._grants.values() if each.caller.credential_id == issued.row.pk
        ]
        assert grant.until <= monotonic() + 5
        grant.until = 0
        assert held.modern("tools/list").error["data"]["code"] == "maker_bound"
    finally:
        runtime.grants.drop_tenant = before  # type: ignore[method-assign]


def test_without_redis_a_key_loses_what_its_maker_loses_within_seconds(
    database: None, tmp_path: Path
) -> None:
    team = make_team()
    maker = team.member(Role.ADMIN)
    key = issue_key("k", ["tools:read"], caller=maker).key
    with LiveMarina(tmp_path / "web.log", environment=NO_REDIS).running(wait_for="/health") as marina:
        endpoint = Endpoint(marina.port, f"/mcp/{team.slug}", key)
        assert endpoint.modern("tools/list").status == 200
        team.part_with(maker)
        deadline = monotonic() + 60
        while endpoint.modern("tools/list").status != 403:
            assert monotonic() < deadline, "it still opens"
        # The first refusal may have met a request on its way, and say only that its rights became less.
        answer = endpoint.modern("tools/list")
        assert answer.status == 403
        assert answer.error["message"].startswith("The key's maker is no longer a member of the team")


@pytest.mark.parametrize("kind", ["session", "listen"])
def test_a_stream_ends_when_its_key_may_do_less(
    talk: Endpoint, talkers: Team, quick_checks: None, kind: str
) -> None:
    maker = talkers.member(Role.ADMIN)
    key = issue_key("k", list(ALL_SCOPES), caller=maker).key
    with open_stream(talk.with_key(key), kind, {}) as stream:
        assert stream.next() is not None
        talkers.give_role(maker, Role.AUDITOR)
        assert all("method" not in message for message in stream.messages())


def test_a_stream_outlasts_a_role_that_takes_nothing_of_it(
    talk: Endpoint, talkers: Team, quick_checks: None, hear_all: HearAll
) -> None:
    maker = talkers.member(Role.OWNER)
    key = issue_key("k", ["admin"], caller=maker).key
    with open_stream(talk.with_key(key), "session", {}) as stream:
        assert stream.next() is not None
        talkers.give_role(maker, Role.ADMIN)
        hear_all()
        assert talk.with_key(key).modern("tools/list").status == 200


@pytest.mark.parametrize("streams", [False, True])
def test_a_call_is_refused_and_recorded_with_the_cause_when_its_key_may_do_less(
    talk: Endpoint,
    talkers: Team,
    talker: TalkerBackend,
    records: Records,
    monkeypatch: pytest.MonkeyPatch,
    streams: bool,
) -> None:
    monkeypatch.setattr(watch, "HOLD_SECONDS", 0.2)
    maker = talkers.member(Role.ADMIN)
    key = issue_key("k", list(ALL_SCOPES), caller=maker).key
    gate = f"shrinks-{streams}"
    session = begin(talk.with_key(key))

    def call() -> Any:
        with session.call("steps", {"gate": gate}, rpc_id=7, token="t" if streams else None) as stream:
            if stream.is_stream:
                return stream.messages()[-1]
            return {**stream.answer().json, "status": stream.status}

    with in_thread(call) as result:
        talker.wait_entered(gate)
        talkers.give_role(maker, Role.AUDITOR)
        talker.wait_cancelled(gate)
        refused = result()
    assert refused["id"] == 7
    assert refused.get("status", 403) == 403
    assert refused["error"]["code"] == 403
    assert refused["error"]["data"]["code"] == "rights_changed"
    recorded = {
        record["kind"]: (record["outcome"], record["reason"]["code"], record["reason"]["rule"])
        for record in records(talkers)
        if record["reason"]
    }
    assert recorded == {
        "auth": ("refused", "rights_changed", "rights:changed"),
        "tools/call": ("cancelled", "rights_changed", "rights:changed"),
    }


def test_a_call_whose_key_is_revoked_meanwhile_is_refused_as_the_next_one_would_be(
    talk: Endpoint,
    talkers: Team,
    talker: TalkerBackend,
    end_of_call: EndOfCall,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watch, "HOLD_SECONDS", 0.2)
    issued = issue_key("k", list(ALL_SCOPES), caller=talkers.owner)
    own = talk.with_key(issued.key)
    with in_thread(lambda: own.call("steps", {"gate": "revoked"})) as result:
        talker.wait_entered("revoked")
        revoke_key(issued.row.pk, caller=talkers.owner)
        talker.wait_cancelled("revoked")
        refused = result()
    assert (refused.status, refused.error["data"]["code"]) == (401, "key_revoked")
    assert "WWW-Authenticate" in refused.headers
    assert end_of_call(talkers) == ("cancelled", "key_revoked")


# The address


def open_stream(endpoint: Endpoint, kind: str, headers: dict[str, str | None]) -> Stream:
    """A stream that stands open: of a session, of 2026-07-28, or the one of HTTP+SSE."""
    if kind == "session":
        session = begin(endpoint, headers=headers)
        return session.listen(**headers)
    if kind == "listen":
        return open_modern(endpoint, "subscriptions/listen", {"notifications": {}}, headers=headers)
    return Stream(endpoint.at(f"{endpoint.path}/sse"), None, headers, method="GET")


def test_a_key_works_from_its_networks_and_is_refused_elsewhere(
    team: Team, endpoint: Endpoint, behind_proxy: None, records: Records
) -> None:
    issued = issue_key(
        "k", ["tools:read", "tools:execute"], networks=["203.0.113.0/24", "2001:db8::/32"], caller=team.owner
    )
    own = endpoint.with_key(issued.key)
    for address in (HERE, "::ffff:203.0.113.9", "2001:db8:1::5", f"{THERE}, {HERE}", "203.0.113.1:4711"):
        assert own.legacy("ping", headers=come_from(address)).status == 200, address
    # The grant is held by now: it opens nothing from elsewhere all the same.
    for address in (THERE, "2001:db9::1", f"{HERE}, {THERE}", "nonsense"):
        refused = own.call("echo", {"text": "x"}, headers=come_from(address))
        assert refused.status == 403, address
        assert refused.error["data"]["code"] == "address_not_allowed"
        assert refused.error["data"]["rule"] == "key:networks"
        assert "203.0.113.0" not in refused.body.decode()
        assert "www-authenticate" not in refused.headers
    record = records(team)[-1]
    assert (record["kind"], record["outcome"], record["reason"]["rule"]) == (
        "auth",
        "refused",
        "key:networks",
    )
    assert record["credential_id"] == str(issued.row.pk)


def test_without_a_trusted_proxy_a_client_cannot_say_where_it_is(team: Team, endpoint: Endpoint) -> None:
    issued = issue_key("k", ["tools:read"], networks=[HERE], caller=team.owner)
    refused = endpoint.with_key(issued.key).legacy("ping", headers=come_from(HERE))
    assert (refused.status, refused.error["data"]["address"]) == (403, "127.0.0.1")


@pytest.mark.parametrize("kind", ["session", "listen", "sse"])
def test_a_stream_opens_from_the_keys_networks_only_and_ends_when_they_change(
    talk: Endpoint, talkers: Team, behind_proxy: None, quick_checks: None, kind: str
) -> None:
    issued = issue_key("k", list(ALL_SCOPES), networks=[HERE], caller=talkers.owner)
    own = talk.with_key(issued.key)
    with open_stream(own, kind, come_from(HERE)) as stream:
        assert stream.status == 200
        assert stream.next() is not None
        restrict_key(issued.row.pk, [THERE], caller=talkers.owner)
        assert all("method" not in message for message in stream.messages())
    if kind != "session":
        with open_stream(own, kind, come_from(HERE)) as refused:
            assert refused.status == 403


def test_a_session_cannot_be_taken_elsewhere_with_its_key(
    talk: Endpoint, talkers: Team, behind_proxy: None
) -> None:
    issued = issue_key("k", list(ALL_SCOPES), networks=[HERE], caller=talkers.owner)
    session = begin(talk.with_key(issued.key), headers=come_from(HERE))
    with session.listen(**come_from(THERE)) as stream:
        assert stream.status == 403


def test_a_websocket_opens_from_the_keys_networks_only_and_closes_when_they_change(
    talk: Endpoint, talkers: Team, behind_proxy: None, quick_checks: None
) -> None:
    issued = issue_key("k", list(ALL_SCOPES), networks=[HERE], caller=talkers.owner)

    def dial(address: str) -> Any:
        return connect(
            f"ws://127.0.0.1:{talk.port}{talk.path}/ws",
            additional_headers={"Authorization": f"Bearer {issued.key}", "X-Forwarded-For": address},
            proxy=None,
        )

    with pytest.raises(InvalidStatus) as refused, dial(THERE):
        pass
    assert refused.value.response.status_code == 403
    with dial(HERE) as socket:
        restrict_key(issued.row.pk, [THERE], caller=talkers.owner)
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(timeout=60)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1008


def test_where_a_key_was_used_from_is_noted(
    team: Team, endpoint: Endpoint, runtime: Runtime, on_loop: OnLoop, behind_proxy: None
) -> None:
    assert endpoint.legacy("ping", headers=come_from("2001:db8::7")).status == 200
    on_loop(runtime.uses.flush())
    with tenant_scope(team.tenant_id):
        row = ApiKey.objects.get()
    assert (row.last_used_from, row.last_used_at is not None) == ("2001:db8::7", True)


def test_a_test_key_is_shown_as_one_in_the_log(team: Team, endpoint: Endpoint, records: Records) -> None:
    issued = issue_key("k", ["tools:read", "tools:execute"], mode="test", caller=team.owner)
    assert endpoint.with_key(issued.key).call("echo", {"text": "x"}).status == 200
    assert records(team)[-1]["actor"] == f"key:k (mcp_test_{issued.row.prefix})"
    endpoint.with_key(issued.key[:-4] + "zzzz").legacy("ping")
    assert records(team)[-1]["actor"] == f"unknown key (mcp_test_{issued.row.prefix})"
