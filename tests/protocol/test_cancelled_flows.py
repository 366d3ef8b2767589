"""A pipeline whose client cancels it, in both eras: the running step ends, both are recorded so, no later step runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from core.threads import run_sync
from servers.services.sources import create_source
from servers.services.tools import create_tool
from tests.factories import Team
from tests.protocol.conftest import HearAll, Records
from tests.protocol.officialclient import connected
from tests.protocol.streamclient import begin, open_modern
from tests.protocol.talker import TalkerBackend
from tests.protocol.waiting import in_thread, wait_for
from tests.protocol.wireclient import Endpoint

SECONDS = 20
"""Within so many the running step must have ended: long before its own deadline, on a busy machine."""

BEFORE: dict[str, Any] = {"tool": "say"}
HELD: dict[str, Any] = {"tool": "steps", "args": {"gate": "$gate", "count": 0}}
AFTER: dict[str, Any] = {"tool": "touch", "args": {"uri": "talk://plain"}}

FLOWS: dict[str, tuple[str, list[dict[str, Any]], int]] = {
    "chain": ("pipeline", [BEFORE, HELD, AFTER], 1),
    "forgiving": ("pipeline", [BEFORE, {**HELD, "continue_on_failure": True}, AFTER], 1),
    "turns": (
        "workflow",
        [BEFORE, {"type": "loop", "over": "$turns", "as": "turn", "steps": [HELD, AFTER]}, AFTER],
        1,
    ),
    "abreast": (
        "workflow",
        [
            BEFORE,
            {
                "type": "parallel",
                "branches": [[{**HELD, "args": {"gate": "${gate}2", "count": 0}}, AFTER], [HELD, AFTER]],
            },
            AFTER,
        ],
        2,
    ),
}
"""Flows by name: their kind, steps, and how many of these wait when the client cancels."""

PARAMETERS = {
    "gate": {"type": "string"},
    "turns": {"type": "array", "items": {"type": "integer"}, "default": [1, 2]},
}


@pytest.fixture
def flows(talkers: Team, hear_all: HearAll) -> Team:
    """A team with the talker's tools and flows of them."""
    create_source("flows", "flows", {}, caller=talkers.owner)
    for name, (kind, steps, _) in FLOWS.items():
        create_tool(name, "flows", kind, {"parameters": PARAMETERS, "steps": steps}, caller=talkers.owner)
    hear_all()
    return talkers


def entered(talker: TalkerBackend, gate: str, held: int) -> None:
    for each in (gate, f"{gate}2")[:held]:
        talker.wait_entered(each)


def ended(talker: TalkerBackend, gate: str, held: int) -> None:
    for each in (gate, f"{gate}2")[:held]:
        talker.wait_cancelled(each, SECONDS)


def check_records(flows: Team, records: Records, flow: str, held: int) -> None:
    def all_of_it() -> list[tuple[str, str, bool]]:
        return [
            (each["tool"], each["outcome"], bool(each.get("parent")))
            for each in records(flows, kind="tools/call")
            if each["outcome"] != "intent"
        ]

    expected = [
        ("say", "ok", True),
        *[("steps", "cancelled", True)] * held,
        (flow, "cancelled", False),
    ]
    wait_for(lambda: len(all_of_it()) >= len(expected))
    assert all_of_it() == expected


@pytest.mark.parametrize("flow", FLOWS)
def test_a_notification_of_the_session_cancels_it(
    talk: Endpoint, flows: Team, talker: TalkerBackend, records: Records, flow: str
) -> None:
    gate, held = f"session-{flow}", FLOWS[flow][2]
    session = begin(talk, version="2025-11-25")
    with in_thread(lambda: session.call(flow, {"gate": gate}, token=1, rpc_id=7)) as opening:
        entered(talker, gate, held)
        assert session.notify("notifications/cancelled", {"requestId": 7}).status == 202
        ended(talker, gate, held)
        with opening() as stream:
            assert {each["method"] for each in stream.messages()} == {
                "notifications/message",
                "notifications/progress",
            }
    check_records(flows, records, flow, held)


@pytest.mark.parametrize("flow", FLOWS)
def test_closing_the_request_cancels_it(
    talk: Endpoint, flows: Team, talker: TalkerBackend, records: Records, flow: str
) -> None:
    gate, held = f"closed-{flow}", FLOWS[flow][2]
    call = {"name": flow, "arguments": {"gate": gate}}
    with open_modern(talk, "tools/call", call, progressToken=1) as stream:
        assert stream.message()["method"] == "notifications/progress"
        entered(talker, gate, held)
    ended(talker, gate, held)
    check_records(flows, records, flow, held)


@pytest.mark.anyio
@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
async def test_the_official_client_cancels_it(
    talk: Endpoint, flows: Team, talker: TalkerBackend, records: Records, mode: str
) -> None:
    gate, held = f"official-{mode}", FLOWS["chain"][2]

    def in_time(wait: Callable[..., None]) -> Any:
        return run_sync(wait, talker, gate, held)

    async with connected(talk, mode) as client:
        call = asyncio.create_task(client.call_tool("chain", {"gate": gate}))
        await in_time(entered)
        call.cancel()
        with suppress(asyncio.CancelledError):
            await call
        await in_time(ended)
        await run_sync(check_records, flows, records, "chain", held)
        # The connection is sound after it.
        assert not (await client.call_tool("say", {})).is_error
