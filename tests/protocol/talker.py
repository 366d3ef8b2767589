"""A kind of data source whose operations talk back to their client: progress, log, questions, updates, release."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from typing import Any

from servers.execution.contract import (
    Ask,
    Completion,
    Context,
    Offered,
    OfferedPrompt,
    OfferedResource,
    Offering,
    Operation,
    Outcome,
    Source,
)
from tests.plainkind import PlainKind

KIND = "talker"

FORM = Ask(
    "elicitation/create",
    {
        "message": "Which region?",
        "requestedSchema": {"type": "object", "properties": {"region": {"type": "string"}}},
    },
)
URL = Ask(
    "elicitation/create",
    {"mode": "url", "message": "Sign in.", "url": "https://app.example.com/in", "elicitationId": "e1"},
)
SAMPLE = Ask(
    "sampling/createMessage",
    {"messages": [{"role": "user", "content": {"type": "text", "text": "Name it."}}], "maxTokens": 10},
)
SAMPLE_WITH_TOOLS = Ask(
    "sampling/createMessage",
    {**SAMPLE.params, "tools": [{"name": "look", "inputSchema": {"type": "object"}}]},
)
ROOTS = Ask("roots/list", {})

TOOLS = ("ask", "ask_many", "ask_twice", "ask_url", "ask_with_tools", "release", "say", "steps", "touch")


class _Events:
    """One for each name: the same for threads that ask at the same time, as a ``defaultdict`` does not give it."""

    def __init__(self) -> None:
        self._events: dict[str, threading.Event] = {}

    def __getitem__(self, name: str) -> threading.Event:
        return self._events.setdefault(name, threading.Event())


class TalkerBackend(PlainKind):
    """Implements the backends' contract. Tools with an argument ``gate`` wait there until ``open``."""

    kind = KIND
    title = "Talker"

    def __init__(self) -> None:
        self.traces: list[Mapping[str, str]] = []
        """What each operation was handed to pass on."""
        self._gates: dict[str, asyncio.Future[None]] = {}
        self._entered = _Events()
        self._cancelled = _Events()

    def wait_entered(self, gate: str) -> None:
        """From a test's thread: until an operation waits at the gate."""
        assert self._entered[gate].wait(60), f"nothing came to the gate {gate}"

    def wait_cancelled(self, gate: str, seconds: float = 60) -> None:
        """From a test's thread: until what waits at the gate was cancelled."""
        assert self._cancelled[gate].wait(seconds), f"what waits at the gate {gate} was not cancelled"

    def is_cancelled(self, gate: str) -> bool:
        return self._cancelled[gate].is_set()

    def open(self, gate: str) -> None:
        """From a test's thread: let what waits at the gate go on."""
        held = self._gates[gate]
        held.get_loop().call_soon_threadsafe(held.set_result, None)

    def offered(self, settings: Mapping[str, Any]) -> Offering:
        return Offering(
            tools=[_tool(name) for name in TOOLS],
            resources=[
                _resource("talk://asks"),
                _resource("talk://plain"),
                _resource("talk://item/{id}", template=True),
                _resource("talk://thing/{id}", template=True),
            ],
            prompts=[_prompt("asks"), _prompt("plain")],
        )

    def compile(self, kind: str, definition: Mapping[str, Any]) -> Offered:
        return _tool(kind)

    async def execute(
        self,
        source: Source,
        operation: Operation,
        arguments: Mapping[str, Any],
        *,
        timeout: float,
        context: Context,
    ) -> Outcome:
        if context.trace is not None:
            self.traces.append(context.trace.carried)
        does = getattr(self, f"_{operation.kind}")
        outcome: Outcome = await does(arguments, context)
        return outcome

    async def complete(
        self,
        source: Source,
        operation: Operation,
        argument: str,
        value: str,
        given: Mapping[str, str],
        *,
        timeout: float,
        context: Context,
    ) -> Completion:
        names = [f"{value}{number}" for number in range(150)]
        return Completion(names, total=150)

    async def _steps(self, arguments: Mapping[str, Any], context: Context) -> Outcome:
        for step in range(1, int(arguments.get("count", 3)) + 1):
            await context.progress(step, 10, f"step {step}")
        await self._pass(arguments)
        for step in range(1, int(arguments.get("later", 0)) + 1):
            await context.progress(100 + step)
        return _told("done")

    async def _say(self, arguments: Mapping[str, Any], context: Context) -> Outcome:
        for level in ("debug", "info", "warning", "error"):
            await context.log(level, {"said": level}, "talker")
        await self._pass(arguments)
        return _told("said")

    async def _ask(self, arguments: Mapping[str, Any], context: Context) -> Outcome:
        answers = await context.ask({"region": FORM})
        await self._pass(arguments)
        return _told(answers)

    async def _ask_many(self, arguments: Mapping[str, Any], context: Context) -> Outcome:
        return _told(await context.ask({"region": FORM, "name": SAMPLE, "roots": ROOTS}))

    async def _ask_twice(self, arguments: Mapping[str, Any], context: Context) -> Outcome:
        first = await context.ask({"first": FORM})
        return _told({**first, **await context.ask({"second": FORM})})

    async def _ask_url(self, arguments: Mapping[str, Any], context: Context) -> Outcome:
        return _told(await context.ask({"page": URL}))

    async def _ask_with_tools(self, arguments: Mapping[str, Any], context: Context) -> Outcome:
        return _told(await context.ask({"name": SAMPLE_WITH_TOOLS}))

    async def _touch(self, arguments: Mapping[str, Any], context: Context) -> Outcome:
        await context.resource_updated(str(arguments["uri"]))
        return _told("touched")

    async def _release(self, arguments: Mapping[str, Any], context: Context) -> Outcome:
        await context.progress(1)
        await context.release_stream()
        await context.progress(2)
        await self._pass(arguments)
        return _told("released")

    async def _read(self, arguments: Mapping[str, Any], context: Context) -> Outcome:
        uri = str(arguments["uri"])
        text = f"the text of {uri}"
        if uri == "talk://asks":
            text = str((await context.ask({"region": FORM}))["region"]["content"]["region"])
        return Outcome(None, "", content=[{"uri": uri, "mimeType": "text/plain", "text": text}], size=2)

    async def _prompt(self, arguments: Mapping[str, Any], context: Context) -> Outcome:
        text = str(arguments.get("topic", "nothing"))
        if text == "ask":
            text = str((await context.ask({"region": FORM}))["region"]["content"]["region"])
        message = {"role": "user", "content": {"type": "text", "text": text}}
        return Outcome(None, "A prompt.", content=[message], size=2)

    async def _pass(self, arguments: Mapping[str, Any]) -> None:
        gate = arguments.get("gate")
        if gate is None:
            return
        self._gates[gate] = asyncio.get_running_loop().create_future()
        self._entered[gate].set()
        try:
            await self._gates[gate]
        except asyncio.CancelledError:
            self._cancelled[gate].set()
            raise


def _told(value: Any) -> Outcome:
    return Outcome(structured={"told": value}, text="told", rows=1, size=2)


def _tool(name: str) -> Offered:
    return Offered(
        name=name,
        title="",
        description=f"The {name} tool.",
        input_schema={"type": "object"},
        output_schema=None,
        annotations={"readOnlyHint": True},
        operation=Operation(name, {}),
    )


def _resource(uri: str, *, template: bool = False) -> OfferedResource:
    return OfferedResource(
        uri=uri,
        name=uri.removeprefix("talk://"),
        title="",
        description="",
        mime_type="text/plain",
        operation=Operation("read", {}),
        template=template,
    )


def _prompt(name: str) -> OfferedPrompt:
    return OfferedPrompt(
        name=name,
        title="",
        description="",
        arguments=[{"name": "topic", "required": False}],
        operation=Operation("prompt", {}),
    )
