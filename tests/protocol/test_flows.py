"""Pipelines and workflows through the official client, in both eras: saved by a team, run as one tool."""

from __future__ import annotations

from typing import Any

import pytest

from core.threads import run_sync
from servers.services.sources import create_source
from servers.services.tools import create_tool
from tests.factories import Team
from tests.protocol.conftest import ALL_SCOPES, HearAll, Records
from tests.protocol.officialclient import connected
from tests.protocol.wireclient import Endpoint

pytestmark = pytest.mark.anyio

ERAS = pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])

TWICE: dict[str, Any] = {
    "parameters": {"text": {"type": "string"}},
    "steps": [
        {"tool": "echo", "args": {"text": "$text"}, "output": "first"},
        {"tool": "echo", "args": {"text": "again ${first.echo.text}"}, "output": "second"},
    ],
    "result": "${second.echo.text}",
}
EACH: dict[str, Any] = {
    "parameters": {"texts": {"type": "array", "items": {"type": "string"}}},
    "steps": [
        {
            "type": "loop",
            "over": "$texts",
            "as": "text",
            "steps": [
                {
                    "type": "condition",
                    "if": {"left": "$text", "operator": "eq", "right": "bad"},
                    "then": [{"tool": "fail", "continue_on_failure": True}],
                    "else": [{"tool": "echo", "args": {"text": "$text"}}],
                }
            ],
            "output_variable": "all",
        }
    ],
    "result": "$all",
}


@pytest.fixture
def flows(team: Team, hear_all: HearAll) -> Team:
    """A team with the probe's tools, a pipeline ``twice`` and a workflow ``each``."""
    create_source("flows", "flows", {}, caller=team.owner)
    create_tool("twice", "flows", "pipeline", TWICE, caller=team.owner)
    create_tool("each", "flows", "workflow", EACH, caller=team.owner)
    hear_all()
    return team


@pytest.fixture
def whole(port: int, flows: Team) -> Endpoint:
    """The team's URL with a key that may do all that clients do."""
    return Endpoint(port, f"/mcp/{flows.slug}", flows.key(*ALL_SCOPES))


@ERAS
async def test_a_pipeline_runs_as_one_tool(whole: Endpoint, flows: Team, mode: str, records: Records) -> None:
    told: list[tuple[float, float | None]] = []

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        told.append((progress, total))

    async with connected(whole, mode) as client:
        listed = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert listed["twice"].input_schema["required"] == ["text"]
        called = await client.call_tool("twice", {"text": "hi"}, progress_callback=hear)
        wrong = await client.call_tool("twice", {"text": 5})
    assert called.structured_content is not None
    assert called.structured_content["result"] == "again hi"
    assert [step["status"] for step in called.structured_content["steps"]] == ["ok", "ok"]
    assert told == [(1, 2), (2, 2)]
    assert wrong.is_error
    made = [record for record in await run_sync(records, flows) if record.get("parent")]
    assert [record["tool"] for record in made] == ["echo", "echo"]


@ERAS
async def test_a_workflow_goes_on_where_it_may(whole: Endpoint, mode: str) -> None:
    async with connected(whole, mode) as client:
        called = await client.call_tool("each", {"texts": ["a", "bad", "b"]})
    assert called.structured_content is not None
    assert called.structured_content["result"] == [{"echo": {"text": "a"}}, None, {"echo": {"text": "b"}}]


@ERAS
async def test_a_pipeline_of_the_client_is_checked_then_run(whole: Endpoint, mode: str) -> None:
    async with connected(whole, mode) as client:
        wrong = await client.call_tool("create_pipeline", {"steps": [{"tool": "ecko"}]})
        steps = [{"tool": "echo", "args": {"text": "$word"}, "output": "said"}]
        checked = await client.call_tool("create_pipeline", {"steps": steps, "initial_data": {"word": "x"}})
        assert checked.structured_content is not None
        done = await client.call_tool(
            "execute_pipeline",
            {"pipeline": checked.structured_content["pipeline"], "initial_data": {"word": "hey"}},
        )
        by_name = await client.call_tool(
            "execute_pipeline", {"pipeline": "twice", "initial_data": {"text": "you"}}
        )
        prompt = await client.get_prompt("data_pipeline", {"goal": "a count of orders"})
    assert wrong.is_error
    assert "steps[0].tool: There is no tool called ecko" in str(wrong.content[0])
    assert done.structured_content is not None
    assert done.structured_content["result"] == {"echo": {"text": "hey"}}
    assert by_name.structured_content is not None
    assert by_name.structured_content["result"] == "again you"
    assert "a count of orders" in str(prompt.messages[0].content)


@ERAS
async def test_a_tool_in_python_calls_others_and_tells_what_it_prints(
    whole: Endpoint, flows: Team, mode: str, hear_all: HearAll
) -> None:
    def make() -> None:
        create_source("snippets", "code", {}, caller=flows.owner)
        code = "print(f'saying {word}')\nsaid = await echo(text=word)\nsaid['echo']['text'] * 2"
        definition = {"code": code, "tools": ["echo"], "parameters": {"word": {"type": "string"}}}
        create_tool("say_twice", "snippets", "python", definition, caller=flows.owner)
        hear_all()

    await run_sync(make)
    async with connected(whole, mode) as client:
        called = await client.call_tool("say_twice", {"word": "ho"})
    assert not called.is_error
    assert "hoho" in str(called.content[0])


async def test_a_key_for_the_pipeline_alone_may_not_run_what_it_calls(port: int, flows: Team) -> None:
    scopes = ("tools:read", "tools:execute", "tool:twice")
    key = await run_sync(flows.key, *scopes)
    async with connected(Endpoint(port, f"/mcp/{flows.slug}", key), "2026-07-28") as client:
        called = await client.call_tool("twice", {"text": "hi"})
    assert called.is_error
    assert "steps[0] (echo) failed" in str(called.content[0])
