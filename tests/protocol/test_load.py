"""What callers may have under way: keys each by itself, strangers by their address block and never more than half."""

from __future__ import annotations

import json
from collections.abc import Iterator
from uuid import uuid4

import pytest

from servers.endpoint import app
from servers.endpoint.load import Cells, Load
from servers.endpoint.sessions import ANONYMOUS_SECONDS, Session, principal_of
from servers.endpoint.subscribers import Hub
from servers.endpoint.wire import RpcError
from servers.services.limits import anonymous_caller
from tenants.access import Caller
from tests.protocol.streamclient import begin, open_modern
from tests.protocol.talker import TalkerBackend
from tests.protocol.test_http_sse import begin_duplex
from tests.protocol.waiting import wait_for
from tests.protocol.wireclient import Endpoint


def key_of(tenant_id: int) -> Caller:
    return Caller(
        tenant_id=tenant_id, tenant_slug=f"t{tenant_id}", actor="key:k (mcp_live_k)", credential_id=uuid4()
    )


def stranger_at(address: str, tenant_id: int = 1) -> Caller:
    return anonymous_caller(tenant_id, f"t{tenant_id}", "open", address, frozenset())


def fill(load: Load, caller: Caller) -> list[Cells]:
    """Take until it is refused."""
    taken: list[Cells] = []
    while True:
        try:
            taken.append(load.take(caller))
        except RpcError:
            return taken


def make_load(max_cells: int = 1_000) -> Load:
    return Load("requests", per_principal=10, per_tenant=16, most=20, per_block=3, max_cells=max_cells)


def test_a_key_a_team_and_the_process_have_each_their_cap() -> None:
    load = make_load()
    first = fill(load, key_of(1))
    assert len(first) == 10
    assert len(fill(load, key_of(1))) == 6
    assert len(fill(load, key_of(2))) == 4
    for cells in first:
        load.give(cells)
    assert len(fill(load, key_of(2))) == 10


def test_strangers_count_by_block_and_leave_half_to_those_with_keys() -> None:
    load = make_load()
    assert len(fill(load, stranger_at("2001:db8::1"))) == 3
    assert fill(load, stranger_at("2001:db8::2")) == []
    assert len(fill(load, stranger_at("2001:db8:0:1::1"))) == 3
    assert len(fill(load, stranger_at("203.0.113.1"))) == 2
    assert len(fill(load, stranger_at("203.0.113.1", tenant_id=2))) == 2
    assert load.count == 10
    assert len(fill(load, key_of(1))) == 8


def test_cells_that_count_nothing_are_thrown_away() -> None:
    load = make_load(max_cells=10)
    held = key_of(1)
    full = fill(load, held)
    for _ in range(100):
        load.give(load.take(key_of(2)))
        assert len(load._cells) <= 20
    assert fill(load, held) == []
    for cells in full:
        load.give(cells)
    assert load.count == 0


def test_a_strangers_session_is_their_blocks_and_short() -> None:
    principal = principal_of(stranger_at("2001:db8::1"))
    assert principal == principal_of(stranger_at("2001:db8::2"))
    assert principal != principal_of(stranger_at("2001:db8:0:1::1"))
    session = Session(id="", tenant_id=1, server="open", principal=principal, version="")
    assert session.seconds == ANONYMOUS_SECONDS


@pytest.fixture
def load(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> Iterator[Load]:
    """Requests under way, of which each credential may have one."""
    load = Load("requests", per_principal=1, per_tenant=10, most=100, per_block=1)
    monkeypatch.setattr(hub, "requests", load)
    # Other teams' clients in this process may hold streams of their own, such as Marina's to an upstream Marina.
    stood = hub.count
    yield load
    # A stream that stands open counts as a request again when it ends: by then this must still be where it counts.
    wait_for(lambda: hub.count <= stood)


def test_requests_over_the_cap_are_refused_before_they_are_accepted(
    talk: Endpoint, talker: TalkerBackend, load: Load
) -> None:
    session = begin(talk)
    with open_modern(talk, "subscriptions/listen", {"notifications": {}}) as listening:
        assert listening.next() is not None
        # What stands open is a stream, and takes no place of a request.
        assert load.count == 0
        with session.call("steps", {"gate": "full"}, token=1) as running:
            talker.wait_entered("full")
            refused = talk.modern("tools/list")
            assert refused.status == 429
            assert refused.headers["Retry-After"] == "1"
            assert refused.error["data"]["code"] == "too_many_requests"
            message = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
            at = talk.at(f"{talk.path}/messages?session_id={'a' * 32}")
            assert at.send(json.dumps(message).encode(), {"Accept": None}).status == 429
            talker.open("full")
            assert running.messages()
    wait_for(lambda: load.count == 0)
    assert talk.modern("tools/list").status == 200


def test_answer_is_taken_from_a_client_that_has_as_much_under_way_as_it_may(
    talk: Endpoint, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = begin(talk, capabilities={"elicitation": {}})
    accepted = {"action": "accept", "content": {"region": "eu"}}
    with session.call("ask") as stream:
        question = stream.message()["id"]
        assert session.request("ping").status == 429
        batch = [{"jsonrpc": "2.0", "id": 1, "method": "ping"}]
        with session.send(batch) as refused:
            assert refused.answer().status == 429
        with monkeypatch.context() as small:
            small.setattr(app, "ANSWER_BYTES", 20)
            assert session.respond(question, result=accepted).status == 429
        assert session.respond(question, result=accepted).status == 202
        assert stream.message()["result"]["isError"] is False
    wait_for(lambda: load.count == 0)


def test_answer_by_http_and_sse_is_taken_from_a_client_that_has_as_much_under_way_as_it_may(
    talk: Endpoint, load: Load
) -> None:
    duplex = begin_duplex(talk)
    with duplex.stream as stream:
        duplex.request("tools/call", {"name": "ask"}, rpc_id=2)
        question = stream.message()["id"]
        assert duplex.post({"jsonrpc": "2.0", "id": 3, "method": "ping"}).status == 429
        accepted = {"action": "accept", "content": {"region": "eu"}}
        assert duplex.post({"jsonrpc": "2.0", "id": question, "result": accepted}).status == 202
        assert stream.message()["id"] == 2
    wait_for(lambda: load.count == 0)
