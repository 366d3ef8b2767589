"""Tools that take long: what the scenarios of the tasks extension (SEP-2663) call."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, Field

from conformance_fixtures.declared import plugin
from marina.plugin import Context, Elicit, ToolError
from servers.execution.contract import (
    Backend,
    Health,
    Offered,
    Offering,
    Operation,
    Outcome,
    Running,
    Source,
)
from servers.execution.contract import Context as CallContext

FAULTY = "conformance-faulty"
"""The kind of source whose tool fails as none should."""


class Confirmation(BaseModel):
    """Whether to go ahead."""

    confirm: bool = Field(description="Go ahead")


class Named(BaseModel):
    """Somebody's name."""

    name: str = Field(description="A name")


@plugin.tool(read_only=True)
async def greet(name: str) -> str:
    """Greets at once."""
    return f"Hello, {name}!"


@plugin.tool(read_only=True, runs="worker")
async def slow_compute(context: Context, seconds: float = 1.0, label: str = "") -> str:
    """Takes so many seconds."""
    for second in range(int(seconds)):
        await context.progress(second, seconds)
        await asyncio.sleep(1)
    await asyncio.sleep(seconds - int(seconds))
    return f"computed {label} in {seconds:g} s"


@plugin.tool(read_only=True, runs="worker", task_only=True)
async def failing_job() -> str:
    """Fails after a second."""
    await asyncio.sleep(1)
    raise ToolError("The job failed.")


@plugin.tool(idempotent=True, runs="worker")
async def confirm_delete(filename: str, context: Context) -> str:
    """Asks before it would delete."""
    answer = await context.elicit("confirm", f"Delete {filename}?", Confirmation)
    done = answer.content is not None and answer.content.confirm
    return f"{filename}: {'deleted' if done else 'kept'}"


@plugin.tool(read_only=True, runs="worker")
async def multi_input(context: Context) -> str:
    """Asks two things at once."""
    answers = await context.ask(first=Elicit("Who is first?", Named), second=Elicit("Who is second?", Named))
    return ", ".join(answer.content.name for answer in answers.values() if answer.content is not None)


@plugin.tool(read_only=True, runs="begins_inline", task_only=True)
async def test_tool_with_task(context: Context) -> str:
    """Asks for a name within the call, and then takes long."""
    answer = await context.elicit("user_name", "What is your name?", Named)
    await context.takes_long()
    await asyncio.sleep(0.2)
    return f"Hello, {answer.content.name if answer.content is not None else 'stranger'}!"


@plugin.kind
class FaultyBackend(Backend):
    """Its tool ends in an exception that is none of Marina's: a fault of the program, which no result tells of."""

    kind = FAULTY
    title = "Conformance faults"

    def offered(self, settings: Mapping[str, Any]) -> Offering:
        return Offering(
            [
                Offered(
                    name="protocol_error_job",
                    title="Protocol error",
                    description="Ends in a fault of the program.",
                    input_schema={"type": "object"},
                    output_schema=None,
                    annotations={"readOnlyHint": True},
                    operation=Operation("fault", {}),
                )
            ]
        )

    def running(self, operation: Operation) -> Running:
        return Running("worker")

    async def check(self, source: Source) -> Health:
        return Health("healthy")

    async def execute(
        self,
        source: Source,
        operation: Operation,
        arguments: Mapping[str, Any],
        *,
        timeout: float,
        context: CallContext,
    ) -> Outcome:
        raise RuntimeError("a fault of the program, on purpose")
