"""Calls a tool for a signed-in person from sync code, through the one decision path. Adds no rule of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from core.errors import NotFound
from core.loop import run_async
from core.requestid import current_request_id
from servers.services.calls import CALL_SECONDS, CallResult, call_tool
from servers.services.runtime import get_runtime
from tenants.access import Caller

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
) -> CallResult:
    """Call a tool on one of the tenant's servers and wait. Raises as ``call_tool`` does, and ``NotFound``."""
    return run_async(
        _try_tool(tool_name, arguments, caller, server_slug, client, current_request_id()),
        timeout=CALL_SECONDS + _GRACE_SECONDS,
    )


async def _try_tool(
    tool_name: str,
    arguments: Mapping[str, Any],
    caller: Caller,
    server_slug: str,
    client: str,
    request_id: str,
) -> CallResult:
    runtime = get_runtime()
    await runtime.start()
    surface = await runtime.surfaces.get(caller.tenant_id, server_slug)
    if surface is None:
        raise NotFound("There is no such server in this team.", code="server_not_found")
    return await call_tool(
        caller=caller,
        surface=surface,
        tool_name=tool_name,
        arguments=arguments,
        client=client,
        request_id=request_id,
    )
