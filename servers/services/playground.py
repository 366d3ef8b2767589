"""Calls a tool from sync code, through the one decision path. Adds no rule of its own.

What ends before that path, for want of a server, is recorded here as the path would.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from core.errors import Forbidden, NotFound
from core.loop import run_async
from core.requestid import current_request_id
from servers.execution.context import Detached
from servers.execution.contract import Principal
from servers.services.calls import CALL_SECONDS, CallResult, call_tool
from servers.services.reading import look_up
from servers.services.reasons import log_unavailable
from servers.services.recording import CallRecord
from servers.services.redaction import mask_text
from servers.services.runtime import Runtime, get_runtime
from servers.services.surfaces import Surface, load_version
from servers.services.visibility import require_server
from tenants.access import Caller
from tenants.audit.records import KIND_CALL, SERVER_CHARACTERS
from tenants.roles import Action

CLIENT: Final = "Marina playground"
_GRACE_SECONDS: Final = 15.0
"""Beyond the call's own deadline: for the record, and for a snapshot to be loaded."""


def try_tool(
    tool_name: str,
    arguments: Mapping[str, Any],
    *,
    caller: Caller,
    server_slug: str = "default",
    client: str = CLIENT,
    version: int | None = None,
) -> CallResult:
    """Call a tool on one of the tenant's servers and wait. Raises as ``call_tool`` does, and ``NotFound``.

    ``version``: this one, in place of what the server offers, such as a draft: for who may change tools.
    """
    return run_async(
        _try_tool(tool_name, arguments, caller, server_slug, client, version, current_request_id()),
        timeout=CALL_SECONDS + _GRACE_SECONDS,
    )


async def _try_tool(
    tool_name: str,
    arguments: Mapping[str, Any],
    caller: Caller,
    server_slug: str,
    client: str,
    version: int | None,
    request_id: str,
) -> CallResult:
    runtime = get_runtime()
    await runtime.start()
    if not runtime.writer.accepting:
        raise log_unavailable()
    try:
        surface = await _find_surface(runtime, caller, server_slug)
        if version is not None:
            surface = await _with_version(runtime, caller, surface, tool_name, version)
    except (Forbidden, NotFound) as refusal:
        record = CallRecord(
            runtime,
            KIND_CALL,
            tool_name,
            arguments,
            caller=caller,
            server=mask_text(server_slug[:SERVER_CHARACTERS]),
            client=client,
            request_id=request_id,
        )
        await record.refuse(refusal)
        raise
    return await call_tool(
        caller=caller,
        surface=surface,
        tool_name=tool_name,
        arguments=arguments,
        client=client,
        request_id=request_id,
        context=Detached(Principal(caller.actor, surface.tenant_slug, surface.slug, request_id)),
    )


async def _find_surface(runtime: Runtime, caller: Caller, server_slug: str) -> Surface:
    # As the decision path has it, but before the look-up: what a key is kept from is not shown to exist.
    caller.require(Action.TOOLS_CALL)
    require_server(caller, server_slug)
    surface = await runtime.surfaces.get(caller.tenant_id, server_slug)
    if surface is None:
        raise NotFound("There is no such server in this team.", code="server_not_found")
    return surface.seen_by(caller)


async def _with_version(
    runtime: Runtime, caller: Caller, surface: Surface, tool_name: str, version: int
) -> Surface:
    caller.require(Action.TOOLS_CHANGE)
    tool = await look_up(load_version, caller.tenant_id, surface.slug, tool_name, version, runtime.sealer)
    if tool is None:
        raise NotFound(
            f"The server {surface.slug} could not offer version {version} of this tool: there is none, it was "
            "discarded, or the server does not offer its data source.",
            code="version_not_found",
        )
    return surface.with_tools(tool)
