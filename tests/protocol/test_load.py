"""What callers may have under way: keys each by itself, strangers by their address block and never more than half."""

from __future__ import annotations

from uuid import uuid4

import pytest

from servers.endpoint import load as loads
from servers.endpoint.load import Cells, Load
from servers.endpoint.sessions import ANONYMOUS_SECONDS, Session, principal_of
from servers.endpoint.wire import RpcError
from servers.services.limits import anonymous_caller
from tenants.access import Caller


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


def make_load() -> Load:
    return Load("requests", per_principal=10, per_tenant=16, most=20, per_block=3)


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


def test_cells_that_count_nothing_are_thrown_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loads, "MAX_IDLE_CELLS", 10)
    load = make_load()
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
