"""What became of a call in the words of the wire: the result of ``tools/call``, and a task's when it is asked for."""

from __future__ import annotations

from typing import Any, Final

import orjson

from servers.endpoint.errors import describe
from servers.endpoint.incoming import Incoming
from servers.endpoint.lists import MODERN, PLAIN, shape_of
from servers.services.callresults import CallResult

ERROR_META: Final = "marina/error"
"""The ``_meta`` key of a failed call's code and details, for programs; the text is for the model."""


def result_bytes(incoming: Incoming, result: CallResult) -> bytes:
    """A ``CallToolResult``."""
    return orjson.dumps(result_members(incoming, result), default=str)


def result_members(incoming: Incoming, result: CallResult) -> dict[str, Any]:
    """A ``CallToolResult``, as JSON with fragments. The order of members is the specification's."""
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
    return answer
