"""MCP over a WebSocket: messages as on stdio, in either era, with the checks of a POST for each."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from core.errors import Unavailable
from servers.endpoint import tenure, websocket
from servers.endpoint.exchange import Exchange
from servers.endpoint.subscribers import Hub
from tenants.services.keys import issue_key, revoke_key
from tests.factories import Team, make_team, switch_tool
from tests.protocol.conftest import ALL_SCOPES, EndOfCall, HearAll, OnLoop, Records
from tests.protocol.talker import FORM, TalkerBackend
from tests.protocol.waiting import wait_for
from tests.protocol.wireclient import MODERN, Endpoint, modern_meta

ACCEPT = {"action": "accept", "content": {"region": "eu"}}


class Socket:
    """A connection that speaks JSON."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    def send(self, message: Any) -> None:
        self.connection.send(json.dumps(message))

    def take(self) -> Any:
        return json.loads(self.connection.recv(timeout=60))

    def ask(self, method: str, params: Any = None, rpc_id: Any = 1) -> None:
        self.send({"jsonrpc": "2.0", "id": rpc_id, "method": method, "params": params or {}})

    def call(self, tool: str, arguments: Any = None, rpc_id: Any = 1, **meta: Any) -> None:
        self.ask("tools/call", {"name": tool, "arguments": arguments or {}, "_meta": meta}, rpc_id)

    def notify(self, method: str, **params: Any) -> None:
        self.send({"jsonrpc": "2.0", "method": method, "params": params})

    def closed_with(self) -> int:
        try:
            while True:
                self.connection.recv(timeout=60)
        except ConnectionClosed:
            code = self.connection.close_code
            assert code is not None
            return code


@contextmanager
def _open(at: Endpoint, **headers: str) -> Iterator[Socket]:
    sent = {**({} if at.key is None else {"Authorization": f"Bearer {at.key}"}), **headers}
    with connect(
        f"ws://127.0.0.1:{at.port}{at.path}/ws",
        additional_headers=sent,
        subprotocols=["mcp"],  # type: ignore[list-item]
        max_size=None,
        proxy=None,
    ) as connection:
        yield Socket(connection)


@contextmanager
def _begun(at: Endpoint, version: str = "2025-11-25", **capabilities: Any) -> Iterator[Socket]:
    with _open(at) as socket:
        info = {"name": "socket", "version": "1"}
        socket.ask(
            "initialize", {"protocolVersion": version, "capabilities": capabilities, "clientInfo": info}, 0
        )
        assert socket.take()["result"]["protocolVersion"] == version
        socket.notify("notifications/initialized")
        yield socket


@pytest.mark.parametrize("version", ["2025-11-25", "2024-11-05"])
def test_legacy_client_lists_and_calls(talk: Endpoint, version: str) -> None:
    with _begun(talk, version) as socket:
        assert socket.connection.subprotocol == "mcp"
        socket.ask("tools/list")
        tool = socket.take()["result"]["tools"][0]
        assert tool["name"] == "ask"
        socket.call("steps", rpc_id=2, progressToken="p")
        assert [socket.take()["params"]["progress"] for _ in range(3)] == [1, 2, 3]
        answer = socket.take()
        assert answer["id"] == 2
        assert ("structuredContent" in answer["result"]) is (version > "2025-06")


def test_modern_client_lists_calls_and_answers(talk: Endpoint) -> None:
    capabilities: dict[str, Any] = {"io.modelcontextprotocol/clientCapabilities": {"elicitation": {}}}
    with _open(talk) as socket:
        socket.ask("server/discover", {"_meta": modern_meta()})
        assert MODERN in socket.take()["result"]["supportedVersions"]
        socket.call("ask", **modern_meta(**capabilities))
        asked = socket.take()["result"]
        assert asked["inputRequests"]["region"]["params"] == FORM.params
        again = {
            "name": "ask",
            "arguments": {},
            "requestState": asked["requestState"],
            "inputResponses": {"region": ACCEPT},
        }
        socket.ask("tools/call", {**again, "_meta": modern_meta(**capabilities)})
        assert socket.take()["result"]["structuredContent"] == {"told": {"region": ACCEPT}}
        socket.call("ask", **modern_meta())
        assert socket.take()["error"]["code"] == -32021
        socket.call("ask", **modern_meta(**{"io.modelcontextprotocol/protocolVersion": "2999-01-01"}))
        assert socket.take()["error"]["code"] == -32022


