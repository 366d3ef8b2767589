"""``subscriptions/listen`` (2026-07-28): one request whose answer tells of changes."""

from __future__ import annotations

import dataclasses
import signal
from typing import Any

import pytest

from servers.endpoint.load import Load
from servers.endpoint.subscribers import LISTS, Hub, Subscriber
from servers.endpoint.view import Views
from servers.services.resources import list_resources, set_resource_enabled
from servers.services.runtime import Runtime
from servers.services.surfaces import Surface
from tenants.access import Caller
from tenants.services.keys import issue_key, revoke_key
from tests.factories import Team, switch_tool
from tests.plugins.live_marina import LiveMarina
from tests.protocol.conftest import ALL_SCOPES, OnLoop
from tests.protocol.streamclient import Stream, begin, open_modern
from tests.protocol.wireclient import Endpoint

ALL = {"toolsListChanged": True, "resourcesListChanged": True, "promptsListChanged": True}
ID = "io.modelcontextprotocol/subscriptionId"


def _listen(talk: Endpoint, rpc_id: Any = "sub", **notifications: Any) -> tuple[Stream, Any]:
    stream = open_modern(talk, "subscriptions/listen", {"notifications": notifications}, rpc_id=rpc_id)
    assert stream.status == 200, stream.answer().body
    return stream, stream.message()


def _touch(talk: Endpoint, uri: str) -> None:
    assert talk.call("touch", {"uri": uri}).status == 200


@pytest.mark.parametrize("rpc_id", ["sub", 7])
def test_acknowledgement_comes_first_and_everything_names_the_subscription(
    talk: Endpoint, talkers: Team, second_port: int, rpc_id: Any
) -> None:
    elsewhere = Endpoint(second_port, talk.path, talk.key)
    stream, first = _listen(elsewhere, rpc_id, **ALL, resourceSubscriptions=["talk://plain"])
    with stream:
        assert first == {
            "jsonrpc": "2.0",
            "method": "notifications/subscriptions/acknowledged",
            "params": {
                "_meta": {ID: rpc_id},
                "notifications": {**ALL, "resourceSubscriptions": ["talk://plain"]},
            },
        }
        switch_tool(talkers, "say", False)
        assert stream.message() == {
            "jsonrpc": "2.0",
            "method": "notifications/tools/list_changed",
            "params": {"_meta": {ID: rpc_id}},
        }
        _touch(talk, "talk://plain")
        assert stream.message() == {
            "jsonrpc": "2.0",
            "method": "notifications/resources/updated",
            "params": {"_meta": {ID: rpc_id}, "uri": "talk://plain"},
        }


def test_only_what_was_asked_for_is_told(talk: Endpoint, talkers: Team) -> None:
    stream, first = _listen(talk, resourcesListChanged=True, toolsListChanged=False)
    with stream:
        assert first["params"]["notifications"] == {"resourcesListChanged": True}
        _touch(talk, "talk://plain")
        switch_tool(talkers, "say", False)
        resource = next(each for each in list_resources(caller=talkers.owner) if each.uri == "talk://plain")
        set_resource_enabled(resource.pk, False, caller=talkers.owner)
        assert stream.message()["method"] == "notifications/resources/list_changed"


def test_filter_is_honoured_to_what_the_caller_may_see(talk: Endpoint, talkers: Team) -> None:
    limited = talk.with_key(talkers.key("tools:read", "tools:execute"))
    uris = ["talk://plain", "talk://none"]
    stream, first = _listen(limited, **ALL, resourceSubscriptions=uris)
    with stream:
        honoured = first["params"]["notifications"]
        assert honoured == {"toolsListChanged": True, "resourceSubscriptions": []}
    stream, first = _listen(talk, **ALL, resourceSubscriptions=[*uris, "talk://plain", "talk://item/9"])
    with stream:
        honoured = first["params"]["notifications"]
        assert honoured["resourceSubscriptions"] == ["talk://plain", "talk://item/9"]


def test_change_of_a_tool_that_the_key_does_not_reach_is_not_told(talk: Endpoint, talkers: Team) -> None:
    narrow = talk.with_key(talkers.key("tools:read", "tools:execute", "tool:ask", "tool:steps"))
    stream, _ = _listen(narrow, toolsListChanged=True)
    with stream, begin(narrow).listen() as session_stream:
        assert session_stream.next() is not None
        switch_tool(talkers, "say", False)
        switch_tool(talkers, "ask", False)
        assert stream.message()["method"] == "notifications/tools/list_changed"
        assert session_stream.message()["method"] == "notifications/tools/list_changed"
        switch_tool(talkers, "say", True)
        switch_tool(talkers, "steps", False)
        for each in (stream, session_stream):
            assert each.message()["method"] == "notifications/tools/list_changed"
        listed = {tool["name"] for tool in narrow.modern("tools/list").result["tools"]}
        assert listed == set()


