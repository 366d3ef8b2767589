"""Whatever is refused to someone who is known is in the team's log, before the answer; and nobody fills the log so."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import pytest

from servers.endpoint import exchange
from servers.services.playground import try_tool
from servers.services.runtime import Runtime
from tenants.services.keys import issue_key, revoke_key
from tests.factories import Team
from tests.protocol.conftest import OnLoop, Records
from tests.protocol.probe import ProbeBackend
from tests.protocol.wireclient import MODERN, Endpoint, modern_meta
from tests.rest import Rest

CALL = {"name": "echo", "arguments": {"text": "x", "password": "hunter2"}}


@pytest.mark.parametrize(
    "headers", [{"Mcp-Name": "fail"}, {"Mcp-Name": None}, {"Mcp-Method": "tools/list"}, {"Mcp-Method": None}]
)
def test_call_whose_headers_disagree_is_recorded_with_what_it_asked_for(
    team: Team, endpoint: Endpoint, records: Records, headers: Any
) -> None:
    answer = endpoint.modern("tools/call", CALL, headers=headers)
    assert answer.error["code"] == -32020
    (record,) = records(team)
    assert (record["kind"], record["outcome"]) == ("tools/call", "invalid")
    assert record["reason"]["code"] == "header_mismatch"
    assert (record["tool"], record["client"]) == ("echo", "wire-test 1.2")
    assert record["arguments"] == {"text": "x", "password": "[masked]"}
    assert record["request_id"] == answer.headers["X-Request-ID"]


def test_call_whose_parameter_header_disagrees_is_recorded(
    team: Team, endpoint: Endpoint, records: Records
) -> None:
    endpoint.call("routed", {"region": "eu"}, headers={"Mcp-Param-Region": "us"})
    (record,) = records(team)
    assert (record["kind"], record["outcome"], record["tool"]) == ("tools/call", "invalid", "routed")
    assert record["reason"]["code"] == "header_mismatch"


def test_refused_calls_are_no_way_to_try_guesses_of_what_another_was_given(
    team: Team, endpoint: Endpoint, records: Records
) -> None:
    endpoint.with_key(team.key("tools:execute")).call("echo", {"text": "pin 4711"})
    [mark] = [record["hmac"] for record in records(team)]
    key = team.key("audit:metadata", "tools:read")
    assert endpoint.with_key(key).call("echo", {"text": "pin 4711"}).status == 403
    assert [record.get("hmac") for record in records(team)] == [mark, None]
    found = Rest(key).get(f"/tenants/{team.slug}/audit/records?text={mark}").body["results"]
    assert found == []
    assert mark not in str(Rest(key).get(f"/tenants/{team.slug}/audit/records").body)


def _message(**members: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": 1, **members}).encode()


@pytest.mark.parametrize(
    ("body", "headers", "code", "asked"),
    [
        (_message(method="nonsense"), {}, "method_unknown", {"method": "nonsense"}),
        (_message(method="initialize", params={}), {}, "params_invalid", {"method": "initialize"}),
        (
            _message(method="tools/list", params={"cursor": "x"}),
            {},
            "cursor_invalid",
            {"method": "tools/list"},
        ),
        (_message(method="ping", params=[]), {}, "message_malformed", {"method": "ping"}),
        (b"{", {}, "json_invalid", None),
        (b"[]", {"MCP-Protocol-Version": MODERN}, "batch_not_allowed", None),
        (
            _message(method="tools/list", params={"_meta": modern_meta()}),
            {"MCP-Protocol-Version": "2099-01-01"},
            "header_mismatch",
            {"method": "tools/list"},
        ),
        (
            _message(method="tools/list"),
            {"MCP-Protocol-Version": "2099-01-01"},
            "version_unsupported",
            {"method": "tools/list"},
        ),
    ],
)
def test_malformed_request_of_a_known_caller_is_recorded(
    team: Team, endpoint: Endpoint, records: Records, body: bytes, headers: Any, code: str, asked: Any
) -> None:
    answer = endpoint.send(body, headers)
    assert "error" in answer.json
    (record,) = records(team)
    assert (record["kind"], record["outcome"], record["reason"]["code"]) == ("request", "invalid", code)
    assert record["arguments"] == asked
    assert record["request_id"] == answer.headers["X-Request-ID"]


def test_message_of_a_batch_that_is_refused_is_recorded(
    team: Team, endpoint: Endpoint, records: Records
) -> None:
    batch = [
        {"jsonrpc": "2.0", "id": 1, "method": "nonsense"},
        {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": 5}},
    ]
    endpoint.send(json.dumps(batch).encode())
    assert [(each["kind"], each["reason"]["code"]) for each in records(team)] == [
        ("request", "method_unknown"),
        ("tools/call", "params_invalid"),
    ]


def test_flood_of_malformed_requests_is_bounded_for_each_key_and_counted(
    team: Team, endpoint: Endpoint, records: Records, runtime: Runtime, on_loop: OnLoop
) -> None:
    for _ in range(63):
        assert endpoint.legacy("nonsense").error["code"] == -32601
    other = endpoint.with_key(team.key(name="other"))
    assert other.legacy("nonsense").error["code"] == -32601

    async def end_windows() -> Any:
        await runtime.refusals.close()

    on_loop(end_windows())
    found = records(team)
    assert len(found) == 62
    assert found[60]["actor"].startswith("key:other")
    assert found[61]["reason"]["message"].startswith("3 more")
    assert found[61]["actor"] == found[0]["actor"]


def test_text_that_utf_8_has_no_bytes_for_keeps_no_call_from_the_log(team: Team, records: Records) -> None:
    with pytest.raises(Exception):  # noqa: B017 - whatever it is, the log has it
        try_tool("echo", {"text": "\ud800 password=hunter2", "\ud800": "x"}, caller=team.owner)
    with pytest.raises(Exception):  # noqa: B017
        try_tool("no such tool \ud800", {}, caller=team.owner)
    found = records(team)
    assert [each["kind"] for each in found] == ["tools/call", "tools/call"]
    assert "hunter2" not in json.dumps(found)


@pytest.fixture
def held_call(
    team: Team, endpoint: Endpoint, probe: ProbeBackend, on_loop: OnLoop
) -> Iterator[tuple[UUID, Any]]:
    """A batch of a key of its own: the first call waits until it is let go, the second would echo."""
    issued = issue_key("batch", ["tools:execute"], caller=team.owner)
    batch = [
        {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "wait"}},
        {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": CALL},
    ]
    probe.entered.clear()
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(endpoint.with_key(issued.key).send, json.dumps(batch).encode())
        assert probe.entered.wait(60)

        def finish() -> Any:
            on_loop(probe.let_go())
            return answer.result(60).json

        yield issued.row.id, finish


def test_key_that_is_revoked_while_its_batch_runs_reaches_no_further_message(
    team: Team,
    probe: ProbeBackend,
    runtime: Runtime,
    records: Records,
    held_call: tuple[UUID, Any],
) -> None:
    key_id, finish = held_call
    executed = probe.executed
    revoke_key(key_id, caller=team.owner)

    def is_held() -> bool:
        grants = list(runtime.grants._grants.values())
        return any(grant.caller.credential_id == key_id for grant in grants)

    while is_held():
        pass
    first, second = finish()
    assert "result" in first
    assert (second["id"], second["error"]["code"], second["error"]["data"]["code"]) == (2, 401, "key_revoked")
    assert probe.executed == executed
    assert [(each["kind"], each["outcome"]) for each in records(team)] == [
        ("tools/call", "ok"),
        ("auth", "refused"),
    ]


def test_batch_ends_at_its_deadline_and_each_call_left_over_is_told_and_recorded(
    team: Team,
    endpoint: Endpoint,
    probe: ProbeBackend,
    records: Records,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(exchange, "BATCH_SECONDS", 3.0)
    executed = probe.executed
    batch = [
        {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "wait"}},
        {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": CALL},
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "id": 3, "method": "ping"},
    ]
    first, second, third = endpoint.send(json.dumps(batch).encode()).json
    assert first["result"]["isError"] is True
    for each in (second, third):
        assert (each["error"]["code"], each["error"]["data"]["code"]) == (408, "batch_too_slow")
        assert each["error"]["data"]["retryable"] is True
    assert probe.executed == executed + 1
    cut, left_over, ping = records(team)
    assert (cut["outcome"], cut["reason"]["code"]) == ("error", "source_timeout")
    assert (left_over["outcome"], left_over["reason"]["rule"]) == ("refused", "batch:seconds")
    assert (left_over["tool"], left_over["arguments"]["password"]) == ("echo", "[masked]")
    assert (ping["kind"], ping["outcome"]) == ("request", "refused")
