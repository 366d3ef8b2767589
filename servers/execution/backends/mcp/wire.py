"""MCP as its clients write and read it: revisions, headers, JSON-RPC messages. Sends nothing, decides nothing.

Only what a client needs of it, and no model a message: what an upstream says is judged where it is used.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

MODERN: Final = "2026-07-28"
"""The revision without sessions, in which each request says of itself what it needs."""

LEGACY: Final = ("2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05")
"""The revisions with a handshake, newest first."""

Headers = Sequence[tuple[str, str]]
SESSION: Final = "Mcp-Session-Id"
VERSION: Final = "MCP-Protocol-Version"

_META: Final = "io.modelcontextprotocol/"
META_VERSION: Final = f"{_META}protocolVersion"
META_CLIENT: Final = f"{_META}clientInfo"
META_CAPABILITIES: Final = f"{_META}clientCapabilities"
META_LOG_LEVEL: Final = f"{_META}logLevel"
META_SERVER: Final = f"{_META}serverInfo"

METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
RESOURCE_NOT_FOUND: Final = -32002
LACKS_CAPABILITY: Final = -32021
UNSUPPORTED_VERSION: Final = -32022

LISTS: Final = ("tools", "resources", "prompts")
LISTS_CHANGED: Final = frozenset(f"notifications/{what}/list_changed" for what in LISTS)
"""Notifications."""

CLIENT: Final[Mapping[str, str]] = {"name": "marina", "title": "Marina", "version": "0.1.0"}

TOOL_CALL: Final = "tools/call"
TASK_GET: Final = "tasks/get"
TASK_UPDATE: Final = "tasks/update"
TASK_CANCEL: Final = "tasks/cancel"
TASKS: Final = f"{_META}tasks"
"""The extension by which a call may be answered with a task (SEP-2663)."""
OF_TASKS: Final = frozenset({TOOL_CALL, TASK_GET, TASK_UPDATE, TASK_CANCEL})
"""The requests that say that their client knows tasks."""

_NAMED: Final[Mapping[str, str]] = {
    TOOL_CALL: "name",
    "prompts/get": "name",
    "resources/read": "uri",
    TASK_GET: "taskId",
    TASK_UPDATE: "taskId",
    TASK_CANCEL: "taskId",
}
"""Of which parameter the header ``Mcp-Name`` repeats the value (2026-07-28 basic/transports)."""

_PLAIN: Final = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?|")
_ENCODED: Final = re.compile(r"=\?base64\?.*\?=")


class NotMcp(ValueError):
    """What came is no message of MCP. The message says why, and quotes nothing."""


class RpcError(Exception):
    """The upstream answered with an error of JSON-RPC. ``message`` and ``data`` are its own words."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(code)
        self.code = code
        self.message = message
        self.data = data


def request_bytes(rpc_id: int, method: str, params: Mapping[str, Any]) -> bytes:
    """A request."""
    return orjson.dumps({"jsonrpc": "2.0", "id": rpc_id, "method": method, "params": params}, default=str)


def notification_bytes(method: str, params: Mapping[str, Any] | None = None) -> bytes:
    """A notification."""
    message: dict[str, Any] = {"jsonrpc": "2.0", "method": method}
    if params:
        message["params"] = params
    return orjson.dumps(message)


def answer_bytes(rpc_id: Any, result: Mapping[str, Any]) -> bytes:
    """The answer to a request of the upstream's."""
    return orjson.dumps({"jsonrpc": "2.0", "id": rpc_id, "result": result}, default=str)


def error_bytes(rpc_id: Any, code: int, message: str) -> bytes:
    """The answer to a request of the upstream's that cannot be met."""
    return orjson.dumps({"jsonrpc": "2.0", "id": rpc_id, "error": {"code": code, "message": message}})


def routing_headers(method: str, params: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The headers of 2026-07-28 that repeat what a request is about."""
    headers = [(VERSION, MODERN), ("Mcp-Method", method)]
    named = _NAMED.get(method)
    if named is not None:
        headers.append(("Mcp-Name", header_value(str(params[named]))))
    return headers


def header_value(text: str) -> str:
    """A text as a header carries it: in Base64 where it is not plain ASCII (SEP-2243)."""
    if _PLAIN.fullmatch(text) and not _ENCODED.fullmatch(text):
        return text
    return f"=?base64?{base64.b64encode(text.encode()).decode()}?="


def mirrored_headers(
    mirrored: Mapping[str, Sequence[str]], arguments: Mapping[str, Any]
) -> list[tuple[str, str]]:
    """The headers ``Mcp-Param-*`` of arguments whose schema asks for it, by the way to each argument."""
    headers = []
    for token, way in mirrored.items():
        value: Any = arguments
        for step in way:
            value = value.get(step) if isinstance(value, Mapping) else None
        if isinstance(value, bool):
            headers.append((f"Mcp-Param-{token}", "true" if value else "false"))
        elif isinstance(value, str | int | float):
            headers.append((f"Mcp-Param-{token}", header_value(str(value))))
    return headers


def read_messages(body: bytes | str, *, most: int | None = None) -> list[dict[str, Any]]:
    """The messages of a body or an event: one, or those of a batch of 2025-03-26, ``most`` at most. Raises
    ``NotMcp``."""
    if most is not None and _count_batch(body) > most:
        # Others would wait for tens of thousands to be read.
        raise NotMcp(f"its answer is a batch of more than {most} messages")
    try:
        value = orjson.loads(body)
    except (orjson.JSONDecodeError, UnicodeEncodeError):
        raise NotMcp("its answer is not JSON") from None
    if most is not None and isinstance(value, list) and len(value) > most:
        raise NotMcp(f"its answer is a batch of more than {most} messages")
    return messages_of(value)


def _count_batch(body: bytes | str) -> int:
    """How many messages a batch has at most, without reading it: in the usual spelling. 0 for what is none.

    A message that holds many objects with such a key counts as many, too; Marina sends no batches, so few come back.
    """
    if isinstance(body, bytes):
        return body.count(b'"jsonrpc"') if body[:64].lstrip()[:1] == b"[" else 0
    return body.count('"jsonrpc"') if body[:64].lstrip()[:1] == "[" else 0


def messages_of(value: Any) -> list[dict[str, Any]]:
    """The messages that were read from JSON. Raises ``NotMcp``."""
    messages = value if isinstance(value, list) else [value]
    for each in messages:
        if not isinstance(each, dict) or each.get("jsonrpc") != "2.0":
            raise NotMcp("its answer is no JSON-RPC message")
    return messages


def result_of(message: Mapping[str, Any]) -> dict[str, Any]:
    """The result in a response. Raises ``RpcError`` and ``NotMcp``."""
    if "error" in message:
        error = message["error"]
        if not isinstance(error, dict) or type(error.get("code")) is not int:
            raise NotMcp("its answer is an error without a code")
        raise RpcError(error["code"], str(error.get("message") or ""), error.get("data"))
    result = message.get("result")
    if not isinstance(result, dict):
        raise NotMcp("its answer has no result")
    return result