def test_modern_client_listens_beside_its_requests(talk: Endpoint, talkers: Team) -> None:
    with _open(talk) as socket:
        wanted = {"notifications": {"toolsListChanged": True}, "_meta": modern_meta()}
        socket.ask("subscriptions/listen", wanted, rpc_id="l")
        assert socket.take()["method"] == "notifications/subscriptions/acknowledged"
        switch_tool(talkers, "say", False)
        told = socket.take()
        assert told["method"] == "notifications/tools/list_changed"
        assert told["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"] == "l"
        socket.notify("notifications/cancelled", requestId="l", _meta=modern_meta())
        socket.ask("tools/list", {"_meta": modern_meta()}, rpc_id=2)
        assert socket.take()["id"] == 2


def test_requests_are_served_side_by_side_and_cancelled_by_id(
    talk: Endpoint, talkers: Team, talker: TalkerBackend, records: Records
) -> None:
    with _begun(talk) as socket:
        for rpc_id in (1, "1"):
            socket.call("steps", {"gate": f"ws-{rpc_id!r}"}, rpc_id=rpc_id)
            talker.wait_entered(f"ws-{rpc_id!r}")
        socket.ask("ping", rpc_id="between")
        assert socket.take()["id"] == "between"
        socket.notify("notifications/cancelled", requestId="1")
        talker.wait_cancelled("ws-'1'")
        assert not talker.is_cancelled("ws-1")
        talker.open("ws-1")
        assert socket.take()["id"] == 1
    outcomes = sorted(record["outcome"] for record in records(talkers))
    assert outcomes == ["cancelled", "ok"]


