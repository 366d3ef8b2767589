"""A team's own Python as a kind of data source: hands each operation to its module; holds the sandbox."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from servers.execution.backends.code.health import check_sandbox
from servers.execution.backends.code.operations import (
    PYTHON,
    TOOL_KINDS,
    compile_code_tool,
    link_tools,
    tools_of,
)
from servers.execution.backends.code.running import Sandbox, run_code
from servers.execution.backends.code.settings import SETTINGS_SCHEMA, clean_settings, read_settings
from servers.execution.contract import (
    Backend,
    Context,
    Health,
    Offered,
    Offering,
    Operation,
    Outcome,
    Source,
    ToolKind,
)
from servers.execution.parameters import values_of


class CodeBackend(Backend):
    """See ``contract.Backend``. One object a process, used from one event loop."""

    kind: str = "code"
    title: str = "Python code"
    summary: str = "Tools that you write in Python. They run in a sandbox, and may call your other tools."
    settings_schema: Mapping[str, Any] = SETTINGS_SCHEMA
    tool_kinds: Mapping[str, ToolKind] = TOOL_KINDS
    composes: bool = True

    def __init__(self) -> None:
        self._sandbox = Sandbox()

    def clean_settings(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        return clean_settings(settings)

    def offered(self, settings: Mapping[str, Any]) -> Offering:
        return Offering()

    def compile(self, kind: str, definition: Mapping[str, Any]) -> Offered:
        if kind != PYTHON:
            raise self.no_such_tool_kind(kind)
        return compile_code_tool(definition)

    def uses(self, operation: Operation) -> Sequence[str]:
        return tools_of(operation)

    def link(self, offered: Offered, tools: Mapping[str, Offered]) -> Offered:
        return link_tools(offered, tools)

    async def check(self, source: Source) -> Health:
        return await check_sandbox(self._sandbox)

    async def execute(
        self,
        source: Source,
        operation: Operation,
        arguments: Mapping[str, Any],
        *,
        timeout: float,
        context: Context,
    ) -> Outcome:
        if operation.kind != PYTHON:
            raise self.no_such_operation(operation)
        definition = operation.definition
        return await run_code(
            self._sandbox,
            definition["code"],
            values_of(definition.get("parameters") or {}, arguments),
            list(tools_of(operation)),
            settings=read_settings(source.settings),
            context=context,
            name=source.name,
        )

    async def close(self) -> None:
        await self._sandbox.close()
