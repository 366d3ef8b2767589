"""200 clients of two teams at once, alike in all but their team's mark, on three replicas: no mark crosses.

Both teams' clients send the same JSON-RPC ids, progress tokens, tool names and resource addresses at the same time,
so whatever is kept under too short a name, on any replica, would reach the wrong one.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from asgiref.sync import sync_to_async

from servers.services.sources import create_source
from servers.services.tools import create_tool
from tests.factories import Team, make_database, make_team
from tests.replicas.cluster import PYTHONPATH, Replicas, running_replicas
from tests.replicas.leanclient import LEGACY, MODERN, LeanClient, Message, make_http

pytestmark = pytest.mark.anyio

PLUGIN = Path(__file__).resolve().parent / "plugin"
CLIENTS = 200
ROUNDS = 6
BOARD = "mark://board"
STEPS = 3
ECHO = {
    "title": "Echo",
    "sql": "SELECT :payload::text AS payload",
    "parameters": {"payload": {"type": "string", "description": "Any", "required": True}},
}


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two teams, and the word that nobody else may see."""

    team: Team
    mark: str
    url: str
    key: str


@dataclass(frozen=True, slots=True)
class Member:
    """One of a side's clients."""

    side: Side
    number: int
    client: LeanClient

    def payload(self, turn: int) -> str:
        """What it sends in this turn: as its counterpart on the other side, but for the mark."""
        return f"{self.side.mark}-{self.number}-{turn}"


@pytest.fixture(scope="module")
def replicas(database: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replicas]:
    """Three replicas that know the plugin whose tools mark what they send."""
    environment = {"PYTHONPATH": f"{PYTHONPATH}{os.pathsep}{PLUGIN}"}
    with running_replicas(tmp_path_factory.mktemp("replicas"), environment=environment) as made:
        yield made


@pytest.fixture(scope="module")
def sides(replicas: Replicas) -> tuple[Side, Side]:
    """Two teams with tools, data and keys of the same names."""
    return _make_side(replicas), _make_side(replicas)


def _make_side(replicas: Replicas) -> Side:
    mark = f"mark{secrets.token_hex(8)}"
    team = make_team(mark)
    table = f"CREATE TABLE words (word text); INSERT INTO words VALUES ('{mark}')"
    create_source("words", "postgres", {"dsn": make_database(table)}, caller=team.owner)
    create_tool("echo", "words", "sql", {**ECHO, "description": f"Of {mark}"}, caller=team.owner)
    return Side(
        team, mark, replicas.mcp_url(team.slug), team.key("tools:read", "tools:execute", "resources:read")
    )


@pytest.fixture(scope="module")
def marked(replicas: Replicas, sides: tuple[Side, Side]) -> tuple[Side, Side]:
    """The same two teams, with the plugin's tools and resource besides."""
    for side in sides:
        source = {"name": "marks", "kind": "marking", "settings": {"mark": side.mark}}
        replicas.post(side.team, "data-sources", source)
    return sides