def test_questions_are_answered_while_the_connection_is_full(
    talk: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Room for two of these, and not for a ping more.
    monkeypatch.setattr(websocket, "MAX_WAITING_BYTES", 260)
    with _begun(talk, elicitation={}) as socket:
        count = websocket.MAX_IN_FLIGHT
        for rpc_id in range(count):
            socket.call("ask", rpc_id=rpc_id)
        questions = [socket.take() for _ in range(count)]
        assert {each["method"] for each in questions} == {"elicitation/create"}
        for late in ("late", "later"):
            socket.call("ask", rpc_id=late)
        socket.ask("ping", rpc_id="over")
        refused = socket.take()
        assert refused["id"] == "over"
        assert refused["error"]["data"]["code"] == "too_many_requests"
        for each in questions:
            socket.send({"jsonrpc": "2.0", "id": each["id"], "result": ACCEPT})
        answered = 0
        while answered < count + 2:
            message = socket.take()
            if "method" in message:
                socket.send({"jsonrpc": "2.0", "id": message["id"], "result": ACCEPT})
            else:
                assert message["result"]["structuredContent"] == {"told": {"region": ACCEPT}}
                answered += 1


def test_changes_are_told_once_the_client_has_begun(talk: Endpoint, talkers: Team) -> None:
    with _begun(talk) as socket:
        switch_tool(talkers, "say", False)
        assert socket.take() == {"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}
        socket.ask("resources/subscribe", {"uri": "talk://plain"})
        assert socket.take()["result"] == {}
        socket.call("touch", {"uri": "talk://plain"})
        told = [socket.take(), socket.take()]
        assert {"uri": "talk://plain"} in [each.get("params") for each in told]
        socket.ask("resources/unsubscribe", {"uri": "talk://plain"})
        assert socket.take()["result"] == {}
        socket.call("touch", {"uri": "talk://plain"})
        assert "result" in socket.take()
        socket.ask("logging/setLevel", {"level": "error"})
        assert socket.take()["result"] == {}
        socket.call("steps", rpc_id="last")
        assert socket.take()["id"] == "last"


def test_refusals_have_the_status_that_a_post_gets(talk: Endpoint, talkers: Team, port: int) -> None:
    stranger = make_team()
    wrong = {
        401: [talk.with_key(None), talk.with_key("mcp_live_no"), talk.with_key(stranger.key())],
        404: [talk.at(f"{talk.path}/nowhere"), talk.at(f"{talk.path}/a/b")],
    }
    for status, places in wrong.items():
        for place in places:
            with pytest.raises(InvalidStatus) as refusal, _open(place):
                pass
            assert refusal.value.response.status_code == status
            assert refusal.value.response.body is not None
            assert "error" in json.loads(refusal.value.response.body)
    for headers in ({"Origin": "https://evil.example.com"},):
        with pytest.raises(InvalidStatus) as refusal, _open(talk, **headers):
            pass
        assert refusal.value.response.status_code == 403


def test_connection_ends_with_its_credential(
    talk: Endpoint, talkers: Team, hear_all: HearAll, monkeypatch: pytest.MonkeyPatch
) -> None:
    issued = issue_key("short-lived", list(ALL_SCOPES), expires_in_days=1, caller=talkers.owner)
    with _begun(talk.with_key(issued.key)) as socket:
        revoke_key(issued.row.pk, caller=talkers.owner)
        hear_all()
        socket.ask("tools/list")
        refused = socket.take()
        assert refused["error"]["code"] == 401
        assert socket.closed_with() == 1008
    monkeypatch.setattr(tenure, "CHECK_SECONDS", 0.2)
    issued = issue_key("short-lived", list(ALL_SCOPES), expires_in_days=1, caller=talkers.owner)
    with _begun(talk.with_key(issued.key)) as socket:
        revoke_key(issued.row.pk, caller=talkers.owner)
        assert socket.closed_with() == 1008


def test_call_that_its_credential_ends_before_is_recorded_with_the_cause(
    talk: Endpoint,
    talkers: Team,
    talker: TalkerBackend,
    end_of_call: EndOfCall,
    quick_checks: None,
) -> None:
    issued = issue_key("short-lived", list(ALL_SCOPES), expires_in_days=1, caller=talkers.owner)
    with _begun(talk.with_key(issued.key)) as socket:
        socket.call("steps", {"gate": "ws-revoked"})
        talker.wait_entered("ws-revoked")
        revoke_key(issued.row.pk, caller=talkers.owner)
        assert socket.closed_with() == 1008
        assert socket.connection.close_reason == "key_revoked"
    talker.wait_cancelled("ws-revoked")
    assert end_of_call(talkers) == ("cancelled", "key_revoked")


def test_closed_connection_cancels_what_it_asked_for(
    talk: Endpoint, talkers: Team, talker: TalkerBackend, records: Records
) -> None:
    with _begun(talk) as socket:
        socket.call("steps", {"gate": "ws-closed"})
        talker.wait_entered("ws-closed")
    talker.wait_cancelled("ws-closed")
    wait_for(lambda: [record["outcome"] for record in records(talkers)] == ["cancelled"])


def test_what_is_no_message_is_answered_with_an_error(talk: Endpoint) -> None:
    with _begun(talk) as socket:
        for garbage, code in (
            ("{", -32700),
            ("5", -32600),
            ('"x"', -32600),
            ('{"a":1}', -32600),
            ("[]", -32600),
        ):
            socket.connection.send(garbage)
            assert socket.take()["error"]["code"] == code, garbage
        socket.send([{"jsonrpc": "2.0", "id": 1, "method": "ping"}])
        assert socket.take()["error"]["data"]["code"] == "batch_not_allowed"
        socket.ask("ping")
        assert socket.take()["result"] == {}


def test_binary_frame_closes_the_connection(talk: Endpoint) -> None:
    with _begun(talk) as socket:
        socket.connection.send(b'{"jsonrpc":"2.0","id":1,"method":"ping"}')
        assert socket.closed_with() == 1003


def test_database_that_is_away_for_a_moment_ends_no_connection(
    talk: Endpoint, monkeypatch: pytest.MonkeyPatch, quick_checks: None
) -> None:
    looked = threading.Semaphore(0)
    usual = Exchange.admit

    async def away(self: Exchange, *, again: bool = False) -> None:
        if again:
            looked.release()
            raise Unavailable("The database does not answer.", code="database_unavailable")
        await usual(self)

    with _begun(talk) as socket:
        monkeypatch.setattr(Exchange, "admit", away)
        for _ in range(3):
            assert looked.acquire(timeout=60)
        socket.ask("ping")
        assert socket.take()["result"] == {}
        monkeypatch.setattr(tenure, "OUTAGE_SECONDS", 0.0)
        assert socket.closed_with() == 1013


def test_requests_end_before_a_process_that_is_going_closes_the_connection(
    talk: Endpoint, talker: TalkerBackend, hub: Hub, on_loop: OnLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "_over", False)
    with _begun(talk) as socket:
        socket.call("steps", {"gate": "ws-drain"}, rpc_id="running")
        talker.wait_entered("ws-drain")
        on_loop(_call(hub.end_all))
        socket.ask("ping", rpc_id="new")
        refused = socket.take()
        assert refused["id"] == "new"
        assert refused["error"]["data"]["code"] == "draining"
        talker.open("ws-drain")
        answer = socket.take()
        assert answer["id"] == "running"
        assert "result" in answer
        assert socket.closed_with() == 1001


async def _call(function: Callable[[], None]) -> None:
    function()


def test_batch_is_answered_where_the_revision_has_them(talk: Endpoint) -> None:
    with _begun(talk, "2025-03-26") as socket:
        socket.send([{"jsonrpc": "2.0", "id": number, "method": "ping"} for number in (1, 2)])
        assert [each["id"] for each in socket.take()] == [1, 2]


def test_message_that_is_too_large_closes_the_connection(talk: Endpoint) -> None:
    with _begun(talk) as socket:
        socket.connection.send("x" * (4 * 1024 * 1024 + 1))
        assert socket.closed_with() == 1009
