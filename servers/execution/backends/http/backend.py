"""The HTTP kind of data source: hands each operation to its module; holds what is kept of the sources and no more."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from core.outbound import AllowAddress
from servers.execution.addresses import allow_public
from servers.execution.backends.http.connections import IDLE_SECONDS, Apis
from servers.execution.backends.http.curl import read_curl
from servers.execution.backends.http.definitions import KIND, compile_http_tool
from servers.execution.backends.http.health import check_source
from servers.execution.backends.http.offers import offer_operations
from servers.execution.backends.http.openapi.apart import Readers
from servers.execution.backends.http.openapi.settings import (
    clean_document,
    fetch_document,
    keep_document,
    offer_document,
)
from servers.execution.backends.http.operations import (
    Run,
    api_get,
    api_post,
    batch_requests,
    call_api,
    get_api_stats,
    list_endpoints,
    run_http_tool,
)
from servers.execution.backends.http.settings import (
    SECRETS,
    SETTINGS_SCHEMA,
    clean_settings,
    read_settings,
)
from servers.execution.contract import (
    Backend,
    Context,
    Draft,
    Health,
    Offered,
    Offering,
    OnBehalf,
    Operation,
    Outcome,
    Sharing,
    Source,
    ToolKind,
)

_OPERATIONS: Final[Mapping[str, Callable[[Run, Mapping[str, Any]], Awaitable[Outcome]]]] = {
    "list_endpoints": list_endpoints,
    "api_get": api_get,
    "api_post": api_post,
    "call_api": call_api,
    "batch_requests": batch_requests,
    "get_api_stats": get_api_stats,
}

SAMPLE: Final[Mapping[str, Any]] = {
    "method": "GET",
    "path": "/items/{id}",
    "parameters": {
        "id": {"type": "integer", "description": "Which item"},
        "fields": {"type": "array", "items": {"type": "string"}, "required": False},
    },
    "answer": {"schema": {"type": "object"}},
}
"""A request to begin from, in an editor."""


class HttpBackend(Backend):
    """See ``contract.Backend``. One object a process, used from one event loop."""

    kind: str = "http"
    title: str = "HTTP API"
    summary: str = "A web API: by paths, by its OpenAPI document, or by tools of your own requests."
    settings_schema: Mapping[str, Any] = SETTINGS_SCHEMA
    secret_settings: frozenset[str] = SECRETS
    tool_kinds: Mapping[str, ToolKind] = {KIND: ToolKind("HTTP request", SAMPLE, pasted="a curl line")}
    document_settings: frozenset[str] = frozenset({"openapi"})

    def __init__(
        self, *, allow_address: AllowAddress = allow_public, idle_seconds: float = IDLE_SECONDS
    ) -> None:
        self._allow = allow_address
        self._readers = Readers()
        self.apis = Apis(allow=allow_address, idle_seconds=idle_seconds)

    def clean_settings(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        rest, document = clean_document(settings)
        return {**clean_settings(rest), **document}

    async def fetch_documents(
        self,
        settings: Mapping[str, Any],
        *,
        anew: bool = False,
        on_behalf: OnBehalf | None = None,
        team: int = 0,
    ) -> Mapping[str, Any]:
        return await fetch_document(settings, anew=anew, allow=self._allow, readers=self._readers)

    def keep_settings(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        return keep_document(settings)

    def offered(self, settings: Mapping[str, Any]) -> Offering:
        if settings.get("openapi"):
            return Offering(tools=offer_document(settings))
        return offer_operations(read_settings(settings))

    def compile(self, kind: str, definition: Mapping[str, Any]) -> Offered:
        if kind != KIND:
            raise self.no_such_tool_kind(kind)
        return compile_http_tool(definition)

    def draft(self, kind: str, text: str, settings: Mapping[str, Any]) -> Draft:
        return read_curl(text, read_settings(settings).base_url)

    def sharing(self, operation: Operation) -> Sharing:
        # Requests are signed by the source, and tell nothing of who calls.
        return Sharing(by_caller=False, opt_out="use_cache")

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
        api = self.apis.get(source)
        run = Run(source, api, min(timeout, api.settings.timeout))
        if operation.kind == KIND:
            return await run_http_tool(run, operation.definition, arguments)
        ready = _OPERATIONS.get(operation.kind)
        if ready is None:
            raise self.no_such_operation(operation)
        return await ready(run, arguments)

    async def close(self) -> None:
        await self.apis.close()
