"""Upstreams that answer a call with a task (SEP-2663): it is followed to its end, and never made twice."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest

from core.errors import MarinaError, SourceError
from servers.execution.backends.mcp import following
from servers.execution.contract import Ask as Question
from servers.execution.contract import AskMethod, GoesOn, InputRequired, Operation, Outcome
from tests.farside import Asked, FarSide, Send, reply
from tests.servers.execution.mcp.conftest import Ask, Client

pytestmark = pytest.mark.anyio

TASKS = "io.modelcontextprotocol/tasks"
META_CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"
FORM = {"message": "Sure?", "requestedSchema": {"type": "object", "properties": {}}}
DONE = {"status": "completed", "result": {"content": [{"type": "text", "text": "arrived"}]}}


@dataclass
class TaskSide:
    """An upstream whose one tool is a task: ``states`` are told one after the other, the last one for ever."""

    side: FarSide
    states: list[Mapping[str, Any]] = field(default_factory=lambda: [{"status": "working"}, DONE])
    heard: list[tuple[str, Mapping[str, Any], Mapping[str, str]]] = field(default_factory=list)
    away: int = 0
    """How many requests are not answered now, of those with this method."""
    away_for: str = "tasks/"

    def route(self, asked: Asked, send: Send) -> None:
        message = orjson.loads(asked.body)
        method, params = message["method"], message["params"]
        self.heard.append((method, params, asked.headers))
        if method.startswith(self.away_for) and self.away:
            self.away -= 1
            send(reply(b"", status=503))
            return
        answer: dict[str, Any] = {"jsonrpc": "2.0", "id": message["id"]}
        declared = params["_meta"].get(META_CAPABILITIES, {}).get("extensions", {})
        if method == "server/discover":
            answer["result"] = {
                "supportedVersions": ["2026-07-28"],
                "capabilities": {"tools": {}, "extensions": {TASKS: {}}},
            }
        elif method == "tools/list":
            tool = {"name": "sail", "inputSchema": {"type": "object"}}
            answer["result"] = {"resultType": "complete", "tools": [tool]}
        elif TASKS not in declared:
            needed: Mapping[str, Any] = {"requiredCapabilities": {"extensions": {TASKS: {}}}}
            answer["error"] = {"code": -32021, "message": "Missing", "data": needed}
        elif method == "tools/call":
            answer["result"] = {
                "resultType": "task",
                "taskId": "voyage 1 ø",
                "status": "working",
                "pollIntervalMs": 10,
            }
        elif method == "tasks/get" and "status" not in self.states[0]:
            answer["error"] = self.states[0]["error"]
        elif method == "tasks/get":
            state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
            answer["result"] = {"resultType": "complete", "taskId": "voyage 1 ø", **state}
        else:
            answer["result"] = {"resultType": "complete"}
        send(reply(orjson.dumps(answer), kind="application/json"))

    @property
    def url(self) -> str:
        return self.side.serve("/mcp", self.route)

    def of(self, method: str) -> list[Mapping[str, Any]]:
        return [params for each, params, _ in self.heard if each == method]


@pytest.fixture
def tasks(side: FarSide, monkeypatch: pytest.MonkeyPatch) -> TaskSide:
    monkeypatch.setattr(following, "LEAST_SECONDS", 0.01)
    return TaskSide(side)


class Handing(Client):
    """Ends its run where what comes now takes long."""

    async def go_on(self, *, keep: str = "", repeatable: bool = False) -> None:
        raise GoesOn(keep, repeatable=repeatable)


class Going(Client):
    """The run that goes on with what was kept, of a client that can be asked."""

    def __init__(self, kept: str = "", answers: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        super().__init__()
        self.kept = kept
        self.answers = answers or {}

    def can(self, method: AskMethod, part: str = "") -> bool:
        return part in ("", "form")

    async def ask(self, asks: Mapping[str, Question], *, keep: str = "") -> Mapping[str, Mapping[str, Any]]:
        missing = {key: each for key, each in asks.items() if key not in self.answers}
        if missing:
            raise InputRequired(missing, keep)
        return {key: self.answers[key] for key in asks}


class Elsewhere(Client):
    """A run that another worker goes on with when it is cancelled here."""

    @property
    def handed_on(self) -> bool:
        return True


class Impatient(Client):
    """Whoever takes no task."""

    @property
    def takes_tasks(self) -> bool:
        return False


async def sail(ask: Ask, tasks: TaskSide, client: Client | None = None, *, timeout: float = 20) -> Outcome:
    return await ask.call(tasks.url, "sail", client=client, timeout=timeout)


async def test_a_task_is_followed_to_its_end_within_the_call(ask: Ask, tasks: TaskSide) -> None:
    tasks.states = [
        {"status": "working", "statusMessage": "at sea"},
        {"status": "working", "statusMessage": "at sea"},
        {"status": "working", "statusMessage": "in sight"},
        DONE,
    ]
    client = Client()
    outcome = await sail(ask, tasks, client)
    assert outcome.text == "arrived"
    assert client.told == [(1, None, "at sea"), (2, None, "in sight")]
    assert len(tasks.of("tools/call")) == 1
    assert [each["taskId"] for each in tasks.of("tasks/get")] == ["voyage 1 ø"] * 4
    named = {headers["mcp-name"] for method, _, headers in tasks.heard if method == "tasks/get"}
    assert named == {"=?base64?dm95YWdlIDEgw7g=?="}


async def test_a_run_elsewhere_goes_on_with_the_task_and_does_not_call_again(
    ask: Ask, tasks: TaskSide
) -> None:
    with pytest.raises(GoesOn) as left:
        await sail(ask, tasks, Handing())
    assert left.value.repeatable
    assert (len(tasks.of("tools/call")), len(tasks.of("tasks/get"))) == (1, 0)
    for _ in range(2):
        assert (await sail(ask, tasks, Going(left.value.kept))).text == "arrived"
    assert len(tasks.of("tools/call")) == 1


async def test_what_it_asks_is_put_to_the_client_and_answered_once(ask: Ask, tasks: TaskSide) -> None:
    question = {"method": "elicitation/create", "params": FORM}
    asking = {"status": "input_required", "inputRequests": {"sure": question}}
    more = {"status": "input_required", "inputRequests": {"sure": question, "really": question}}
    tasks.states = [asking]
    with pytest.raises(InputRequired) as required:
        await sail(ask, tasks, Going())
    assert list(required.value.asks) == ["sure"]
    kept = required.value.kept
    assert not tasks.of("tasks/update")
    yes = {"action": "accept", "content": {}}
    tasks.states = [asking, asking, more]
    with pytest.raises(InputRequired) as required:
        await sail(ask, tasks, Going(kept, {"sure": yes}))
    assert list(required.value.asks) == ["really"]
    assert [each["inputResponses"] for each in tasks.of("tasks/update")] == [{"sure": yes}]
    tasks.states = [more, DONE]
    outcome = await sail(ask, tasks, Going(required.value.kept, {"sure": yes, "really": yes}))
    assert outcome.text == "arrived"
    assert len(tasks.of("tools/call")) == 1


async def test_a_client_that_cannot_be_asked_ends_the_task(ask: Ask, tasks: TaskSide) -> None:
    question = {"method": "elicitation/create", "params": FORM}
    tasks.states = [{"status": "input_required", "inputRequests": {"sure": question}}]
    with pytest.raises(SourceError) as caught:
        await sail(ask, tasks)
    assert caught.value.code == "client_cannot"
    assert [each["taskId"] for each in tasks.of("tasks/cancel")] == ["voyage 1 ø"]


async def test_an_upstream_that_is_away_meanwhile_is_asked_again(ask: Ask, tasks: TaskSide) -> None:
    tasks.away = 7
    assert (await sail(ask, tasks)).text == "arrived"
    assert len(tasks.of("tools/call")) == 1


async def test_answers_reach_one_that_is_away_when_the_client_gives_them(ask: Ask, tasks: TaskSide) -> None:
    asking = {
        "status": "input_required",
        "inputRequests": {"sure": {"method": "elicitation/create", "params": FORM}},
    }
    tasks.states = [asking]
    with pytest.raises(InputRequired) as required:
        await sail(ask, tasks, Going())
    tasks.states, tasks.away, tasks.away_for = [asking, DONE], 7, "tasks/update"
    yes = {"action": "accept", "content": {}}
    assert (await sail(ask, tasks, Going(required.value.kept, {"sure": yes}))).text == "arrived"
    assert {str(each["inputResponses"]) for each in tasks.of("tasks/update")} == {str({"sure": yes})}


async def test_one_that_stays_away_is_given_up_with_its_reason(
    ask: Ask, tasks: TaskSide, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "AWAY_SECONDS", 0.2)
    tasks.away = 10_000
    with pytest.raises(SourceError) as caught:
        await sail(ask, tasks)
    assert caught.value.code in ("source_failed", "source_unavailable")


async def test_the_deadline_ends_the_task_there_too(ask: Ask, tasks: TaskSide) -> None:
    tasks.states = [{"status": "working"}]
    for timeout in (1, 5, 30):
        with pytest.raises(SourceError) as caught:
            await sail(ask, tasks, timeout=timeout)
        assert caught.value.code == "source_timeout"
        # Where the machine stalls, it may not have been made by then.
        if tasks.of("tasks/get"):
            break
    assert "longer deadline" in caught.value.message
    assert [each["taskId"] for each in tasks.of("tasks/cancel")] == ["voyage 1 ø"]


@pytest.mark.parametrize(("client", "told"), [(Client(), 1), (Elsewhere(), 0)])
async def test_who_leaves_ends_the_task_unless_another_worker_goes_on(
    ask: Ask, tasks: TaskSide, client: Client, told: int
) -> None:
    tasks.states = [{"status": "working"}]
    running = asyncio.create_task(sail(ask, tasks, client))
    while not tasks.of("tasks/get"):  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    assert len(tasks.of("tasks/cancel")) == told


@pytest.mark.parametrize(
    ("state", "code", "words"),
    [
        ({"status": "cancelled"}, "source_cancelled", "cancelled the task"),
        (
            {"status": "failed", "error": {"code": -32603, "message": "<script>"}},
            "task_failed",
            "with error -32603",
        ),
        ({"status": "failed", "error": {"code": "x"}}, "task_failed", "with error ?"),
        ({"status": "failed"}, "source_not_mcp", "no error in it"),
        ({"status": "completed"}, "source_not_mcp", "no result in it"),
        ({"status": "completed", "result": {"content": 7}}, "source_not_mcp", "no list"),
        ({"status": "sunk"}, "source_not_mcp", "none that there is"),
        ({"status": "input_required", "inputRequests": []}, "source_not_mcp", "no object"),
        (
            {"status": "input_required", "inputRequests": {"a": {"method": "rm"}}},
            "source_not_mcp",
            "no question of MCP",
        ),
        ({"error": {"code": -32602, "message": "?"}}, "source_not_mcp", "knows nothing more"),
    ],
)
async def test_each_other_end_says_what_came_of_it(
    ask: Ask, tasks: TaskSide, state: Mapping[str, Any], code: str, words: str
) -> None:
    tasks.states = [state]
    with pytest.raises(MarinaError) as caught:
        await sail(ask, tasks)
    assert caught.value.code == code
    assert words in caught.value.message
    assert "<script>" not in caught.value.message


async def test_a_client_that_takes_no_task_is_told_so(ask: Ask, tasks: TaskSide) -> None:
    with pytest.raises(SourceError) as caught:
        await sail(ask, tasks, Impatient())
    assert (caught.value.code, caught.value.data["extension"]) == ("client_cannot", TASKS)


async def test_its_tools_begin_within_their_requests(ask: Ask, tasks: TaskSide) -> None:
    offering = await ask.offering(tasks.url)
    (tool,) = offering.tools
    assert ask.backend.running(tool.operation).where == "begins_inline"
    assert ask.backend.running(Operation("tool", {"name": "sail"})).where == "inline"
