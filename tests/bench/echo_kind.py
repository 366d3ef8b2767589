"""A kind of data source that only the bench has: its tools give back what they are given, at once.

So a measured call costs what Marina does around a tool, and nothing that a source would add.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from servers.execution.contract import (
    Context,
    Offered,
    Offering,
    Operation,
    Outcome,
    Sharing,
    Source,
)
from tests.bench.offered import describe_tools
from tests.plainkind import PlainKind, add_kinds

KIND = "bench"


class EchoBackend(PlainKind):
    """Implements ``servers.execution.contract.Backend``. ``settings`` is ``{"tools": how many}``."""

    kind = KIND
    title = "Bench"
    settings_schema: Mapping[str, Any] = {
        "type": "object",
        "properties": {"tools": {"type": "integer", "minimum": 1}},
        "required": ["tools"],
    }

    def clean_settings(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        return {"tools": int(settings["tools"])}

    def offered(self, settings: Mapping[str, Any]) -> Offering:
        return Offering(
            tools=[
                Offered(**tool, operation=Operation("echo", {}))
                for tool in describe_tools(int(settings["tools"]))
            ]
        )

    def sharing(self, operation: Operation) -> Sharing:
        return Sharing(by_caller=False, waits=False)

    async def execute(
        self,
        source: Source,
        operation: Operation,
        arguments: Mapping[str, Any],
        *,
        timeout: float,
        context: Context,
    ) -> Outcome:
        text = orjson.dumps(arguments).decode()
        return Outcome(structured=arguments, text=text, size=len(text))


def add_echo_kind() -> None:
    """Give this process the kind beside Marina's own, before its runtime starts."""
    add_kinds(EchoBackend())
