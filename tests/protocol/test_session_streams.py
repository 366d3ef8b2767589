"""The stream of a session: what it tells of, to whom, and what it keeps while nobody listens."""

from __future__ import annotations

import re

import pytest

from servers.endpoint.load import Load
from servers.endpoint.subscribers import Hub
from servers.services import updates as kept_updates
from tenants.services.keys import issue_key, revoke_key
from tests.factories import Team, switch_tool
from tests.protocol.conftest import ALL_SCOPES
from tests.protocol.requirements import requirement
from tests.protocol.streamclient import EVENTS, LegacySession, Stream, begin, open_modern
from tests.protocol.waiting import wait_for
from tests.protocol.wireclient import Endpoint


def test_stream_of_a_session_tells_of_a_change(talk: Endpoint, talkers: Team, second_port: int) -> None:
    session = begin(talk)
    for one in (session, session.on(second_port)):
        with one.listen() as stream:
            assert stream.status == 200
            assert stream.is_stream
            primed = stream.next()
            assert primed is not None
            assert primed.id
            for enabled in (False, True):
                switch_tool(talkers, "say", enabled)
                assert stream.message() == {"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}


def test_change_while_no_stream_was_open_is_told_later(
    talk: Endpoint, talkers: Team, second_port: int
) -> None:
    session = begin(talk)
    switch_tool(talkers, "say", False)
    with session.on(second_port).listen() as stream:
        assert stream.message()["method"] == "notifications/tools/list_changed"
    switch_tool(talkers, "say", True)
    with session.listen() as stream:
        assert stream.message()["method"] == "notifications/tools/list_changed"


def test_second_stream_of_a_session_takes_over(talk: Endpoint, talkers: Team, second_port: int) -> None:
    session = begin(talk)
    with session.listen() as old:
        assert old.next() is not None
        with session.on(second_port).listen() as new:
            assert new.next() is not None
            assert old.messages() == []
            switch_tool(talkers, "say", False)
            assert new.message()["method"] == "notifications/tools/list_changed"
    switch_tool(talkers, "say", True)


def test_update_of_a_resource_reaches_its_subscriber_on_another_replica(
    talk: Endpoint, second_port: int
) -> None:
    session = begin(talk)
    elsewhere = session.on(second_port)
    with session.listen() as stream:
        assert stream.next() is not None
        for uri in ("talk://plain", "talk://item/7"):
            assert elsewhere.request("resources/subscribe", {"uri": uri}).result == {}
        _wait_until_heard(session, stream, "talk://item/7")
        _touch(elsewhere, "talk://item/8")
        _touch(elsewhere, "talk://plain")
        assert stream.message() == {
            "jsonrpc": "2.0",
            "method": "notifications/resources/updated",
            "params": {"uri": "talk://plain"},
        }
        assert elsewhere.request("resources/unsubscribe", {"uri": "talk://plain"}).result == {}
        for _ in range(2):
            _touch(session, "talk://item/7")
            assert stream.message()["params"]["uri"] == "talk://item/7"
            _touch(session, "talk://plain")


def test_update_that_no_stream_was_open_for_is_told_by_the_next_one_once(
    talk: Endpoint, hub: Hub, second_port: int
) -> None:
    stood = hub.count
    session = begin(talk)
    _touch(session, "talk://item/1")
    for uri in ("talk://item/1", "talk://item/2", "talk://plain"):
        assert session.request("resources/subscribe", {"uri": uri}).result == {}
    # Before the first stream; by way of a replica that never has one.
    _touch(session.on(second_port), "talk://plain")
    _touch(session, "talk://item/9")
    with session.listen() as stream:
        assert stream.message()["params"] == {"uri": "talk://plain"}
    wait_for(lambda: hub.count <= stood)
    # Between two streams.
    _touch(session, "talk://item/2")
    with session.listen() as stream:
        assert stream.message()["params"] == {"uri": "talk://item/2"}
        _touch(session, "talk://item/1")
        assert stream.message()["params"] == {"uri": "talk://item/1"}


def test_updates_that_are_kept_are_bounded_by_number(talk: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_updates, "MAX_UPDATED", 2)
    session = begin(talk)
    for number in range(3):
        assert session.request("resources/subscribe", {"uri": f"talk://item/{number}"}).result == {}
    for number in range(3):
        _touch(session, f"talk://item/{number}")
    with session.listen() as stream:
        assert {stream.message()["params"]["uri"] for _ in range(2)} == {"talk://item/1", "talk://item/2"}


def _touch(session: LegacySession, uri: str) -> None:
    with session.call("touch", {"uri": uri}) as stream:
        assert stream.answer().status == 200


def _wait_until_heard(session: LegacySession, stream: Stream, uri: str) -> None:
    _touch(session, uri)
    assert stream.message()["params"] == {"uri": uri}


def test_subscribing_needs_a_session_and_a_resource(talk: Endpoint) -> None:
    assert talk.legacy("resources/subscribe", {"uri": "talk://plain"}).error["code"] == -32602
    error = begin(talk).request("resources/subscribe", {"uri": "talk://none"}).error
    assert error["code"] == -32002
    assert error["data"]["uri"] == "talk://none"


def test_stream_ends_with_its_credential(talk: Endpoint, talkers: Team, quick_checks: None) -> None:
    issued = issue_key("short-lived", list(ALL_SCOPES), expires_in_days=1, caller=talkers.owner)
    session = begin(talk.with_key(issued.key))
    with session.listen() as stream:
        assert stream.next() is not None
        revoke_key(issued.row.pk, caller=talkers.owner)
        assert stream.messages() == []


def test_streams_over_the_cap_are_refused_until_one_ends(
    talk: Endpoint, monkeypatch: pytest.MonkeyPatch, hub: Hub
) -> None:
    monkeypatch.setattr(
        hub, "_streams", Load("streams", per_principal=1, per_tenant=10, most=100, per_block=1)
    )
    session = begin(talk)
    with session.listen() as stream:
        assert stream.next() is not None
        with begin(talk).listen() as refused:
            assert refused.status == 429
            assert re.fullmatch(r"\d+", refused.headers["retry-after"])
            error = refused.answer().error
            assert error["data"]["code"] == "too_many_streams"
            assert error["data"]["retryable"] is True
        with open_modern(talk, "subscriptions/listen", {"notifications": {}}) as refused:
            assert refused.status == 429
    wait_for(lambda: hub.count == 0)
    with session.listen() as stream:
        assert stream.status == 200


@requirement("http:post-only")
def test_stream_needs_a_session_and_an_accept_that_takes_it(talk: Endpoint) -> None:
    session = begin(talk)
    with session.listen(Accept="application/json") as stream:
        assert stream.status == 406
    with session.listen(Accept="*/*") as stream:
        assert stream.status == 200
    with session.listen(**{"Mcp-Session-Id": None}) as stream:
        assert stream.status == 405
        assert stream.headers["allow"] == "GET, POST, DELETE"
    for method in ("GET", "DELETE", "PUT"):
        sent = {"MCP-Protocol-Version": "2026-07-28", "Mcp-Session-Id": session.id, "Accept": EVENTS}
        with Stream(talk, None, sent, method=method) as stream:
            assert stream.status == 405
