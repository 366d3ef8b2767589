"""One call through the decision path: what runs, what is refused, what fails, and that the log has it first."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from servers.services.playground import try_tool
from servers.services.runtime import Runtime
from tenants.audit.writer import AuditWriter
from tenants.models import AuditHead
from tenants.scoping import tenant_scope
from tests.factories import Team
from tests.protocol.conftest import OnLoop, Records
from tests.protocol.probe import SECRET, ProbeBackend
from tests.protocol.requirements import requirement
from tests.protocol.wireclient import LEGACY, Endpoint


@requirement("tools:unknown")
def test_unknown_tool_is_a_protocol_error_with_its_name_and_is_recorded(
    team: Team, endpoint: Endpoint, records: Records
) -> None:
    answer = endpoint.call("nonsense")
    assert (answer.status, answer.error["code"]) == (400, -32602)
    assert answer.error["message"].startswith("Unknown tool: nonsense")
    assert "echo" in answer.error["message"]
    (record,) = records(team)
    assert (record["outcome"], record["tool"], record["reason"]["code"]) == (
        "invalid",
        "nonsense",
        "tool_unknown",
    )


BAD_ARGUMENTS = [
    ({}, "$.text", "required"),
    ({"text": 5}, "$.text", "must be of type string, not integer"),
    ({"text": "x", "limit": 11}, "$.limit", "maximum of 10"),
    ({"text": "x", "limit": "5"}, "$.limit", "must be of type integer, not string"),
    ({"text": "x", "filters": [{"name": 1}]}, "$.filters[0].name", "must be of type string"),
    ({"text": "x", "extra": 1}, "$.extra", "not an argument"),
]


@requirement("tools:validation")
@pytest.mark.parametrize(("arguments", "path", "words"), BAD_ARGUMENTS)
def test_arguments_against_the_schema_are_a_tool_error_with_the_path(
    endpoint: Endpoint, probe: ProbeBackend, arguments: Any, path: str, words: str
) -> None:
    before = probe.executed
    answer = endpoint.call("echo", arguments)
    assert answer.status == 200
    result = answer.result
    assert result["isError"] is True
    assert path in result["content"][0]["text"]
    assert words in result["content"][0]["text"]
    assert path in [each["path"] for each in result["_meta"]["marina/error"]["errors"]]
    assert probe.executed == before


@requirement("tools:validation", "tools:validation-old")
@pytest.mark.parametrize("version", LEGACY)
def test_bad_arguments_are_answered_as_the_version_has_it(endpoint: Endpoint, version: str) -> None:
    answer = endpoint.legacy("tools/call", {"name": "echo", "arguments": {"text": 5}}, version=version)
    if version == "2025-11-25":
        assert answer.result["isError"] is True
    else:
        assert answer.error["code"] == -32602
        assert answer.error["data"]["errors"][0]["path"] == "$.text"


def test_value_that_did_not_fit_is_neither_echoed_nor_recorded_in_the_reason(
    team: Team, endpoint: Endpoint, records: Records
) -> None:
    answer = endpoint.call("echo", {"text": {"password": "hunter2"}})
    assert b"hunter2" not in answer.body
    (record,) = records(team)
    assert (record["outcome"], record["reason"]["code"]) == ("invalid", "arguments_invalid")
    assert "hunter2" not in json.dumps(record)


@pytest.mark.parametrize(
    "params", [{}, {"name": 5}, {"name": "echo", "arguments": [1]}, {"name": "echo", "arguments": 5}]
)
def test_malformed_call_is_invalid_params_and_recorded(
    team: Team, endpoint: Endpoint, records: Records, params: Any
) -> None:
    answer = endpoint.legacy("tools/call", params)
    assert answer.error["code"] == -32602
    (record,) = records(team)
    assert (record["kind"], record["outcome"]) == ("tools/call", "invalid")


@requirement("tools:failure")
def test_failed_source_is_a_tool_error_with_its_code(
    team: Team, endpoint: Endpoint, records: Records
) -> None:
    result = endpoint.call("fail").result
    assert result["isError"] is True
    assert result["content"][0]["text"] == "The data source does not answer. Start it, then call again."
    assert result["_meta"]["marina/error"]["code"] == "source_unreachable"
    (record,) = records(team)
    assert (record["outcome"], record["reason"]["code"]) == ("error", "source_unreachable")


@pytest.mark.parametrize("era", ["modern", "legacy"])
def test_fault_of_ours_shows_nothing_but_the_request_id(
    team: Team, endpoint: Endpoint, records: Records, caplog: pytest.LogCaptureFixture, era: str
) -> None:
    params = {"name": "crash", "arguments": {}}
    answer = getattr(endpoint, era)("tools/call", params)
    assert (answer.status, answer.error["code"]) == (500, -32603)
    assert answer.headers["X-Request-ID"] in answer.error["message"]
    assert SECRET.encode() not in answer.body
    assert b"RuntimeError" not in answer.body
    (record,) = records(team)
    assert (record["outcome"], record["reason"]["code"]) == ("error", "internal")
    assert SECRET not in json.dumps(record)
    logged = [each for each in caplog.records if each.levelname == "ERROR"]
    assert answer.headers["X-Request-ID"] in {getattr(each, "request_id", None) for each in logged}


def test_secrets_in_arguments_are_masked_in_the_log(team: Team, endpoint: Endpoint, records: Records) -> None:
    endpoint.call("echo", {"text": "postgres://me:hunter2@db/x and mcp_live_aaaaaaaaaa_bbbbbbbbbbbb"})
    (record,) = records(team)
    assert "hunter2" not in json.dumps(record)
    assert "bbbbbb" not in json.dumps(record)


def test_playground_takes_the_same_path(team: Team, endpoint: Endpoint, records: Records) -> None:
    result = try_tool("echo", {"text": "hi"}, caller=team.owner)
    assert (result.outcome, result.text) == ("ok", "hi")
    (record,) = records(team)
    assert (record["seq"], record["actor"]) == (result.seq, team.owner.actor)
    assert record["client"] == "Marina playground"


@pytest.fixture
def log_down(runtime: Runtime, on_loop: OnLoop) -> Iterator[None]:
    """Marina while its log's database does not answer: a real writer that finds nobody at its address."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]

    async def replace() -> Any:
        writer = AuditWriter(f"postgresql://nobody@127.0.0.1:{number}/none?connect_timeout=1")
        await writer.start()
        before, runtime.writer, runtime.refusals._writer = runtime.writer, writer, writer
        return writer, before

    async def restore(writer: Any, before: Any) -> Any:
        runtime.writer = runtime.refusals._writer = before
        await writer.close()

    writer, before = on_loop(replace())
    yield
    on_loop(restore(writer, before))


