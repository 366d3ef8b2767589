"""A kind of data source for the protocol's tests: tools that echo, wait, fail or crash on demand."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from typing import Any

from core.errors import SourceError
from servers.execution.contract import (
    Context,
    Offered,
    Offering,
    Operation,
    Outcome,
    Source,
)
from tests.plainkind import PlainKind

KIND = "probe"
SECRET = "postgres://app:hunter2@10.0.0.1/secret"

ECHO_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "text": {"type": "string"},
        "limit": {"type": "integer", "minimum": 1, "maximum": 10},
        "filters": {"type": "array", "items": {"type": "object", "properties": {"name": {"type": "string"}}}},
    },
    "required": ["text"],
    "additionalProperties": False,
}
ROUTED_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {"region": {"type": "string", "x-mcp-header": "Region"}},
}


class ProbeBackend(PlainKind):
    """Implements the backends' contract. Its events let a test follow a call from outside."""

    kind = KIND
    title = "Probe"

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.cancelled = threading.Event()
        self.executed = 0
        self.held: asyncio.Future[None] | None = None

    def offered(self, settings: Mapping[str, Any]) -> Offering:
        return Offering(
            tools=[
                _offered("echo", ECHO_SCHEMA, output={"type": "object"}),
                _offered("wait", {"type": "object"}),
                _offered("fail", {"type": "object"}),
                _offered("crash", {"type": "object"}),
                _offered("routed", ROUTED_SCHEMA),
            ]
        )

    def compile(self, kind: str, definition: Mapping[str, Any]) -> Offered:
        return _offered(kind, {"type": "object"})

    async def execute(
        self,
        source: Source,
        operation: Operation,
        arguments: Mapping[str, Any],
        *,
        timeout: float,
        context: Context,
    ) -> Outcome:
        self.executed += 1
        if operation.kind == "fail":
            raise SourceError(
                "The data source does not answer. Start it, then call again.", code="source_unreachable"
            )
        if operation.kind == "crash":
            raise RuntimeError(SECRET)
        if operation.kind == "wait":
            self.held = asyncio.get_running_loop().create_future()
            self.entered.set()
            try:
                await self.held
            except asyncio.CancelledError:
                self.cancelled.set()
                raise
        return Outcome(
            structured={"echo": dict(arguments)}, text=str(arguments.get("text", "")), rows=1, size=2
        )

    async def let_go(self) -> None:
        """End the ``wait`` that is in progress, well. On Marina's loop."""
        assert self.held is not None
        self.held.set_result(None)


def _offered(name: str, schema: Mapping[str, Any], output: Mapping[str, Any] | None = None) -> Offered:
    return Offered(
        name=name,
        title=name.title(),
        description=f"The {name} tool.",
        input_schema=schema,
        output_schema=output,
        annotations={"readOnlyHint": True},
        operation=Operation(name, {}),
    )
