"""``tools/list`` and ``tools/call``."""

from __future__ import annotations

from typing import Any, Final

import orjson

from core.errors import Forbidden, InvalidInput
from servers.endpoint.context import CallContext
from servers.endpoint.errors import describe
from servers.endpoint.handlers.answers import (
    client_in,
    cursor_of,
    invalid,
    lacks_capability,
    record_refusal,
    text_of,
)
from servers.endpoint.incoming import Incoming
from servers.endpoint.lists import MODERN, PLAIN, shape_of
from servers.endpoint.mirroring import check_mirrored, mirrored_parameters
from servers.endpoint.specification import is_at_least
from servers.execution.contract import InputRequired
from servers.services.calls import CallResult, call_tool
from servers.services.decisions import names_to_list

ERROR_META: Final = "marina/error"
"""The ``_meta`` key of a failed call's code and details, for programs; the text is for the model."""


async def list_tools(incoming: Incoming) -> bytes:
    """A page of the tools that the caller may use."""
    cursor = cursor_of(incoming)
    try:
        only = names_to_list(incoming.caller, incoming.surface)
    except Forbidden as refusal:
        await record_refusal(incoming, refusal)
        raise
    return incoming.view.tools.page(shape_of(incoming.version), cursor, only)


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
        )
    except InputRequired as required:
        return context.input_required(required, name, arguments, surface.by_name[name].version)
    error = result.error
    if error is not None:
        if isinstance(error, InvalidInput) and not is_at_least(incoming.version, "2025-11-25"):
            # SEP-1303 made these tool errors with 2025-11-25; before it, invalid arguments are protocol errors.
            raise error
        if error.code == "client_cannot" and incoming.modern:
            raise lacks_capability(error)
    return _result_bytes(incoming, result)


def _call_params(incoming: Incoming) -> tuple[str, dict[str, Any]]:
    name = text_of(incoming, "name")
    arguments = incoming.params.get("arguments")
    if arguments is None:
        return name, {}
    if not isinstance(arguments, dict):
        raise invalid("params.arguments must be an object. Send a tools/call as the specification has it.")
    return name, arguments


def _result_bytes(incoming: Incoming, result: CallResult) -> bytes:
    """A ``CallToolResult``. The order of members is the specification's."""
    answer: dict[str, Any] = {}
    if incoming.modern:
        answer["resultType"] = "complete"
        answer["_meta"] = orjson.Fragment(incoming.view.identity)
    text = result.text
    if result.structured is not None:
        structured = orjson.dumps(result.structured, default=str)
        # For clients that read no structured content, the same as text (server/tools, "Structured Content").
        text = text or structured.decode()
        shape = shape_of(incoming.version)
        # What is not an object is structured content since 2026-07-28 only.
        if shape == MODERN or (shape != PLAIN and isinstance(result.structured, dict)):
            answer["structuredContent"] = orjson.Fragment(structured)
    answer["content"] = [{"type": "text", "text": text}] if result.content is None else list(result.content)
    answer["isError"] = result.error is not None
    if result.error is not None:
        detail = orjson.dumps({ERROR_META: describe(result.error)})
        answer["_meta"] = orjson.Fragment(
            incoming.view.identity[:-1] + b"," + detail[1:] if incoming.modern else detail
        )
    if result.meta is not None:
        answer["_meta"] = {**result.meta, **orjson.loads(orjson.dumps(answer.get("_meta", {})))}
    return orjson.dumps(answer, default=str)
