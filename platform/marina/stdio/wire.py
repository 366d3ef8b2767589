"""JSON-RPC messages, and the HTTP headers that mirror them. Pure: does no input or output.

Sources: MCP 2025-11-25 and 2026-07-28, basic/transports.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NoReturn

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
HEADER_MISMATCH: Final = -32020
"""MCP 2026-07-28: the headers do not match the body, or a required one is missing."""

VERSION_KEY: Final = "io.modelcontextprotocol/protocolVersion"
"""In ``params._meta`` of each request since 2026-07-28; no earlier revision has it."""

_NAMED_BY: Final = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
HEADER_NAME: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
"""RFC 9110, section 5.6.2: a token."""

PLAIN: Final = re.compile(r"[\x20-\x7e]*")
"""What a header carries as it is."""

_VISIBLE: Final = re.compile(r"[\x21-\x7e]+")
_SENTINEL: Final = re.compile(r"=\?base64\?.*\?=")

Id = str | int | float
"""What correlates an answer with its request. ``1`` and ``"1"`` are two of them."""


class Malformed(Exception):
    """A line of the host is no message. ``id`` is known where it could be read."""

    def __init__(self, code: int, message: str, request_id: Id | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.request_id = request_id


@dataclass(frozen=True, slots=True)
class Message:
    """One message, and what the bridge needs to know of it.

    Attributes:
        method: None for a response.
        request_id: None for a notification.
        version: the revision that a modern message says it speaks; None in the legacy era.
    """

    body: bytes
    method: str | None
    request_id: Id | None
    params: Mapping[str, Any]
    version: str | None

    @property
    def is_request(self) -> bool:
        """Whether the host waits for an answer."""
        return self.method is not None and self.request_id is not None

    @property
    def awaited(self) -> dict[str, Id]:
        """The id that the host waits for an answer to, by its key; empty where it waits for none."""
        if self.method is None or self.request_id is None:
            return {}
        return {id_key(self.request_id): self.request_id}

    @property
    def meta(self) -> Mapping[str, Any]:
        """``params._meta``."""
        meta = self.params.get("_meta")
        return meta if isinstance(meta, dict) else {}


def parse(data: bytes) -> Any:
    """Read JSON in UTF-8. Raises ``Malformed`` for anything else, NaN and endless nesting included."""
    try:
        return json.loads(data.decode(), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise Malformed(
            PARSE_ERROR, "This line is not JSON in UTF-8. Send one JSON-RPC message a line."
        ) from error


def read_message(body: bytes, value: Any) -> Message:
    """Tell what a parsed value is. Raises ``Malformed`` where it is no JSON-RPC message."""
    if not isinstance(value, dict):
        raise Malformed(INVALID_REQUEST, "A JSON-RPC message is an object.")
    raw_id = value.get("id")
    request_id = raw_id if is_id(raw_id) else None
    method = value.get("method")
    if method is None and request_id is not None and ("result" in value or "error" in value):
        return Message(body, None, request_id, {}, None)
    if not isinstance(method, str) or not _VISIBLE.fullmatch(method):
        raise Malformed(INVALID_REQUEST, "A JSON-RPC message needs a method of visible ASCII.", request_id)
    if "id" in value and request_id is None:
        raise Malformed(INVALID_REQUEST, "The id of a request is a string or a number.")
    params = value.get("params")
    message = Message(body, method, request_id, params if isinstance(params, dict) else {}, None)
    version = message.meta.get(VERSION_KEY)
    if not isinstance(version, str):
        return message
    if not _VISIBLE.fullmatch(version):
        raise Malformed(INVALID_REQUEST, f"{VERSION_KEY} is no protocol version.", request_id)
    return Message(body, method, request_id, message.params, version)


def is_id(value: object) -> bool:
    """Whether ``value`` can be the id of a request."""
    return isinstance(value, str | int | float) and not isinstance(value, bool)


def id_key(request_id: object) -> str:
    """The id in a form that keeps ``1`` and ``"1"`` apart."""
    return json.dumps(request_id)


def one_line(data: bytes) -> bytes:
    """The same JSON without line breaks: in valid JSON they stand between tokens only."""
    return data.replace(b"\r", b" ").replace(b"\n", b" ").strip() if b"\n" in data or b"\r" in data else data


def write_json(value: Any) -> bytes:
    """JSON on one line."""
    return json.dumps(value, separators=(",", ":")).encode()


def write_error(
    request_id: Id | None, code: int, message: str, data: Mapping[str, Any] | None = None
) -> bytes:
    """An error response of the bridge's own; ``data.source`` tells it from the server's."""
    details = {"source": "marina-stdio", **(data or {})}
    error = {"code": code, "message": message, "data": details}
    return write_json({"jsonrpc": "2.0", "id": request_id, "error": error})


def encode_header(value: str) -> str:
    """A header value as it is, or in the Base64 form where it would not survive (2026-07-28, Value Encoding)."""
    if PLAIN.fullmatch(value) and value == value.strip() and not _SENTINEL.fullmatch(value):
        return value
    # Half a surrogate pair has no UTF-8; the server refuses it, and says so better than a crash here.
    return f"=?base64?{base64.b64encode(value.encode(errors='surrogatepass')).decode()}?="


def is_header_value(value: str) -> bool:
    """Whether ``value`` is visible ASCII without blanks, as a session's id is."""
    return _VISIBLE.fullmatch(value) is not None


def mirror_headers(message: Message) -> dict[str, str]:
    """The routing headers of a modern message: version, method and name."""
    headers = {"mcp-protocol-version": message.version or "", "mcp-method": message.method or ""}
    named_by = _NAMED_BY.get(message.method or "")
    name = message.params.get(named_by) if named_by else None
    if isinstance(name, str):
        headers["mcp-name"] = encode_header(name)
    return headers


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)