def test_changes_of_another_team_are_not_told(talk: Endpoint, talkers: Team, team: Team) -> None:
    stream, _ = _listen(talk, toolsListChanged=True)
    with stream:
        switch_tool(team, "echo", False)
        switch_tool(talkers, "say", False)
        assert stream.message()["method"] == "notifications/tools/list_changed"
        switch_tool(team, "echo", True)
        switch_tool(talkers, "say", True)
        assert stream.message()["method"] == "notifications/tools/list_changed"


@pytest.mark.parametrize(
    "notifications",
    [
        None,
        [],
        {"toolsListChanged": 1},
        {"resourceSubscriptions": "talk://plain"},
        {"resourceSubscriptions": [1]},
        {"resourceSubscriptions": ["a:b"] * 1001},
    ],
)
def test_malformed_filter_is_refused(talk: Endpoint, notifications: Any) -> None:
    answer = talk.modern("subscriptions/listen", {"notifications": notifications})
    assert (answer.status, answer.error["code"]) == (400, -32602)


def test_client_that_takes_no_events_is_refused(talk: Endpoint) -> None:
    answer = talk.modern(
        "subscriptions/listen", {"notifications": ALL}, headers={"Accept": "application/json"}
    )
    assert answer.status == 406
    assert answer.error["data"]["code"] == "accept_leaves_out_events"


def test_earlier_revisions_do_not_have_it(talk: Endpoint) -> None:
    assert talk.legacy("subscriptions/listen", {"notifications": ALL}).error["code"] == -32601


def test_stream_ends_with_its_credential_even_while_it_has_much_to_say(
    talk: Endpoint, talkers: Team, quick_checks: None
) -> None:
    issued = issue_key("short-lived", list(ALL_SCOPES), expires_in_days=1, caller=talkers.owner)
    stream, _ = _listen(talk.with_key(issued.key), resourceSubscriptions=["talk://plain"])
    with stream:
        revoke_key(issued.row.pk, caller=talkers.owner)
        told = 0
        while told < 10_000:
            _touch(talk, "talk://plain")
            message = stream.message()
            assert message is not None
            if "result" in message:
                break
            told += 1
        assert message["id"] == "sub"
        assert stream.message() is None


def test_streams_end_in_order_when_their_process_does(
    talk: Endpoint, database: None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    log = tmp_path_factory.mktemp("drained") / "web.log"
    with LiveMarina(log, module="tests.protocol.second_replica:application").running() as marina:
        there = Endpoint(marina.port, talk.path, talk.key)
        session = begin(there)
        stream, _ = _listen(there, "drained", **ALL)
        with stream, session.listen() as standing:
            assert standing.next() is not None
            assert marina.process is not None
            marina.process.terminate()
            result = stream.message()
            assert result["id"] == "drained"
            assert result["result"]["resultType"] == "complete"
            assert result["result"]["_meta"][ID] == "drained"
            assert stream.message() is None
            assert standing.messages() == []
            assert marina.process.wait(60) in {0, -signal.SIGTERM}
    # The session lives on where there is still somebody.
    with session.on(talk.port).listen() as again:
        assert again.status == 200


def test_lists_are_looked_at_once_a_change_however_many_subscribe(
    runtime: Runtime, talkers: Team, on_loop: OnLoop
) -> None:
    looked = []

    class Counting:
        """``Views``, counting."""

        views = Views()

        def digests(self, surface: Surface, caller: Caller) -> dict[str, str]:
            looked.append(surface)
            return self.views.digests(surface, caller)

    async def use() -> None:
        views: Any = Counting()
        surface = await runtime.surfaces.get(talkers.tenant_id, "default")
        assert surface is not None
        before = dataclasses.replace(surface, tools=surface.tools[1:])
        load = Load("streams", per_principal=1, per_tenant=1, most=1, per_block=1)
        hub = Hub(runtime, views, streams=load, requests=load)
        place = (talkers.tenant_id, "default")
        try:
            there = [Subscriber(talkers.owner, "default", lists=LISTS) for _ in range(300)]
            for subscriber in there:
                hub.join(subscriber, before)
            await hub._comparing[place]
            assert hub._compared[place] is surface
            assert all(each.take() == [("tools", "")] for each in there)
            assert len(looked) == 2
            late = Subscriber(talkers.owner, "default", lists=LISTS)
            hub.join(late, before)
            assert late.take() == [("tools", "")]
        finally:
            runtime.changed.remove(hub._changed)

    on_loop(use())
