"""``tools/list`` and ``tools/call``."""

from __future__ import annotations

from typing import Any

from core.errors import Forbidden, InvalidInput
from servers.endpoint.context import CallContext
from servers.endpoint.handlers.answers import (
    client_in,
    cursor_of,
    invalid,
    lacks_capability,
    record_refusal,
    text_of,
)
from servers.endpoint.handlers.results import result_bytes
from servers.endpoint.handlers.tasks import created_bytes, hand_over
from servers.endpoint.incoming import Incoming
from servers.endpoint.lists import shape_of
from servers.endpoint.mirroring import check_mirrored, mirrored_parameters
from servers.endpoint.specification import is_at_least
from servers.execution.contract import InputRequired
from servers.services.calls import call_tool
from servers.services.decisions import names_to_list
from servers.services.tasks.accepting import TaskCreated


async def list_tools(incoming: Incoming) -> bytes:
    """A page of the tools that the caller may use."""
    cursor = cursor_of(incoming)
    try:
        only = names_to_list(incoming.caller, incoming.surface)
    except Forbidden as refusal:
        await record_refusal(incoming, refusal)
        raise
    # Whoever needs no credential learns of what is offered, and of nothing else.
    noted = not incoming.caller.anonymous
    return incoming.view.tools.page(shape_of(incoming.version), cursor, only, noted=noted)


async def run_tool(incoming: Incoming) -> bytes:
    """Call a tool."""
    name, arguments = _call_params(incoming)
    context = CallContext(incoming, name, arguments)
    surface = incoming.surface
    if context.retries is not None and context.retries.version is not None:
        surface = await incoming.runtime.surfaces.as_begun(surface, name, context.retries.version)
    if incoming.modern and incoming.framed:
        if surface is not incoming.surface:
            # It goes on with the version that it began with, which may repeat others than the one that is offered.
            check_mirrored(
                mirrored_parameters(surface.by_name[name].input_schema), arguments, incoming.headers
            )
        elif name in incoming.view.mirrored:
            check_mirrored(incoming.view.mirrored[name], arguments, incoming.headers)
    offered = surface.by_name.get(name)
    try:
        result = await call_tool(
            caller=incoming.caller,
            surface=surface,
            tool_name=name,
            arguments=arguments,
            client=client_in(incoming),
            request_id=incoming.request_id,
            timeout=incoming.seconds,
            context=context,
            hand=None if offered is None or offered.long is None else hand_over(incoming, context),
        )
    except TaskCreated as created:
        return created_bytes(incoming, created.task)
    except InputRequired as required:
        return context.input_required(required, name, arguments, surface.by_name[name].version)
    error = result.error
    if error is not None:
        if isinstance(error, InvalidInput) and not is_at_least(incoming.version, "2025-11-25"):
            # SEP-1303 made these tool errors with 2025-11-25; before it, invalid arguments are protocol errors.
            raise error
        if error.code == "client_cannot" and incoming.modern:
            raise lacks_capability(error)
    return result_bytes(incoming, result)


def _call_params(incoming: Incoming) -> tuple[str, dict[str, Any]]:
    name = text_of(incoming, "name")
    arguments = incoming.params.get("arguments")
    if arguments is None:
        return name, {}
    if not isinstance(arguments, dict):
        raise invalid("params.arguments must be an object. Send a tools/call as the specification has it.")
    return name, arguments
