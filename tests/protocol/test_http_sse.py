"""HTTP+SSE, the transport of 2024-11-05: one stream for all that goes to the client, a URL for what comes from it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mcp import ClientSession
from mcp.client.sse import sse_client

from tenants.services.keys import issue_key, revoke_key
from tests.factories import Team, switch_tool
from tests.plugins.live_marina import LiveMarina
from tests.protocol.conftest import ALL_SCOPES, EndOfCall, Records
from tests.protocol.streamclient import EVENTS, Stream
from tests.protocol.talker import TalkerBackend
from tests.protocol.waiting import wait_for
from tests.protocol.wireclient import Answer, Endpoint

HELLO = {"capabilities": {"elicitation": {}}, "clientInfo": {"name": "old", "version": "1"}}


@dataclass(frozen=True)
class Duplex:
    """An open stream and where its messages go."""

    stream: Stream
    messages: Endpoint

    def post(self, message: Any, *, port: int | None = None, key: str | None = None) -> Answer:
        at = self.messages
        to = Endpoint(port or at.port, at.path, key or at.key)
        return to.send(json.dumps(message).encode(), {"Accept": None})

    def request(self, method: str, params: Any = None, rpc_id: Any = 1, **more: Any) -> None:
        answer = self.post({"jsonrpc": "2.0", "id": rpc_id, "method": method, "params": params or {}}, **more)
        assert (answer.status, answer.body) == (202, b"Accepted")


def _open(talk: Endpoint) -> Duplex:
    stream = Stream(talk.at(f"{talk.path}/sse"), None, {"Accept": EVENTS}, method="GET")
    first = stream.next()
    assert first is not None
    assert first.name == "endpoint"
    return Duplex(stream, talk.at(first.data))


def begin_duplex(talk: Endpoint, version: str = "2024-11-05") -> Duplex:
    duplex = _open(talk)
    duplex.request("initialize", {"protocolVersion": version, **HELLO}, rpc_id=0)
    answer = duplex.stream.message()
    assert answer["id"] == 0
    assert answer["result"]["protocolVersion"] == version
    assert duplex.post({"jsonrpc": "2.0", "method": "notifications/initialized"}).status == 202
    return duplex


@pytest.mark.parametrize("version", ["2024-11-05", "2025-11-25"])
def test_answers_come_on_the_stream_whichever_replica_took_the_message(
    talk: Endpoint, second_port: int, version: str
) -> None:
    duplex = begin_duplex(talk, version)
    with duplex.stream as stream:
        for rpc_id, port in enumerate((talk.port, second_port)):
            duplex.request("tools/list", rpc_id=rpc_id, port=port)
            answer = stream.message()
            assert answer["id"] == rpc_id
            assert "ask" in {tool["name"] for tool in answer["result"]["tools"]}
            assert ("title" in str(answer["result"])) is False


def test_progress_and_questions_go_through_another_replica(talk: Endpoint, second_port: int) -> None:
    duplex = begin_duplex(talk)
    with duplex.stream as stream:
        call = {"name": "steps", "arguments": {"count": 2}, "_meta": {"progressToken": "p"}}
        duplex.request("tools/call", call, port=second_port)
        assert [stream.message()["params"]["progress"] for _ in range(2)] == [1, 2]
        assert stream.message()["id"] == 1
        duplex.request("tools/call", {"name": "ask"}, rpc_id=2, port=second_port)
        question = stream.message()
        assert question["method"] == "elicitation/create"
        duplex.post({"jsonrpc": "2.0", "id": question["id"], "result": {"action": "decline"}})
        answer = stream.message()
        assert answer["id"] == 2
        assert answer["result"]["isError"] is False


def test_changes_and_errors_come_on_the_stream(talk: Endpoint, talkers: Team, second_port: int) -> None:
    duplex = begin_duplex(talk)
    with duplex.stream as stream:
        switch_tool(talkers, "say", False)
        assert stream.message()["method"] == "notifications/tools/list_changed"
        duplex.request("nothing/here", rpc_id="x", port=second_port)
        assert stream.message()["error"]["code"] == -32601
        duplex.request("resources/subscribe", {"uri": "talk://plain"}, port=second_port)
        assert stream.message()["result"] == {}
        wait_for(lambda: _is_told(duplex))


def _is_told(duplex: Duplex) -> bool:
    duplex.request("tools/call", {"name": "touch", "arguments": {"uri": "talk://plain"}})
    return any("uri" in duplex.stream.message().get("params", {}) for _ in range(2))


def test_cancellation_through_another_replica_ends_the_call(
    talk: Endpoint, talker: TalkerBackend, second_port: int
) -> None:
    duplex = begin_duplex(talk)
    with duplex.stream as stream:
        duplex.request("tools/call", {"name": "steps", "arguments": {"gate": "sse-cancel"}}, rpc_id="c")
        talker.wait_entered("sse-cancel")
        cancel = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": "c"}}
        assert duplex.post(cancel, port=second_port).status == 202
        talker.wait_cancelled("sse-cancel")
        duplex.request("ping", rpc_id="after")
        assert stream.message()["id"] == "after"


def test_session_ends_with_its_stream_and_takes_its_calls_along(
    talk: Endpoint, talker: TalkerBackend, second_port: int
) -> None:
    duplex = begin_duplex(talk)
    duplex.request("tools/call", {"name": "steps", "arguments": {"gate": "sse-left"}})
    talker.wait_entered("sse-left")
    duplex.stream.close()
    talker.wait_cancelled("sse-left")
    ping = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    for port in (talk.port, second_port):
        wait_for(lambda port=port: duplex.post(ping, port=port).status == 404)  # type: ignore[misc]


def test_messages_of_others_are_refused(talk: Endpoint, talkers: Team) -> None:
    duplex = begin_duplex(talk)
    ping = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    with duplex.stream:
        assert duplex.post(ping, key=talkers.key(*ALL_SCOPES)).status == 404
        assert duplex.post(ping, key="mcp_live_no").status == 401
        for query in ("", "?session_id=", "?session_id=../x", "?session_id=" + "A" * 32):
            at = talk.at(duplex.messages.path.partition("?")[0] + query)
            assert at.send(json.dumps(ping).encode()).status == 404, query
        assert duplex.messages.send(None, method="GET").status == 405
        assert talk.at(f"{talk.path}/sse").send(b"{}", method="POST").status == 405


def test_stream_needs_a_key_and_an_accept_that_takes_it(talk: Endpoint) -> None:
    at = talk.at(f"{talk.path}/sse")
    assert at.with_key(None).send(None, {"Accept": EVENTS}, method="GET").status == 401
    assert at.send(None, {"Accept": "application/json"}, method="GET").status == 406


@pytest.mark.anyio
async def test_official_client_lists_and_calls(talk: Endpoint) -> None:
    headers = {"Authorization": f"Bearer {talk.key}"}
    async with (
        sse_client(f"{talk.url}/sse", headers=headers) as (read, write),
        ClientSession(read, write) as session,
    ):
        await session.initialize()
        listed = await session.list_tools()
        assert "ask" in {tool.name for tool in listed.tools}
        told: list[float] = []

        async def heard(progress: float, total: float | None, message: str | None) -> None:
            told.append(progress)

        called = await session.call_tool("steps", {}, progress_callback=heard)
        assert not called.is_error
        assert told == [1, 2, 3]


def test_call_is_recorded_with_the_cause_when_the_stream_ends_with_its_credential(
    talk: Endpoint,
    talkers: Team,
    talker: TalkerBackend,
    end_of_call: EndOfCall,
    quick_checks: None,
) -> None:
    issued = issue_key("short-lived", list(ALL_SCOPES), caller=talkers.owner)
    duplex = begin_duplex(talk.with_key(issued.key))
    with duplex.stream as stream:
        duplex.request("tools/call", {"name": "steps", "arguments": {"gate": "sse-revoked"}})
        talker.wait_entered("sse-revoked")
        revoke_key(issued.row.pk, caller=talkers.owner)
        assert stream.messages() == []
        talker.wait_cancelled("sse-revoked")
    assert end_of_call(talkers) == ("cancelled", "key_revoked")


@pytest.mark.timeout(120)
def test_call_that_another_replica_took_along_when_it_ended_is_answered_so(
    talk: Endpoint, talkers: Team, tmp_path: Path, records: Records
) -> None:
    with LiveMarina(
        tmp_path / "web.log",
        module="tests.protocol.second_replica:application",
        environment={"MARINA_DRAIN_SECONDS": "1"},
    ).running() as there:
        duplex = begin_duplex(talk)
        with duplex.stream as stream:
            call = {"name": "steps", "arguments": {"gate": "never"}, "_meta": {"progressToken": "p"}}
            duplex.request("tools/call", call, rpc_id="lost", port=there.port)
            assert [stream.message()["params"]["progress"] for _ in range(3)] == [1, 2, 3]
            there.stop()
            answer = stream.message()
    assert (answer["id"], answer["error"]["data"]["code"]) == ("lost", "process_ended")
    assert [record["outcome"] for record in records(talkers)][-1] == "cancelled"