@asynccontextmanager
async def members(sides: tuple[Side, Side]) -> AsyncIterator[list[Member]]:
    """All clients, connected: half of each side's of either era."""

    async def open_one(number: int) -> Member:
        side = sides[number % 2]
        version = (MODERN, LEGACY)[number // 2 % 2]
        client = LeanClient(http, side.url, side.key, version, lambda *_: _reply(side))
        await client.open()
        return Member(side, number // 2, client)

    # Each may hold a stream open, and ask and answer beside it.
    async with make_http(CLIENTS * 3) as http:
        opened = await asyncio.gather(*(open_one(number) for number in range(CLIENTS)))
        try:
            yield opened
        finally:
            await asyncio.gather(*(member.client.close() for member in opened))


def _reply(side: Side) -> Message:
    return {"action": "accept", "content": {"reply": side.mark}}


async def all_at_once(members: list[Member], act: Callable[[Member, int], Awaitable[None]]) -> None:
    """Every client does it in every turn, each turn begun by all together."""
    start = asyncio.Barrier(len(members))

    async def take_turns(member: Member) -> None:
        for turn in range(ROUNDS):
            async with asyncio.timeout(240):
                await start.wait()
                await act(member, turn)

    await asyncio.gather(*(take_turns(member) for member in members))


def assert_none_crossed(sides: tuple[Side, Side], members: list[Member]) -> None:
    """No byte that a client was sent holds the other side's mark; its own it has seen."""
    foreign = {sides[0].mark: sides[1].mark, sides[1].mark: sides[0].mark}
    for member in members:
        seen = "\n".join(member.client.received)
        assert member.side.mark in seen
        assert foreign[member.side.mark] not in seen, f"client {member.number} ({member.client.version})"


def text_of(result: Message) -> str:
    """The first text of a tool's result."""
    assert not result.get("isError"), result
    text: str = result["content"][0]["text"]
    return text


@pytest.mark.timeout(600)
async def test_calls_and_lists_of_200_clients_with_the_same_ids_never_cross(
    sides: tuple[Side, Side],
) -> None:
    async def act(member: Member, turn: int) -> None:
        payload = member.payload(turn)
        called = await member.client.call("echo", {"payload": payload})
        assert called["structuredContent"]["rows"] == [{"payload": payload}]
        if turn % 3 == 0:
            listed = await member.client.request("tools/list")
            echo = next(tool for tool in listed["tools"] if tool["name"] == "echo")
            assert member.side.mark in echo["description"]
        if turn % 3 == 1:
            query = {"query": "SELECT word FROM words"}
            rows = (await member.client.call("query_database", query))["structuredContent"]["rows"]
            assert rows == [{"word": member.side.mark}]

    async with members(sides) as everybody:
        await all_at_once(everybody, act)
        assert_none_crossed(sides, everybody)


@pytest.mark.timeout(600)
async def test_progress_reaches_only_the_client_whose_call_it_is(marked: tuple[Side, Side]) -> None:
    async def act(member: Member, turn: int) -> None:
        payload = member.payload(turn)
        assert text_of(await member.client.call("work", {"payload": payload}, progress=True)) == payload
        told = member.client.heard_of("notifications/progress")[turn * STEPS :]
        assert [message["params"]["message"] for message in told] == [f"{member.side.mark} {payload}"] * STEPS

    async with members(marked) as everybody:
        await all_at_once(everybody, act)
        assert_none_crossed(marked, everybody)


@pytest.mark.timeout(600)
async def test_a_question_is_answered_by_the_client_whose_call_it_is(marked: tuple[Side, Side]) -> None:
    async def act(member: Member, turn: int) -> None:
        payload = member.payload(turn)
        answered = text_of(await member.client.call("ask", {"payload": payload}))
        assert answered == f"{payload} {member.side.mark}"

    async with members(marked) as everybody:
        await all_at_once(everybody, act)
        assert_none_crossed(marked, everybody)


@pytest.mark.timeout(600)
async def test_changes_are_heard_by_every_client_of_their_team_and_by_no_other(
    marked: tuple[Side, Side],
) -> None:
    async with members(marked) as everybody:
        await asyncio.gather(*(member.client.listen(BOARD) for member in everybody))
        for side, other in (marked, marked[::-1]):
            theirs = [member for member in everybody if member.side is side]
            others = [member for member in everybody if member.side is other]
            before = [len(member.client.heard) for member in others]
            assert text_of(await theirs[0].client.call("touch", {})) == side.mark
            await asyncio.gather(*(one.client.hear("notifications/resources/updated") for one in theirs))
            await sync_to_async(_add_tool)(side)
            await asyncio.gather(*(one.client.hear("notifications/tools/list_changed") for one in theirs))
            # The first side's news could have reached the second long before the second has its own.
            assert [len(member.client.heard) for member in others] == before

        async def act(member: Member, turn: int) -> None:
            contents = (await member.client.request("resources/read", {"uri": BOARD}))["contents"]
            assert [content["text"] for content in contents] == [member.side.mark]

        await all_at_once(everybody, act)
        assert_none_crossed(marked, everybody)


def _add_tool(side: Side) -> None:
    name = f"added_{secrets.token_hex(4)}"
    create_tool(name, "words", "sql", {**ECHO, "description": f"Of {side.mark}"}, caller=side.team.owner)
