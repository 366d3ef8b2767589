"""Streams of events of a request, and where they break off."""

from __future__ import annotations

from typing import Any

import pytest

from servers.endpoint import standing, watch
from tests.factories import Team
from tests.protocol.conftest import Records
from tests.protocol.streamclient import LegacySession, Stream, begin, open_modern
from tests.protocol.talker import TalkerBackend
from tests.protocol.waiting import in_thread, wait_for
from tests.protocol.wireclient import Endpoint


def _methods(messages: list[Any]) -> list[str]:
    return [message.get("method", "result" if "result" in message else "error") for message in messages]


def _cancelled(team: Team, records: Records) -> list[str]:
    return [record["tool"] for record in records(team) if record["outcome"] == "cancelled"]


# The stream of one request


@pytest.mark.parametrize("version", ["2025-11-25", "2025-06-18", "2024-11-05"])
def test_progress_comes_before_the_result(talk: Endpoint, version: str) -> None:
    with begin(talk, version=version).call("steps", token="t1", rpc_id=7) as stream:
        assert stream.is_stream
        messages = stream.messages()
    assert [each["params"] for each in messages[:-1]] == [
        {"progressToken": "t1", "progress": step, "total": 10, "message": f"step {step}"}
        for step in (1, 2, 3)
    ]
    assert messages[-1]["id"] == 7
    assert messages[-1]["result"]["structuredContent" if version > "2025-06" else "content"]


def test_progress_comes_before_the_result_without_a_session(talk: Endpoint) -> None:
    meta: dict[str, Any] = {"progressToken": 5}
    modern = open_modern(talk, "tools/call", {"name": "steps"}, **meta)
    message = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {"name": "steps", "_meta": meta},
    }
    legacy = Stream(talk, message, {"MCP-Protocol-Version": "2025-11-25"})
    for stream in (modern, legacy):
        with stream:
            first = stream.next()
            assert first is not None
            assert first.id is None
            assert first.json["params"]["progress"] == 1
            assert _methods(stream.messages()) == ["notifications/progress"] * 2 + ["result"]


def test_progress_without_a_token_is_not_sent(talk: Endpoint) -> None:
    with begin(talk).call("steps") as stream:
        assert not stream.is_stream
        assert stream.answer().result["isError"] is False


def test_client_that_takes_no_events_gets_json(talk: Endpoint) -> None:
    with begin(talk).call("steps", token=1, Accept="application/json") as stream:
        assert not stream.is_stream
        assert stream.answer().result["structuredContent"] == {"told": "done"}
    with open_modern(
        talk, "tools/call", {"name": "steps"}, headers={"Accept": "application/json"}, progressToken=1
    ) as stream:
        assert not stream.is_stream


def test_modern_request_gets_log_messages_only_when_it_asks(talk: Endpoint) -> None:
    level: dict[str, Any] = {"io.modelcontextprotocol/logLevel": "warning"}
    with open_modern(talk, "tools/call", {"name": "say"}, **level) as stream:
        messages = stream.messages()
    assert [each["params"]["level"] for each in messages[:-1]] == ["warning", "error"]
    assert messages[0]["params"] == {"level": "warning", "data": {"said": "warning"}, "logger": "talker"}
    with open_modern(talk, "tools/call", {"name": "say"}) as stream:
        assert not stream.is_stream


@pytest.mark.parametrize(("version", "primed"), [("2025-11-25", True), ("2025-06-18", False)])
def test_stream_begins_with_an_empty_event_since_2025_11_25(
    talk: Endpoint, version: str, primed: bool
) -> None:
    with begin(talk, version=version).call("steps", token=1) as stream:
        first = stream.next()
        assert first is not None
        assert (first.data == "") is primed
        assert first.id
        assert bool(first.retry) is primed


def test_events_of_a_session_have_ids_that_occur_once(talk: Endpoint) -> None:
    session = begin(talk)
    ids: list[str] = []
    for rpc_id in range(3):
        with session.call("steps", token=1, rpc_id=rpc_id) as stream:
            while (event := stream.next()) is not None:
                assert event.id
                ids.append(event.id)
    assert len(set(ids)) == len(ids) == 15


