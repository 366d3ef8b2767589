"""Batches (2025-03-26) whose requests talk back before they are answered."""

from __future__ import annotations

from tests.protocol.streamclient import begin
from tests.protocol.talker import TalkerBackend
from tests.protocol.wireclient import Endpoint


def test_batch_with_progress_is_a_stream_that_ends_with_all_answers(talk: Endpoint) -> None:
    session = begin(talk, version="2025-03-26")
    calls = [
        {
            "jsonrpc": "2.0",
            "id": number,
            "method": "tools/call",
            "params": {"name": "steps", "arguments": {"count": 1}, "_meta": {"progressToken": number}},
        }
        for number in (1, 2)
    ]
    with session.send([*calls, {"jsonrpc": "2.0", "method": "notifications/initialized"}]) as stream:
        assert stream.is_stream
        *told, answers = stream.messages()
    assert [each["params"]["progressToken"] for each in told] == [1, 2]
    assert [each["id"] for each in answers] == [1, 2]
    with session.send([calls[0]], Accept="application/json") as stream:
        assert [each["id"] for each in stream.answer().json] == [1]


def test_end_of_the_session_ends_a_batch(talk: Endpoint, talker: TalkerBackend, second_port: int) -> None:
    session = begin(talk, version="2025-03-26")
    call = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {"name": "steps", "arguments": {"gate": "batch"}, "_meta": {"progressToken": 1}},
    }
    with session.send([call]) as stream:
        talker.wait_entered("batch")
        assert session.on(second_port).end().status == 204
        talker.wait_cancelled("batch")
        assert [each["method"] for each in stream.messages()] == ["notifications/progress"] * 3
