"""The bytes of an answer: JSON-RPC results and errors, HTTP status and headers. Decides nothing.

Error codes: JSON-RPC's own, and MCP's where the specification defines one. What neither defines (credential,
scope, size, log) uses the HTTP status as its code: the 2026-07-28 revision asks for codes outside of the
JSON-RPC range for such purposes (basic/index, "Error Codes").
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from core.errors import MAX_MESSAGE
from core.readable import readable
from servers.endpoint.specification import (
    HEADER_MISMATCH,
    HTTP_STATUS,
    INTERNAL_ERROR,
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    PARSE_ERROR,
    UNSUPPORTED_PROTOCOL_VERSION,
)

__all__ = [
    "INTERNAL_ERROR",
    "INVALID_PARAMS",
    "INVALID_REQUEST",
    "METHOD_NOT_FOUND",
    "PARSE_ERROR",
    "SERVER_NAME",
    "SERVER_VERSION",
    "Reply",
    "RpcError",
    "code_name",
    "error_bytes",
    "internal_error",
    "process_ended",
    "result_parts",
]

SERVER_NAME: Final = "marina"
SERVER_VERSION: Final = "0.1.0"
"""As in pyproject.toml; a test compares them."""

Id = str | int | None

_HEAD: Final = b'{"jsonrpc":"2.0","id":'
_RESULT: Final = b',"result":'


@dataclass(slots=True)
class Reply:
    """One HTTP answer. Its body is all ``parts``, joined where they are written; without any it has no type."""

    status: int
    parts: Sequence[bytes] = ()
    headers: Sequence[tuple[bytes, bytes]] = ()

    @property
    def body(self) -> bytes:
        """All of it."""
        return b"".join(self.parts)


class RpcError(Exception):
    """A request ends in a JSON-RPC error. ``status`` is the HTTP status where the answer is this alone.

    ``recorded``: the log has it already, from where it was decided.

    Without a ``status`` the code decides: by the specification's table in the modern era; 200 before it, where the
    error answers a request whose id could be read.
    """

    def __init__(
        self,
        code: int,
        message: str,
        *,
        data: Mapping[str, Any] | None = None,
        status: int | None = None,
        headers: Sequence[tuple[bytes, bytes]] = (),
        recorded: bool = False,
    ) -> None:
        self.message = readable(message, MAX_MESSAGE)
        super().__init__(self.message)
        self.code = code
        self.data = data
        self.status = status
        self.headers = headers
        self.recorded = recorded

    def http_status(self, *, modern: bool, answers: bool) -> int:
        """The HTTP status: ``answers`` says whether this is the answer to a request with an id."""
        if self.status is not None:
            return self.status
        if self.code == INTERNAL_ERROR:
            return 500
        if modern or not answers:
            return HTTP_STATUS.get(self.code, 200)
        return 200


_NAMES: Final = {
    HEADER_MISMATCH: "header_mismatch",
    INVALID_PARAMS: "params_invalid",
    INVALID_REQUEST: "message_malformed",
    METHOD_NOT_FOUND: "method_unknown",
    PARSE_ERROR: "json_invalid",
    UNSUPPORTED_PROTOCOL_VERSION: "version_unsupported",
}


def code_name(error: RpcError) -> str:
    """The error's code as the log has it: its own name, or that of its number."""
    named = (error.data or {}).get("code")
    return named if isinstance(named, str) else _NAMES.get(error.code, str(error.code))


def internal_error(request_id: str) -> RpcError:
    """The answer to a fault of ours: nothing of it but the id under which the operator's log has it."""
    return RpcError(
        INTERNAL_ERROR,
        f"Something failed inside Marina. Tell the operator the request id {request_id}.",
        data={"code": "internal", "request_id": request_id},
    )


def process_ended(*, begun: bool = True) -> RpcError:
    """The answer to a request that was cancelled because this process ends. ``begun``: it may have had an effect."""
    if not begun:
        return RpcError(
            503,
            "This process ended before the request was read, so it was not acted upon. Send it again.",
            data={"code": "process_ended", "rule": "process:ended", "retryable": True},
            status=503,
        )
    return RpcError(
        503,
        "This process ended before the request did, which was cancelled. Whether it took effect is in the log. "
        "Send it again if it is safe to repeat.",
        data={"code": "process_ended"},
        status=503,
    )


def id_bytes(request_id: Id) -> bytes:
    """A JSON-RPC id as JSON."""
    if type(request_id) is int:
        return b"%d" % request_id
    return orjson.dumps(request_id)


def result_parts(request_id: Id, result: bytes) -> Sequence[bytes]:
    """A JSON-RPC response around a result that is JSON already, in the pieces that it is made of."""
    return _HEAD, id_bytes(request_id), _RESULT, result, b"}"


def glance(body: bytes) -> tuple[Id, bool]:
    """The id of a message, and whether it is a request (or a batch, or nothing that can be read).

    Only to tell what it is: whether it means one thing is asked where it is answered.
    """
    try:
        message = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None, True
    if not isinstance(message, dict):
        return None, True
    rpc_id = message.get("id")
    return rpc_id if type(rpc_id) in {str, int} else None, "method" in message and "id" in message


def error_bytes(request_id: Id, error: RpcError) -> bytes:
    """A JSON-RPC error response. An id that could not be read is ``null`` (JSON-RPC 2.0, section 5)."""
    content: dict[str, Any] = {"code": error.code, "message": error.message}
    if error.data is not None:
        content["data"] = error.data
    return orjson.dumps({"jsonrpc": "2.0", "id": request_id, "error": content})
