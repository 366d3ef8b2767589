"""What teams write by hand, as a kind of data source: it brings nothing, for all of it is the team's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from servers.execution.backends.handmade.health import check_handmade
from servers.execution.backends.handmade.operations import OPERATIONS, complete
from servers.execution.backends.handmade.prompts import compile_prompt
from servers.execution.backends.handmade.resources import compile_resource
from servers.execution.contract import (
    Backend,
    Completion,
    Context,
    Health,
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

    def offered(self, settings: Mapping[str, Any]) -> Offering:
        return Offering()

    def compile_resource(self, definition: Mapping[str, Any]) -> OfferedResource:
        return compile_resource(definition)

    def compile_prompt(self, definition: Mapping[str, Any]) -> OfferedPrompt:
        return compile_prompt(definition)

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
        return run(operation.definition, arguments)

    async def complete(
        self,
        source: Source,
        operation: Operation,
        argument: str,
        value: str,
        given: Mapping[str, str],
        *,
        timeout: float,
    ) -> Completion:
        return complete(operation, argument, value)
