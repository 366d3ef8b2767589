"""The methods that are served: one table, name → handler and eras. Framing and identity are done before."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson
from mcp.shared.inbound import validate_mcp_param_headers
from mcp_types import CLIENT_INFO_META_KEY
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, LATEST_HANDSHAKE_VERSION, is_version_at_least

from core.errors import Forbidden, InvalidInput
from servers.endpoint.errors import describe
from servers.endpoint.view import PLAIN, View, shape_of
from servers.endpoint.wire import INVALID_PARAMS, METHOD_NOT_FOUND, RpcError
from servers.services.calls import KIND_LIST, CallResult, call_tool, names_to_list
from servers.services.runtime import Runtime
from servers.services.surfaces import Surface
from tenants.access import Caller

_ERROR_META: Final = "marina/error"
"""The ``_meta`` key of a failed call's code and details, for programs; the text is for the model."""

_CLIENT_CHARACTERS: Final = 120


@dataclass(slots=True)
class Incoming:
    """One request with everything that its method may need."""

    method: str
    params: dict[str, Any]
    version: str
    modern: bool
    seconds: float
    """How long a call may take."""
    caller: Caller
    surface: Surface
    view: View
    runtime: Runtime
    headers: dict[bytes, bytes]
    request_id: str


Handler = Callable[[Incoming], Awaitable[bytes]]


@dataclass(frozen=True, slots=True)
class Method:
    """How a method is served: by whom, and in which eras it exists."""

    handler: Handler
    legacy: bool
    modern: bool


async def run_method(incoming: Incoming) -> bytes:
    """The JSON of the method's result. Raises ``RpcError`` and ``MarinaError``."""
    method = METHODS.get(incoming.method)
    if method is None or not (method.modern if incoming.modern else method.legacy):
        served = ", ".join(
            name for name, each in METHODS.items() if (each.modern if incoming.modern else each.legacy)
        )
        raise RpcError(
            METHOD_NOT_FOUND,
            f"The method {incoming.method[:80]} is not served here in protocol version {incoming.version}. "
            f"Served are: {served}.",
            data={"code": "method_unknown"},
        )
    return await method.handler(incoming)


async def _initialize(incoming: Incoming) -> bytes:
    params = incoming.params
    wanted = params.get("protocolVersion")
    if not isinstance(wanted, str):
        raise _invalid("params.protocolVersion must be a string, like 2025-11-25.")
    for member in ("capabilities", "clientInfo"):
        if not isinstance(params.get(member), dict):
            raise _invalid(f"params.{member} must be an object.")
    # 2025-11-25 basic/lifecycle, "Version Negotiation": the version asked for, else our latest.
    version = wanted if wanted in HANDSHAKE_PROTOCOL_VERSIONS else LATEST_HANDSHAKE_VERSION
    return b'{"protocolVersion":"%s",%s' % (version.encode(), incoming.view.initialize[1:])


async def _ping(incoming: Incoming) -> bytes:
    return b"{}"


async def _discover(incoming: Incoming) -> bytes:
    return incoming.view.discover


async def _list_tools(incoming: Incoming) -> bytes:
    cursor = incoming.params.get("cursor")
    if cursor is not None and not isinstance(cursor, str):
        raise _invalid("params.cursor must be a string: the nextCursor of the page before.")
    try:
        only = names_to_list(incoming.caller, incoming.surface)
    except Forbidden as refusal:
        await incoming.runtime.refusals.refused_caller(
            incoming.caller,
            refusal,
            kind=KIND_LIST,
            server=incoming.surface.slug,
            client=client_of(incoming.headers, incoming.params),
            request_id=incoming.request_id,
        )
        raise
    return incoming.view.page(shape_of(incoming.version), cursor, only)


async def _call_tool(incoming: Incoming) -> bytes:
    name, arguments = _call_params(incoming)
    if incoming.modern and name in incoming.view.mirrored:
        _check_mirrored(incoming, name, arguments)
    result = await call_tool(
        caller=incoming.caller,
        surface=incoming.surface,
        tool_name=name,
        arguments=arguments,
        client=client_of(incoming.headers, incoming.params),
        request_id=incoming.request_id,
        timeout=incoming.seconds,
    )
    if isinstance(result.error, InvalidInput) and not is_version_at_least(incoming.version, "2025-11-25"):
        # SEP-1303 made these tool errors with 2025-11-25; before it, invalid arguments are protocol errors.
        raise result.error
    return _call_bytes(incoming, result)


METHODS: Final[dict[str, Method]] = {
    "initialize": Method(_initialize, legacy=True, modern=False),
    "ping": Method(_ping, legacy=True, modern=False),
    "server/discover": Method(_discover, legacy=False, modern=True),
    "tools/list": Method(_list_tools, legacy=True, modern=True),
    "tools/call": Method(_call_tool, legacy=True, modern=True),
}


def _call_params(incoming: Incoming) -> tuple[str, dict[str, Any]]:
    name = incoming.params.get("name")
    arguments = incoming.params.get("arguments")
    if not isinstance(name, str):
        raise _invalid("params.name must be a string. Send a tools/call as the specification has it.")
    if not isinstance(arguments, dict | None):
        raise _invalid("params.arguments must be an object. Send a tools/call as the specification has it.")
    return name, arguments or {}


def _check_mirrored(incoming: Incoming, name: str, arguments: dict[str, Any]) -> None:
    headers = {key.decode("latin-1"): value.decode("latin-1") for key, value in incoming.headers.items()}
    rejection = validate_mcp_param_headers(incoming.surface.by_name[name].input_schema, arguments, headers)
    if rejection is not None:
        raise RpcError(rejection.code, rejection.message, data=rejection.data)


def _call_bytes(incoming: Incoming, result: CallResult) -> bytes:
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
        if shape_of(incoming.version) != PLAIN:
            answer["structuredContent"] = orjson.Fragment(structured)
    answer["content"] = [{"type": "text", "text": text}]
    answer["isError"] = result.error is not None
    if result.error is not None:
        detail = orjson.dumps({_ERROR_META: describe(result.error)})
        answer["_meta"] = orjson.Fragment(
            incoming.view.identity[:-1] + b"," + detail[1:] if incoming.modern else detail
        )
    return orjson.dumps(answer)


def client_of(headers: Mapping[bytes, bytes], params: Mapping[str, Any] | None = None) -> str:
    """The client as it names itself in a 2026-07-28 envelope, else as HTTP names it. Nothing is decided by it."""
    meta = None if params is None else params.get("_meta")
    info = meta.get(CLIENT_INFO_META_KEY) if isinstance(meta, dict) else None
    if isinstance(info, dict):
        return f"{info.get('name', '')} {info.get('version', '')}".strip()[:_CLIENT_CHARACTERS]
    return headers.get(b"user-agent", b"").decode("latin-1")[:_CLIENT_CHARACTERS]


def _invalid(message: str) -> RpcError:
    return RpcError(INVALID_PARAMS, message, data={"code": "params_invalid"})
