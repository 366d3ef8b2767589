"""Which revision of the protocol a message speaks, and whether its envelope is sound. Runs no method.

Modern (2026-07-28): version and capabilities in each request's ``_meta``, mirrored in headers. Legacy (to
2025-11-25): a header after ``initialize``, and none at all before 2025-06-18, which counts as 2025-03-26.
"""

from __future__ import annotations

import base64
from typing import Any, Final

from servers.endpoint.mirroring import decode_value
from servers.endpoint.specification import (
    CLIENT_CAPABILITIES,
    CLIENT_INFO,
    HANDSHAKE_VERSIONS,
    HEADER_MISMATCH,
    INVALID_PARAMS,
    INVALID_REQUEST,
    MODERN_VERSIONS,
    PROTOCOL_VERSION,
    UNSUPPORTED_PROTOCOL_VERSION,
)
from servers.endpoint.wire import RpcError

ASSUMED_VERSION: Final = "2025-03-26"
"""Of a request without the version header (2025-11-25 basic/transports, "Protocol Version Header")."""

BATCH_VERSION: Final = "2025-03-26"
"""The only revision with JSON-RPC batches."""

MAX_ID_CHARACTERS: Final = 512
"""Of a request's id, which is repeated in whatever concerns the request."""

_LEGACY: Final = {version.encode(): version for version in HANDSHAKE_VERSIONS}
_OBJECTS: Final = (CLIENT_CAPABILITIES, CLIENT_INFO)
_NOTHING: Final[dict[str, Any]] = {}
_ENVELOPE: Final = (PROTOCOL_VERSION, CLIENT_CAPABILITIES)
"""What the ``_meta`` of each modern request must have."""

_NAMED: Final = {
    "tools/call": "name",
    "prompts/get": "name",
    "resources/read": "uri",
    # SEP-2663, "Routing Headers".
    "tasks/get": "taskId",
    "tasks/update": "taskId",
    "tasks/cancel": "taskId",
}


def header_version(headers: dict[bytes, bytes]) -> str | None:
    """The version that the header names when it is a legacy one (or absent: assumed); otherwise ``None``."""
    named = headers.get(b"mcp-protocol-version")
    return ASSUMED_VERSION if named is None else _LEGACY.get(named)


def legacy_version(headers: dict[bytes, bytes], message: dict[str, Any]) -> str | None:
    """The legacy version that a message speaks; ``None`` when it is a modern one.

    An envelope in ``_meta`` makes it modern whatever the header says, so that a header that a proxy
    dropped or changed is told as the mismatch it is.
    """
    version = header_version(headers)
    if version is None:
        return None
    params = message.get("params")
    meta = params.get("_meta") if isinstance(params, dict) else None
    if isinstance(meta, dict) and PROTOCOL_VERSION in meta:
        return None
    return version


def check_modern_request(headers: dict[bytes, bytes], message: dict[str, Any]) -> str:
    """Validate the envelope of a modern request against its headers, and give its version.

    Raises ``RpcError``: header mismatch, unsupported version, or an envelope that lacks something.
    """
    params = message.get("params")
    meta = params.get("_meta") if isinstance(params, dict) else None
    named = headers.get(b"mcp-protocol-version")
    if (
        not isinstance(params, dict)
        or not isinstance(meta, dict)
        or PROTOCOL_VERSION not in meta
        or CLIENT_CAPABILITIES not in meta
    ):
        raise _incomplete(meta, named)
    version = meta[PROTOCOL_VERSION]
    if named is None or named.decode("latin-1") != version:
        raise _mismatch("MCP-Protocol-Version", f"params._meta[{PROTOCOL_VERSION!r}]")
    method: str = message["method"]
    repeated = headers.get(b"mcp-method")
    if repeated is None or repeated.decode("latin-1") != method:
        raise _mismatch("Mcp-Method", "method")
    key = _NAMED.get(method)
    if (
        key is not None
        and (name := params.get(key)) is not None
        and decode_value(headers.get(b"mcp-name")) != name
    ):
        raise _mismatch("Mcp-Name", f"params.{key}")
    if version not in MODERN_VERSIONS:
        raise _unsupported(version)
    for member in _OBJECTS:
        if not isinstance(meta.get(member, _NOTHING), dict):
            raise RpcError(INVALID_PARAMS, f"params._meta[{member!r}] must be an object.")
    return str(version)