def _drop_and_come_back(
    session: LegacySession, talker: TalkerBackend, port: int, gate: str
) -> tuple[list[Any], list[Any]]:
    """The messages before and after, where the call goes on while its client is away."""
    with session.call("steps", {"gate": gate, "later": 2}, token=1, rpc_id=gate) as stream:
        before: list[Any] = []
        last = None
        while len(before) < 2:
            event = stream.next()
            assert event is not None
            last = event.id
            if event.data:
                before.append(event.json)
        talker.wait_entered(gate)
    with session.on(port).listen(last) as again:
        first = again.message()
        talker.open(gate)
        return before, [first, *again.messages()]


def test_client_that_comes_back_on_another_replica_misses_nothing_and_gets_nothing_twice(
    talk: Endpoint, second_port: int, talker: TalkerBackend
) -> None:
    before, after = _drop_and_come_back(begin(talk), talker, second_port, "elsewhere")
    assert [each["params"]["progress"] for each in (*before, *after[:-1])] == [1, 2, 3, 101, 102]
    assert after[-1]["id"] == "elsewhere"
    assert after[-1]["result"]["structuredContent"] == {"told": "done"}


def test_client_comes_back_on_the_same_replica(talk: Endpoint, talker: TalkerBackend) -> None:
    before, after = _drop_and_come_back(begin(talk, version="2025-06-18"), talker, talk.port, "here")
    assert [each["params"]["progress"] for each in (*before, *after[:-1])] == [1, 2, 3, 101, 102]
    assert "result" in after[-1]


def test_finished_stream_is_given_again_from_any_event(talk: Endpoint, second_port: int) -> None:
    session = begin(talk)
    events = []
    with session.call("steps", token=1) as stream:
        while (event := stream.next()) is not None:
            events.append(event)
    for place, event in enumerate(events):
        with session.on(second_port).listen(event.id) as again:
            assert again.status == 200
            assert [
                each["id"] if "id" in each else each["params"]["progress"] for each in again.messages()
            ] == ([1, 2, 3, 1][place:])


def test_release_lets_the_client_poll_for_the_result(
    talk: Endpoint, second_port: int, talker: TalkerBackend
) -> None:
    session = begin(talk)
    with session.call("release", {"gate": "released"}, token=1) as stream:
        events = []
        while (event := stream.next()) is not None:
            events.append(event)
    assert events[0].retry == 500
    assert [event.json["params"]["progress"] for event in events[1:]] == [1]
    talker.wait_entered("released")
    with session.on(second_port).listen(events[-1].id) as again:
        assert again.message()["params"]["progress"] == 2
        talker.open("released")
        assert again.message()["result"]["structuredContent"] == {"told": "released"}
        assert again.messages() == []


@pytest.mark.parametrize(
    "after", ["nonsense", "s", "0", "abcdef_1-1", "abcdef_0-0", "x" * 3000, "*", "abcdef_1-1 x", "__"]
)
def test_unknown_last_event_id_is_refused_and_ends_nothing(talk: Endpoint, after: str) -> None:
    session = begin(talk)
    with session.listen(after) as stream:
        assert stream.status == 400
        assert stream.answer().error["data"]["code"] == "event_unknown"
    assert session.request("ping").status == 200


def test_events_of_another_session_are_not_given(talk: Endpoint, second_port: int) -> None:
    with begin(talk).call("steps", token=1) as stream:
        event = stream.next()
        assert event is not None
    with begin(talk).on(second_port).listen(event.id) as stream:
        assert stream.status == 400


def test_request_whose_replica_is_gone_ends_with_an_error(
    talk: Endpoint,
    second_port: int,
    talker: TalkerBackend,
    monkeypatch: pytest.MonkeyPatch,
    quick_checks: None,
) -> None:
    from servers.endpoint import events

    monkeypatch.setattr(events, "LEASE_SECONDS", 1)
    session = begin(talk)
    with session.call("steps", {"gate": "orphan"}, token=1, rpc_id="lost") as stream:
        last = stream.next()
        assert last is not None
        talker.wait_entered("orphan")
        with session.listen(last.id) as again:
            messages = again.messages()
    assert _methods(messages) == ["notifications/progress"] * 3 + ["error"]
    assert messages[-1]["id"] == "lost"
    assert messages[-1]["error"]["data"]["code"] == "request_lost"
    talker.open("orphan")


# Going away and cancelling


