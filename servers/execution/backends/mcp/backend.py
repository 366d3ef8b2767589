"""The kind of data source for MCP servers elsewhere: hands each operation to its module, and holds their sessions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.errors import InvalidInput, SourceError
from core.outbound import AllowAddress
from servers.execution.addresses import allow_public
from servers.execution.backends.mcp.calls import PROMPT, RESOURCE, TOOL, complete, margin_of, run
from servers.execution.backends.mcp.catalog import Catalog, as_input_fault, fetch_catalog
from servers.execution.backends.mcp.health import check_source
from servers.execution.backends.mcp.offers import describe_server, offer_catalog
from servers.execution.backends.mcp.pools import IDLE_SECONDS, Upstreams
from servers.execution.backends.mcp.settings import (
    CATALOG,
    KEPT,
    SECRETS,
    SETTINGS_SCHEMA,
    clean_settings,
    read_settings,
)
from servers.execution.contract import (
    Backend,
    Completion,
    Context,
    Health,
    Offering,
    Operation,
    Outcome,
    Source,
)


class McpBackend(Backend):
    """See ``contract.Backend``. One object a process, used from one event loop."""

    kind: str = "mcp"
    title: str = "MCP server"
    summary: str = "What an MCP server elsewhere offers, behind this URL."
    settings_schema: Mapping[str, Any] = SETTINGS_SCHEMA
    secret_settings: frozenset[str] = SECRETS
    document_settings: frozenset[str] = frozenset({CATALOG})
    describes_itself: bool = True

    def __init__(
        self, *, allow_address: AllowAddress = allow_public, idle_seconds: float = IDLE_SECONDS
    ) -> None:
        self._allow = allow_address
        self.upstreams = Upstreams(allow=allow_address, idle_seconds=idle_seconds)

    def clean_settings(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        cleaned = clean_settings(settings)
        catalog = settings.get(CATALOG)
        if isinstance(catalog, Catalog):
            cleaned[CATALOG] = catalog
        return cleaned

    async def fetch_documents(self, settings: Mapping[str, Any], *, anew: bool = False) -> Mapping[str, Any]:
        given = {name: value for name, value in settings.items() if name != CATALOG}
        checked = read_settings(given)
        try:
            return {**given, CATALOG: await fetch_catalog(checked, allow=self._allow)}
        except SourceError as fault:
            raise as_input_fault(fault, checked) from None

    def keep_settings(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        catalog = settings.get(CATALOG)
        if not isinstance(catalog, Catalog):
            return dict(settings)
        kept = {name: value for name, value in settings.items() if name != CATALOG}
        return {**kept, KEPT: describe_server(catalog, offer_catalog(catalog, read_settings(kept)))}

    def offered(self, settings: Mapping[str, Any]) -> Offering:
        catalog = settings.get(CATALOG)
        if not isinstance(catalog, Catalog):
            raise InvalidInput(
                "What this MCP server offers is not kept: it has to be asked again.", code="document_missing"
            )
        return offer_catalog(catalog, read_settings(settings))

    async def check(self, source: Source) -> Health:
        return await check_source(source, allow=self._allow)

    async def execute(
        self,
        source: Source,
        operation: Operation,
        arguments: Mapping[str, Any],
        *,
        timeout: float,
        context: Context,
    ) -> Outcome:
        if operation.kind not in (TOOL, RESOURCE, PROMPT):
            raise self.no_such_operation(operation)
        async with self.upstreams.use(source) as upstream:
            seconds = min(timeout - margin_of(timeout), upstream.settings.timeout)
            return await run(upstream, operation, arguments, seconds=seconds, context=context)

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
        async with self.upstreams.use(source) as upstream:
            seconds = timeout - margin_of(timeout)
            return await complete(
                upstream, operation, argument, value, given, seconds=seconds, context=context
            )

    async def close(self) -> None:
        await self.upstreams.close()
