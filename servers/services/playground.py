"""Calls a tool, reads a resource or gets a prompt from sync code, by the one decision path. Adds no rule of its own.

What ends before that path, for want of a server, is recorded here as the path would.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Final, TypeVar

from core.errors import Forbidden, NotFound
from core.loop import run_async
from core.requestid import current_request_id
from servers.execution.context import Detached
from servers.execution.contract import Outcome
from servers.services.callresults import CallResult
from servers.services.calls import CALL_SECONDS, call_tool, get_prompt, read_resource
from servers.services.principals import principal_as
from servers.services.reasons import log_unavailable
from servers.services.recording import CallRecord
from servers.services.redaction import mask_text
from servers.services.runtime import Runtime, get_runtime
from servers.services.surfaces import Surface
from servers.services.tasks.accepting import HandOver
from servers.services.tasks.plans import INLINE_SECONDS
from servers.services.tasks.priorities import NUMBERS, PRIORITIES
from servers.services.visibility import require_server, require_tool
from tenants.access import Caller
from tenants.audit.records import KIND_CALL, KIND_PROMPT, KIND_READ, SERVER_CHARACTERS
from tenants.roles import Action
from tenants.services.inputs import one_of

Done = TypeVar("Done")

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
    priority: str | None = None,
) -> CallResult:
    """Call a tool on one of the tenant's servers and wait. Raises as ``call_tool`` does, and ``NotFound``.

    One that takes long goes on as a task: ``Conflict`` (``task_goes_on``) names it.

    ``version``: this one, in place of what the server offers, such as a draft: for who may change tools. ``priority``:
    how urgent such a task is among the team's; high ones are for who may manage tasks.
    """
    if priority is not None:
        one_of(priority, "priority", PRIORITIES)
    hand = HandOver(patience=INLINE_SECONDS, priority=None if priority is None else NUMBERS[priority])
    return waited(
        partial(call_tool, tool_name=tool_name, arguments=arguments, hand=hand),
        KIND_CALL,
        Action.TOOLS_CALL,
        tool_name,
        arguments,
        caller=caller,
        server_slug=server_slug,
        client=client,
        version=version,
    )


def try_resource(uri: str, *, caller: Caller, server_slug: str = "default", client: str = CLIENT) -> Outcome:
    """Read a resource on one of the tenant's servers and wait. Raises as ``read_resource`` does, and ``NotFound``."""
    return waited(
        partial(read_resource, uri=uri),
        KIND_READ,
        Action.RESOURCES_READ,
        uri,
        {"uri": uri},
        caller=caller,
        server_slug=server_slug,
        client=client,
    )


def try_prompt(
    name: str,
    arguments: Mapping[str, str],
    *,
    caller: Caller,
    server_slug: str = "default",
    client: str = CLIENT,
) -> Outcome:
    """Get a prompt on one of the tenant's servers and wait. Raises as ``get_prompt`` does, and ``NotFound``."""
    return waited(
        partial(get_prompt, name=name, arguments=arguments),
        KIND_PROMPT,
        Action.PROMPTS_READ,
        name,
        arguments,
        caller=caller,
        server_slug=server_slug,
        client=client,
    )


def waited(
    run: Callable[..., Awaitable[Done]],
    kind: str,
    action: Action,
    subject: str,
    arguments: Mapping[str, Any],
    *,
    caller: Caller,
    server_slug: str,
    client: str,
    version: int | None = None,
) -> Done:
    """Try what takes ``action``, of this kind of record, and wait. ``run`` gets the server's surface, and who calls."""
    work = _try(
        run, kind, action, subject, arguments, caller, server_slug, client, version, current_request_id()
    )
    return run_async(work, timeout=CALL_SECONDS + _GRACE_SECONDS)


async def _try(
    run: Callable[..., Awaitable[Done]],
    kind: str,
    action: Action,
    subject: str,
    arguments: Mapping[str, Any],
    caller: Caller,
    server_slug: str,
    client: str,
    version: int | None,
    request_id: str,
) -> Done:
    runtime = get_runtime()
    await runtime.start()
    if not runtime.writer.accepting:
        raise log_unavailable()
    try:
        surface = await _find_surface(runtime, caller, action, server_slug)
        if version is not None:
            surface = await _with_version(runtime, caller, surface, subject, version)
    except (Forbidden, NotFound) as refusal:
        record = CallRecord(
            runtime,
            kind,
            subject,
            arguments,
            caller=caller,
            server=mask_text(server_slug[:SERVER_CHARACTERS]),
            client=client,
            request_id=request_id,
        )
        await record.refuse(refusal)
        raise
    return await run(
        caller=caller,
        surface=surface,
        client=client,
        request_id=request_id,
        context=Detached(principal_as(caller, surface.slug, request_id)),
    )


async def _find_surface(runtime: Runtime, caller: Caller, action: Action, server_slug: str) -> Surface:
    # As the decision path has it, but before the look-up: what a key is kept from is not shown to exist.
    caller.require(action)
    require_server(caller, server_slug)
    surface = await runtime.surfaces.get(caller.tenant_id, server_slug)
    if surface is None:
        raise NotFound("There is no such server in this team.", code="server_not_found")
    return surface.seen_by(caller)


async def _with_version(
    runtime: Runtime, caller: Caller, surface: Surface, tool_name: str, version: int
) -> Surface:
    caller.require(Action.TOOLS_CHANGE)
    # As of a server: which versions there are of a tool that a key is kept from, it is not told.
    require_tool(caller, tool_name)
    tool = await runtime.surfaces.find_version(surface, tool_name, version)
    if tool is None:
        raise NotFound(
            f"The server {surface.slug} could not offer version {version} of this tool: there is none, it was "
            "discarded, or the server does not offer its data source.",
            code="version_not_found",
        )
    return surface.with_tools(tool)
