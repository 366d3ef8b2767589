"""Upstreams of 2025-11-25 whose tool is a task only: it is made, followed in its session, and ended with its caller."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest

from core.errors import SourceError
from servers.execution.backends.mcp import following
from servers.execution.contract import Outcome
from tests.farside import Asked, FarSide, Send, reply
from tests.servers.execution.mcp.conftest import Ask, Client

pytestmark = pytest.mark.anyio

DONE = {"content": [{"type": "text", "text": "arrived"}]}
MAKES: Mapping[str, Any] = {"tools": {}, "tasks": {"cancel": {}, "requests": {"tools": {"call": {}}}}}


@dataclass
class FormerSide:
    """An upstream whose one tool is a task: ``states`` are told one after the other, the last one for ever."""

    side: FarSide
    capabilities: Mapping[str, Any] = field(default_factory=lambda: MAKES)
    states: list[Mapping[str, Any]] = field(
        default_factory=lambda: [
            {"status": "working", "statusMessage": "at sea", "pollInterval": 10},
            {"status": "completed"},
        ]
    )
    created: Mapping[str, Any] = field(default_factory=lambda: {"task": {"taskId": "t1", "pollInterval": 10}})
    heard: list[tuple[str, Mapping[str, Any], str]] = field(default_factory=list)

    def route(self, asked: Asked, send: Send) -> None:
        message = orjson.loads(asked.body or b"{}")
        method, params = message.get("method", ""), message.get("params", {})
        self.heard.append((method, params, asked.headers.get("mcp-session-id", "")))
        answer: dict[str, Any] = {"jsonrpc": "2.0", "id": message.get("id")}
        if method == "initialize":
            answer["result"] = {
                "protocolVersion": "2025-11-25",
                "capabilities": self.capabilities,
                "serverInfo": {"name": "former", "version": "1"},
            }
        elif method == "tools/list":
            tool = {
                "name": "sail",
                "inputSchema": {"type": "object"},
                "execution": {"taskSupport": "required"},
            }
            answer["result"] = {"tools": [tool]}
        elif method == "tools/call" and "task" in params:
            answer["result"] = self.created
        elif method == "tasks/get":
            state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
            answer["result"] = {"taskId": "t1", **state}
        elif method == "tasks/result":
            answer["result"] = DONE
        elif method == "tasks/cancel":
            answer["result"] = {"taskId": "t1", "status": "cancelled"}
        else:
            answer["error"] = {"code": -32601, "message": "Method not found"}
        headers = {"Mcp-Session-Id": "s1"} if method == "initialize" else {}
        send(
            reply(orjson.dumps(answer), kind="application/json", headers=headers)
            if "id" in message
            else reply(status=202)
        )

    @property
    def url(self) -> str:
        return self.side.serve("/mcp", self.route)

    def of(self, method: str) -> list[Mapping[str, Any]]:
        return [params for each, params, _ in self.heard if each == method]


@pytest.fixture
def former(side: FarSide, monkeypatch: pytest.MonkeyPatch) -> FormerSide:
    monkeypatch.setattr(following, "LEAST_SECONDS", 0.01)
    return FormerSide(side)


async def sail(ask: Ask, former: FormerSide, client: Client | None = None, **more: Any) -> Outcome:
    return await ask.call(former.url, "sail", client=client, task=True, **more)


async def test_it_is_offered_and_runs_at_a_worker(ask: Ask, former: FormerSide) -> None:
    (tool,) = (await ask.offering(former.url)).tools
    assert tool.operation.definition["task"] is True
    assert ask.backend.running(tool.operation).where == "worker"


async def test_where_the_server_makes_no_tasks_it_is_a_tool_as_any(ask: Ask, former: FormerSide) -> None:
    former.capabilities = {"tools": {}}
    (tool,) = (await ask.offering(former.url)).tools
    assert "task" not in tool.operation.definition
    assert ask.backend.running(tool.operation).where == "inline"


async def test_it_is_made_and_followed_in_its_session(ask: Ask, former: FormerSide) -> None:
    client = Client()
    assert (await sail(ask, former, client)).text == "arrived"
    assert client.told == [(1, None, "at sea")]
    (call,) = former.of("tools/call")
    assert call["task"]["ttl"] > 0
    assert [each["taskId"] for each in former.of("tasks/result")] == ["t1"]
    assert {session for method, _, session in former.heard if method.startswith("tasks/")} == {"s1"}


async def test_who_leaves_has_it_cancelled(ask: Ask, former: FormerSide) -> None:
    former.states = [{"status": "working"}]
    running = asyncio.create_task(sail(ask, former))
    while not former.of("tasks/get"):  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    async with asyncio.timeout(60):
        while not former.of("tasks/cancel"):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert former.of("tasks/cancel") == [{"taskId": "t1"}]
    assert not former.of("notifications/cancelled")


async def test_the_deadline_has_it_cancelled(ask: Ask, former: FormerSide) -> None:
    former.states = [{"status": "working"}]
    for timeout in (1, 5, 30):
        with pytest.raises(SourceError) as caught:
            await sail(ask, former, timeout=timeout)
        assert caught.value.code == "source_timeout"
        # Where the machine stalls, it may not have been made by then.
        if former.of("tasks/get"):
            break
    async with asyncio.timeout(60):
        while not former.of("tasks/cancel"):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    "created", [{}, {"task": []}, {"task": {"taskId": 7}}, {"task": {"taskId": "x" * 2_000}}]
)
async def test_what_is_no_task_is_refused(ask: Ask, former: FormerSide, created: Mapping[str, Any]) -> None:
    former.created = created
    with pytest.raises(SourceError) as caught:
        await sail(ask, former)
    assert caught.value.code == "source_not_mcp"