@pytest.mark.parametrize("version", ["modern", "legacy"])
def test_without_a_log_nothing_runs(
    endpoint: Endpoint, probe: ProbeBackend, log_down: None, version: str
) -> None:
    before = probe.executed
    answer = getattr(endpoint, version)("tools/call", {"name": "echo", "arguments": {"text": "x"}})
    assert answer.status == 503
    assert answer.error["data"] == {"code": "log_unavailable", "retryable": True}
    assert answer.headers["Retry-After"]
    assert probe.executed == before


def test_without_a_log_refusals_wait_too_and_tell_nothing(endpoint: Endpoint, log_down: None) -> None:
    here = endpoint.with_key(None).legacy("ping")
    nowhere = endpoint.at("/mcp/no-such-team").with_key(None).legacy("ping")
    assert here.status == nowhere.status == 503
    assert here.body == nowhere.body


@requirement("modern:cancel")
@pytest.mark.parametrize("era", ["modern", "legacy"])
def test_client_that_goes_away_cancels_its_call_and_the_log_says_so(
    team: Team, endpoint: Endpoint, probe: ProbeBackend, records: Records, era: str
) -> None:
    probe.entered.clear()
    probe.cancelled.clear()
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    params = {"name": "wait", "arguments": {}, **({"_meta": meta} if era == "modern" else {})}
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})
    routing = "MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\nMcp-Name: wait\r\n"
    head = (
        f"POST {endpoint.path} HTTP/1.1\r\nHost: 127.0.0.1:{endpoint.port}\r\n"
        f"Authorization: Bearer {endpoint.key}\r\nContent-Type: application/json\r\n"
        f"{routing if era == 'modern' else ''}Content-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", endpoint.port), timeout=10) as raw:
        raw.sendall((head + body).encode())
        assert probe.entered.wait(60)
    assert probe.cancelled.wait(60)
    found = records(team)
    while not found:
        found = records(team)
    assert [(each["tool"], each["outcome"]) for each in found] == [("wait", "cancelled")]


def test_many_calls_at_once_are_each_answered_with_their_own_id(endpoint: Endpoint, on_loop: OnLoop) -> None:
    import httpx2

    async def burst() -> Any:
        async with httpx2.AsyncClient(
            headers={"Authorization": f"Bearer {endpoint.key}"}, timeout=60
        ) as client:

            async def one(number: Any) -> Any:
                message = {
                    "jsonrpc": "2.0",
                    "id": number,
                    "method": "tools/call",
                    "params": {"name": "echo", "arguments": {"text": str(number)}},
                }
                return number, (await client.post(endpoint.url, json=message)).json()

            return await asyncio.gather(*(one(number) for number in range(50)))

    for number, answer in asyncio.run(burst()):
        assert answer["id"] == number
        assert answer["result"]["content"][0]["text"] == str(number)


def test_answer_waits_until_its_record_is_durable(
    team: Team, endpoint: Endpoint, records: Records, runtime: Runtime
) -> None:
    assert endpoint.call("echo", {"text": "first"}).status == 200
    with ThreadPoolExecutor(1) as pool:
        with tenant_scope(team.tenant_id):
            AuditHead.objects.select_for_update().get()
            answer = pool.submit(endpoint.call, "echo", {"text": "second"})
            while not runtime.writer.waiting:
                assert not answer.done()
            # The tool has run; its record cannot be written while the head is held.
            assert not answer.done()
            assert [record["arguments"] for record in records(team)] == [{"text": "first"}]
        assert answer.result(30).status == 200
    assert [record["arguments"] for record in records(team)] == [{"text": "first"}, {"text": "second"}]
