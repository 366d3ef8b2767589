"""Which revision of the protocol a message speaks, and whether its envelope is sound. Runs no method.

Modern (2026-07-28): version and capabilities in each request's ``_meta``, mirrored in headers. Legacy (to
2025-11-25): a header after ``initialize``, and none at all before 2025-06-18, which counts as 2025-03-26.
"""

from __future__ import annotations

import base64
from typing import Any, Final

from mcp.shared.inbound import (
    InboundLadderRejection,
    classify_inbound_request,
    unsupported_protocol_version_rejection,
)
from mcp_types import CLIENT_CAPABILITIES_META_KEY, CLIENT_INFO_META_KEY, PROTOCOL_VERSION_META_KEY
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, MODERN_PROTOCOL_VERSIONS

from servers.endpoint.wire import INVALID_PARAMS, INVALID_REQUEST, RpcError

ASSUMED_VERSION: Final = "2025-03-26"
"""Of a request without the version header (2025-11-25 basic/transports, "Protocol Version Header")."""

BATCH_VERSION: Final = "2025-03-26"
"""The only revision with JSON-RPC batches."""

MAX_ID_CHARACTERS: Final = 512
"""Of a request's id, which is repeated in whatever concerns the request."""

_LEGACY: Final = {version.encode(): version for version in HANDSHAKE_PROTOCOL_VERSIONS}
_MODERN: Final = {version.encode(): version for version in MODERN_PROTOCOL_VERSIONS}
_NAMED: Final = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}


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
    if isinstance(meta, dict) and PROTOCOL_VERSION_META_KEY in meta:
        return None
    return version


def check_modern_request(headers: dict[bytes, bytes], message: dict[str, Any]) -> str:
    """Validate the envelope of a modern request against its headers, and give its version.

    Raises ``RpcError``: header mismatch, unsupported version, or an envelope that lacks something.
    """
    params = message.get("params")
    meta = params.get("_meta") if isinstance(params, dict) else None
    version = _MODERN.get(headers.get(b"mcp-protocol-version", b""))
    if not (
        version is not None
        and isinstance(params, dict)
        and isinstance(meta, dict)
        and meta.get(PROTOCOL_VERSION_META_KEY) == version
        and CLIENT_CAPABILITIES_META_KEY in meta
        and headers.get(b"mcp-method", b"").decode("latin-1") == message["method"]
        and _name_matches(headers, message["method"], params)
    ):
        version = _classify(headers, message)
        meta = message["params"]["_meta"]
    if not isinstance(meta[CLIENT_CAPABILITIES_META_KEY], dict):
        raise RpcError(INVALID_PARAMS, f"params._meta[{CLIENT_CAPABILITIES_META_KEY!r}] must be an object.")
    if not isinstance(meta.get(CLIENT_INFO_META_KEY, {}), dict):
        raise RpcError(INVALID_PARAMS, f"params._meta[{CLIENT_INFO_META_KEY!r}] must be an object.")
    return version


def implied_headers(message: dict[str, Any]) -> dict[bytes, bytes]:
    """The headers that a modern message would have over HTTP, for a connection that has none a message."""
    params = message.get("params")
    meta = params.get("_meta") if isinstance(params, dict) else None
    version = meta.get(PROTOCOL_VERSION_META_KEY) if isinstance(meta, dict) else None
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
    if named not in HANDSHAKE_PROTOCOL_VERSIONS:
        rejection = unsupported_protocol_version_rejection(named)
        if rejection is not None:
            raise _rejected(rejection)


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
        if not isinstance(message.get("params"), dict | None):
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


def _name_matches(headers: dict[bytes, bytes], method: str, params: dict[str, Any]) -> bool:
    """Whether ``Mcp-Name`` repeats the name verbatim. The encoded form is left to the classifier."""
    key = _NAMED.get(method)
    if key is None:
        return True
    named = headers.get(b"mcp-name", b"").decode("latin-1")
    return not named.startswith("=?") and named == params.get(key)


def _classify(headers: dict[bytes, bytes], message: dict[str, Any]) -> str:
    """The SDK's ladder: the words of the refusal, or the version when the short way was too strict."""
    text = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers.items()}
    verdict = classify_inbound_request(message, headers=text)
    if isinstance(verdict, InboundLadderRejection):
        named = text.get("mcp-protocol-version")
        if named is not None and verdict.code == INVALID_PARAMS:
            # A version that is not served matters more than what that version's envelope would be.
            unsupported = unsupported_protocol_version_rejection(named)
            if unsupported is not None and named not in HANDSHAKE_PROTOCOL_VERSIONS:
                raise _rejected(unsupported)
        raise _rejected(verdict)
    return verdict.protocol_version


def _rejected(rejection: InboundLadderRejection) -> RpcError:
    return RpcError(rejection.code, rejection.message, data=rejection.data)


def _malformed(message: str) -> RpcError:
    return RpcError(INVALID_REQUEST, message, data={"code": "message_malformed"}, status=400)