def implied_headers(message: dict[str, Any]) -> dict[bytes, bytes]:
    """The headers that a modern message would have over HTTP, for a connection that has none a message."""
    params = message.get("params")
    meta = params.get("_meta") if isinstance(params, dict) else None
    version = meta.get(PROTOCOL_VERSION) if isinstance(meta, dict) else None
    if not isinstance(version, str) or not isinstance(params, dict):
        return {}
    headers = {b"mcp-protocol-version": _header(version), b"mcp-method": _header(message.get("method"))}
    name = params.get(_NAMED.get(str(message.get("method")), ""))
    if isinstance(name, str):
        headers[b"mcp-name"] = _header(name)
    return headers


def _header(value: object) -> bytes:
    """A value as a header carries it (streamable-http, "Value Encoding")."""
    text = value if isinstance(value, str) else ""
    if text.isascii() and text.isprintable() and text == text.strip() and not text.startswith("=?base64?"):
        return text.encode()
    return b"=?base64?" + base64.b64encode(text.encode("utf-8", "replace")) + b"?="


def check_modern_notification(headers: dict[bytes, bytes]) -> None:
    """Raise ``RpcError`` when a notification's header names a version that is not served."""
    named = headers.get(b"mcp-protocol-version", b"").decode("latin-1")
    if not _is_served(named):
        raise _unsupported(named)


def check_envelope(message: object) -> dict[str, Any]:
    """A JSON-RPC message, checked. Raises ``RpcError`` that says what is not as JSON-RPC 2.0 has it."""
    if not isinstance(message, dict):
        raise _malformed("The body must be one JSON-RPC request or notification: a JSON object.")
    if message.get("jsonrpc") != "2.0":
        raise _malformed('The member jsonrpc must be "2.0".')
    if "method" in message:
        if not isinstance(message["method"], str):
            raise _malformed("The member method must be a string.")
        # MCP has no positional parameters; null is what some clients write for none.
        params = message.get("params")
        if params is not None and not isinstance(params, dict):
            raise _malformed("The member params must be an object, or be left out.")
    elif "result" not in message and "error" not in message:
        raise _malformed("The member method is missing.")
    if "id" in message and id_of(message) is None:
        raise _malformed(
            f"The member id must be a whole number or a string of at most {MAX_ID_CHARACTERS} characters."
        )
    return message


def id_of(message: object) -> str | int | None:
    """The id of a message, be it sound otherwise or not; ``None`` where it cannot be read."""
    rpc_id = message.get("id") if isinstance(message, dict) else None
    if type(rpc_id) is str:
        return rpc_id if len(rpc_id) <= MAX_ID_CHARACTERS else None
    return rpc_id if type(rpc_id) is int else None


def check_batched(message: object) -> dict[str, Any]:
    """A message of a batch, checked. ``initialize`` stands alone (2025-03-26 basic/lifecycle, "Initialization")."""
    checked = check_envelope(message)
    if checked.get("method") == "initialize":
        raise _malformed("initialize must not be part of a batch. Send it alone.")
    return checked


def _incomplete(meta: object, named: bytes | None) -> RpcError:
    """The answer to a request whose envelope lacks something."""
    if named is not None and not _is_served(version := named.decode("latin-1")):
        # A version that is not served matters more than what that version's envelope would be.
        return _unsupported(version)
    if not isinstance(meta, dict):
        return RpcError(
            INVALID_PARAMS, f"params._meta must be an object that has {' and '.join(map(repr, _ENVELOPE))}."
        )
    missing = [key for key in _ENVELOPE if key not in meta]
    return RpcError(INVALID_PARAMS, f"params._meta lacks {' and '.join(map(repr, missing))}.")


def _is_served(version: str) -> bool:
    return version in HANDSHAKE_VERSIONS or version in MODERN_VERSIONS


def _mismatch(header: str, repeated: str) -> RpcError:
    return RpcError(
        HEADER_MISMATCH,
        f"The header {header} does not repeat {repeated} of the body. Send both with the same value.",
    )


def _unsupported(version: str) -> RpcError:
    return RpcError(
        UNSUPPORTED_PROTOCOL_VERSION,
        "Unsupported protocol version",
        data={"supported": list(MODERN_VERSIONS), "requested": version},
    )


def _malformed(message: str) -> RpcError:
    return RpcError(INVALID_REQUEST, message, data={"code": "message_malformed"}, status=400)
