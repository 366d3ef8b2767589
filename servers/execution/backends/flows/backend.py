"""Pipelines and workflows as a kind of data source: hands each operation to its module."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from servers.execution.backends.flows.health import check_source
from servers.execution.backends.flows.linking import link_flow
from servers.execution.backends.flows.operations import (
    CREATE,
    DEFINED,
    EXECUTE,
    PROMPT,
    TOOL_KINDS,
    annotations_of,
    compile_flow,
    create_pipeline,
    data_pipeline,
    execute_pipeline,
    offer_operations,
    offer_prompts,
    run_defined,
)
from servers.execution.backends.flows.steps import Flow, calls_of, flow_of
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
from servers.execution.parameters import Faults, raise_faults

_MOST_READ: Final = 512
"""Flows kept as they were read, so that a run does not read its definition again."""


_OPERATIONS: Final[Mapping[str, Callable[[Mapping[str, Any], Context], Awaitable[Outcome]]]] = {
    CREATE: create_pipeline,
    EXECUTE: execute_pipeline,
    PROMPT: data_pipeline,
}


class FlowsBackend(Backend):
    """See ``contract.Backend``. One object a process, used from one event loop. It holds no connections."""

    kind: str = "flows"
    title: str = "Pipelines and workflows"
    summary: str = "Tools made of your other tools, step by step. Nothing to program."
    tool_kinds: Mapping[str, ToolKind] = TOOL_KINDS
    composes: bool = True

    def __init__(self) -> None:
        # By the definition's identity: it is the snapshot's own, and kept beside, so no other takes its place.
        self._read: OrderedDict[int, tuple[Mapping[str, Any], Flow]] = OrderedDict()

    def offered(self, settings: Mapping[str, Any]) -> Offering:
        return Offering(tools=offer_operations(), prompts=offer_prompts())

    def compile(self, kind: str, definition: Mapping[str, Any]) -> Offered:
        if kind not in DEFINED:
            raise self.no_such_tool_kind(kind)
        return compile_flow(kind, definition)

    def uses(self, operation: Operation) -> Sequence[str]:
        if operation.kind not in DEFINED:
            return ()
        return sorted({call.tool for call in calls_of(self._flow(operation).steps)})

    def link(self, offered: Offered, tools: Mapping[str, Offered]) -> Offered:
        flow = self._flow(offered.operation)
        faults: Faults = []
        link_flow(flow, tools, offered.input_schema["properties"], faults)
        raise_faults(faults)
        return replace(offered, annotations=annotations_of(flow, tools))

    async def check(self, source: Source) -> Health:
        return await check_source(source)

    async def execute(
        self,
        source: Source,
        operation: Operation,
        arguments: Mapping[str, Any],
        *,
        timeout: float,
        context: Context,
    ) -> Outcome:
        if operation.kind in DEFINED:
            return await run_defined(self._flow(operation), operation.definition, arguments, context)
        run = _OPERATIONS.get(operation.kind)
        if run is not None:
            return await run(arguments, context)
        raise self.no_such_operation(operation)

    def _flow(self, operation: Operation) -> Flow:
        definition = operation.definition
        held = self._read.get(id(definition))
        if held is not None and held[0] is definition:
            self._read.move_to_end(id(definition))
            return held[1]
        flow = flow_of(definition, operation.kind)
        self._read[id(definition)] = (definition, flow)
        if len(self._read) > _MOST_READ:
            self._read.popitem(last=False)
        return flow