def test_call_is_cancelled_and_recorded_when_its_client_goes_away_for_good(
    talk: Endpoint, talkers: Team, talker: TalkerBackend, records: Records
) -> None:
    with open_modern(talk, "tools/call", {"name": "steps", "arguments": {"gate": "gone"}}, progressToken=1):
        talker.wait_entered("gone")
    talker.wait_cancelled("gone")
    wait_for(lambda: _cancelled(talkers, records) == ["steps"])


def test_call_of_a_session_is_cancelled_when_its_client_does_not_come_back(
    talk: Endpoint,
    talkers: Team,
    talker: TalkerBackend,
    records: Records,
    second_port: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    session = begin(talk)
    with session.call("steps", {"gate": "left"}, token=1) as stream:
        last = stream.next()
        talker.wait_entered("left")
    assert last is not None
    with session.on(second_port).listen(last.id) as again:
        assert again.message()["params"]["progress"] == 1
        monkeypatch.setattr(watch, "RETURN_SECONDS", 0.2)
        assert not talker.is_cancelled("left")
    talker.wait_cancelled("left")
    wait_for(lambda: _cancelled(talkers, records) == ["steps"])


def test_released_call_is_cancelled_when_nobody_comes_for_it(
    talk: Endpoint, talker: TalkerBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "RETURN_SECONDS", 0.2)
    with begin(talk).call("release", {"gate": "unclaimed"}, token=1) as stream:
        stream.messages()
    talker.wait_cancelled("unclaimed")


@pytest.mark.parametrize("elsewhere", [False, True])
@pytest.mark.parametrize("token", [None, 1])
def test_cancellation_ends_the_call_and_its_stream_without_a_response(
    talk: Endpoint,
    talkers: Team,
    second_port: int,
    talker: TalkerBackend,
    records: Records,
    elsewhere: bool,
    token: int | None,
) -> None:
    session = begin(talk)
    gate = f"cancel-{elsewhere}-{token}"
    with in_thread(lambda: session.call("steps", {"gate": gate}, token=token, rpc_id=1)) as opening:
        talker.wait_entered(gate)
        sender = session.on(second_port) if elsewhere else session
        # The same number as a string is another request.
        assert sender.notify("notifications/cancelled", {"requestId": "1"}).status == 202
        assert not talker.is_cancelled(gate)
        assert sender.notify("notifications/cancelled", {"requestId": 1, "reason": "enough"}).status == 202
        talker.wait_cancelled(gate)
        with opening() as stream:
            if token is None:
                assert stream.answer().body == b""
            else:
                assert _methods(stream.messages()) == ["notifications/progress"] * 3
    wait_for(lambda: _cancelled(talkers, records) == ["steps"])


def test_cancellation_ends_a_stream_that_was_taken_up_elsewhere(
    talk: Endpoint, second_port: int, talker: TalkerBackend
) -> None:
    session = begin(talk)
    with session.call("steps", {"gate": "taken-up"}, token=1) as stream:
        last = stream.next()
        talker.wait_entered("taken-up")
    assert last is not None
    with session.on(second_port).listen(last.id) as again:
        assert again.message()["params"]["progress"] == 1
        session.notify("notifications/cancelled", {"requestId": 1})
        assert _methods(again.messages()) == ["notifications/progress"] * 2
    talker.wait_cancelled("taken-up")


@pytest.mark.parametrize("params", [None, {}, {"requestId": None}, {"requestId": [1]}, {"requestId": 99}])
def test_cancellation_of_nothing_is_accepted_and_ignored(talk: Endpoint, params: Any) -> None:
    session = begin(talk)
    assert session.notify("notifications/cancelled", params).status == 202
    assert session.request("ping").status == 200


def test_quiet_stream_is_kept_alive(
    talk: Endpoint, talker: TalkerBackend, monkeypatch: pytest.MonkeyPatch, quick_checks: None
) -> None:
    monkeypatch.setattr(watch, "PING_SECONDS", 0.1)
    monkeypatch.setattr(standing, "PING_SECONDS", 0.1)
    session = begin(talk, version="2025-06-18")
    with session.call("steps", {"gate": "quiet", "count": 0}) as stream:
        for _ in range(3):
            event = stream.next(comments=True)
            assert event is not None
            assert event.name == "comment"
        talker.open("quiet")
        assert "result" in stream.message()
    with session.listen() as stream:
        for _ in range(3):
            event = stream.next(comments=True)
            assert event is not None
            assert event.name == "comment"
