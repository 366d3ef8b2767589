"""Translates Marina's errors into the wire's: JSON-RPC code, HTTP status, headers. The only place that does."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from core.errors import (
    Forbidden,
    InvalidInput,
    MarinaError,
    NotFound,
    RateLimited,
    Unauthenticated,
    Unavailable,
)
from servers.endpoint.authentication import challenge
from servers.endpoint.wire import INTERNAL_ERROR, INVALID_PARAMS, RpcError

_RETRY_AFTER = (b"retry-after", b"2")


def translate(error: MarinaError, metadata: str = "") -> RpcError:
    """The error as a JSON-RPC error: cause and next step in the message, code and rule in ``data``.

    ``metadata`` is the address of the server's protected resource metadata, for who lacks a credential or a scope.
    """
    data = describe(error)
    if isinstance(error, Unauthenticated):
        problem = None if error.code == "key_missing" else "invalid_token"
        asked = challenge(problem, error.message, metadata=metadata)
        return RpcError(401, error.message, data=data, status=401, headers=(asked,))
    if isinstance(error, Forbidden):
        needed = error.data.get("needed_scopes")
        headers: tuple[tuple[bytes, bytes], ...] = ()
        if isinstance(needed, Iterable):
            scopes = " ".join(str(scope) for scope in needed)
            headers = (challenge("insufficient_scope", error.message, scopes, metadata=metadata),)
        return RpcError(403, error.message, data=data, status=403, headers=headers)
    if isinstance(error, InvalidInput) or (isinstance(error, NotFound) and error.code == "tool_unknown"):
        return RpcError(INVALID_PARAMS, error.message, data=data)
    if isinstance(error, NotFound):
        return RpcError(404, error.message, data=data, status=404)
    if isinstance(error, RateLimited):
        wait = (b"retry-after", b"%d" % error.retry_after)
        return RpcError(429, error.message, data=data, status=429, headers=(wait,))
    if isinstance(error, Unavailable):
        return RpcError(503, error.message, data=data, status=503, headers=(_RETRY_AFTER,))
    return RpcError(INTERNAL_ERROR, error.message, data=data)


def describe(error: MarinaError) -> dict[str, Any]:
    """The error for a program: its stable code, whether the same request may succeed later, and the details."""
    described: dict[str, Any] = {**error.data, "code": error.code, "retryable": error.retryable}
    if isinstance(error, InvalidInput) and error.errors:
        described["errors"] = error.errors
    return described
