"""Live hints: throttled on the way out, and received only by pages of the tenant's own members."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin

from servers.services.live import Hints, notify_calls
from tenants.models import User
from tenants.roles import Role
from tenants.services.members import change_member, get_own_membership
from tests.factories import Team, email_of, make_team
from tests.plugins.live_marina import LiveMarina
from tests.protocol.wireclient import Endpoint

NEVER = 3_600.0
"""An interval that does not end within a test: its end is brought about by hand."""


@pytest.mark.anyio
async def test_the_first_hint_goes_at_once_and_a_burst_becomes_one_more() -> None:
    sent: list[int] = []

    async def send(tenant_id: int) -> None:
        sent.append(tenant_id)

    hints = Hints(send, interval=NEVER)
    for _ in range(100):
        hints.notify(1)
    hints.notify(2)
    await asyncio.sleep(0)
    assert sent == [1, 2]
    hints._rested(1)
    hints._rested(2)
    await asyncio.sleep(0)
    assert sent == [1, 2, 1]
    hints._rested(1)
    hints.notify(1)
    await asyncio.sleep(0)
    assert sent == [1, 2, 1, 1]


@pytest.mark.anyio
async def test_without_a_sender_hints_go_nowhere() -> None:
    notify_calls(1)


def _cookie(team: Team, email: str = "") -> str:
    client = Client()
    client.force_login(User.objects.get(email=email or team.owner_email))
    return f"marina_session={client.cookies['marina_session'].value}"


def _address(live_marina: LiveMarina, team: Team) -> str:
    return f"ws://127.0.0.1:{live_marina.port}/app/{team.slug}/live"


def _call(live_marina: LiveMarina, team: Team) -> None:
    """A call of a tool that does not exist: refused, recorded, hinted."""
    endpoint = Endpoint(live_marina.port, f"/mcp/{team.slug}", team.key())
    body = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {
            "name": "no_such_tool",
            "arguments": {},
            "_meta": {
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
                "io.modelcontextprotocol/clientCapabilities": {},
            },
        },
    }
    headers = {"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/call", "Mcp-Name": "no_such_tool"}
    assert endpoint.send(json.dumps(body).encode(), headers).status < 500


def test_a_members_page_hears_of_a_call_and_of_nothing_in_it(live_marina: LiveMarina) -> None:
    team, other = make_team(), make_team()
    with connect(
        _address(live_marina, team),
        additional_headers={"Cookie": _cookie(team)},
        origin=Origin(live_marina.base_url),
    ) as socket:
        _call(live_marina, other)
        _call(live_marina, team)
        assert json.loads(socket.recv(timeout=60)) == {"type": "calls"}


def test_a_page_that_stands_open_ends_with_its_members_access(live_marina: LiveMarina) -> None:
    team = make_team()
    member = team.member(Role.AUDITOR)
    ends_at = timezone.now() + timedelta(seconds=10)
    change_member(get_own_membership(caller=member).pk, access_ends_at=ends_at, caller=team.owner)
    with connect(
        _address(live_marina, team),
        additional_headers={"Cookie": _cookie(team, email_of(member))},
        origin=Origin(live_marina.base_url),
    ) as socket:
        assert timezone.now() < ends_at
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(timeout=60)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4404
    assert timezone.now() >= ends_at


@pytest.mark.parametrize("who", ["stranger", "outsider", "elsewhere"])
def test_nobody_else_may_listen(live_marina: LiveMarina, who: str) -> None:
    team, outsider = make_team(), make_team()
    headers = {
        "stranger": {},
        "outsider": {"Cookie": _cookie(outsider)},
        "elsewhere": {"Cookie": _cookie(team)},
    }[who]
    origin = "https://evil.example" if who == "elsewhere" else live_marina.base_url
    with (
        pytest.raises(InvalidStatus, match="403"),
        connect(_address(live_marina, team), additional_headers=headers, origin=Origin(origin)),
    ):
        pass


def test_a_team_that_does_not_exist_is_refused_like_a_foreign_one(live_marina: LiveMarina) -> None:
    team = make_team()
    with (
        pytest.raises(InvalidStatus, match="403"),
        connect(
            f"ws://127.0.0.1:{live_marina.port}/app/there-is-no-such-team/live",
            additional_headers={"Cookie": _cookie(team)},
            origin=Origin(live_marina.base_url),
        ),
    ):
        pass
