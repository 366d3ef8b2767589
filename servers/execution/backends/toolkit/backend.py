"""The toolkit as a kind of data source: no settings, tools that only compute, and one that fetches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.outbound import AllowAddress
from servers.execution.addresses import allow_public
from servers.execution.backends.toolkit.fetching import FETCH_JSON, fetch_json
from servers.execution.backends.toolkit.health import check_toolkit
from servers.execution.backends.toolkit.operations import find_work, is_quick, offer_operations
from servers.execution.backends.toolkit.pace import Bench
from servers.execution.contract import (
    Backend,
    Context,
    Health,
    Offering,
    Operation,
    Outcome,
    Sharing,
    Source,
)


class ToolkitBackend(Backend):
    """See ``contract.Backend``. One object a process, used from one event loop."""

    kind: str = "toolkit"
    title: str = "Data toolkit"
    summary: str = "A calculator, and tools that read, filter and sum up data. Nothing to set up."

    def __init__(self, *, allow_address: AllowAddress = allow_public) -> None:
        self._allow = allow_address
        self._bench = Bench()

    def offered(self, settings: Mapping[str, Any]) -> Offering:
        return Offering(tools=[*offer_operations(), FETCH_JSON])

    def sharing(self, operation: Operation) -> Sharing:
        # What only computes is sooner done than looked for.
        return Sharing(by_caller=False, waits=operation.kind == FETCH_JSON.operation.kind)

    async def check(self, source: Source) -> Health:
        return check_toolkit()

    async def execute(
        self,
        source: Source,
        operation: Operation,
        arguments: Mapping[str, Any],
        *,
        timeout: float,
        context: Context,
    ) -> Outcome:
        if operation.kind == FETCH_JSON.operation.kind:
            return await fetch_json(arguments, allow=self._allow, timeout=timeout, team=source.tenant_id)
        work = find_work(operation.kind, arguments)
        if work is None:
            raise self.no_such_operation(operation)
        quick = is_quick(operation.kind, dict(arguments))
        return await self._bench.run(work, quick=quick, tenant_id=source.tenant_id, timeout=timeout)

    async def close(self) -> None:
        self._bench.close()
