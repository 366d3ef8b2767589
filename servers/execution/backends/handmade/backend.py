"""What teams write by hand, as a kind of data source: it brings nothing, for all of it is the team's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from servers.execution.backends.handmade.health import check_handmade
from servers.execution.backends.handmade.operations import (
    OPERATIONS,
    check_tools,
    complete_argument,
    tools_of,
)
from servers.execution.backends.handmade.prompts import compile_prompt
from servers.execution.backends.handmade.resources import compile_resource
from servers.execution.contract import (
    Backend,
    Completion,
    Context,
    Health,
    Offered,
    OfferedPrompt,
    OfferedResource,
    Offering,
    Operation,
    Outcome,
    Source,
)


class HandmadeBackend(Backend):
    """See ``contract.Backend``. It holds nothing: what it needs is in each operation's definition."""

    kind: str = "handmade"
    title: str = "Made by hand"
    summary: str = "Resources and prompts that you write yourselves."
    composes: bool = True

    def offered(self, settings: Mapping[str, Any]) -> Offering:
        return Offering()

    def compile_resource(self, definition: Mapping[str, Any]) -> OfferedResource:
        return compile_resource(definition)

    def compile_prompt(self, definition: Mapping[str, Any]) -> OfferedPrompt:
        return compile_prompt(definition)

    def uses(self, operation: Operation) -> Sequence[str]:
        return tools_of(operation)

    def check_tools(self, operation: Operation, tools: Mapping[str, Offered]) -> None:
        check_tools(operation, tools)

    async def check(self, source: Source) -> Health:
        return check_handmade()

    async def execute(
        self,
        source: Source,
        operation: Operation,
        arguments: Mapping[str, Any],
        *,
        timeout: float,
        context: Context,
    ) -> Outcome:
        run = OPERATIONS.get(operation.kind)
        if run is None:
            raise self.no_such_operation(operation)
        return await run(operation.definition, arguments, context)

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
        return await complete_argument(operation, argument, value, given, context)
