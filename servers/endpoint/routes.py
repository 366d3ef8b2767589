"""Which server and which transport a path below ``/mcp`` means. Knows no tenant."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Final, NamedTuple

from servers.endpoint.wire import RpcError
from tenants.models import SLUG_PATTERN
from tenants.oauth_addresses import DEFAULT_SERVER

STREAMABLE: Final = ""
SSE: Final = "sse"
MESSAGES: Final = "messages"
WEBSOCKET: Final = "ws"
_TRANSPORTS: Final = frozenset({SSE, MESSAGES, WEBSOCKET})

_SLUG: Final = re.compile(SLUG_PATTERN)
_KEPT_PATH: Final = 100
"""Characters of the longest path whose reading is kept."""


class Place(NamedTuple):
    """A server by its slugs, and the transport that a path asks for."""

    tenant: str
    server: str
    transport: str


def find_socket(scope: Any) -> Place:
    """The place that a WebSocket's path means. Raises ``RpcError``: 404 where none is served."""
    place = find_place(scope)
    if place.transport != WEBSOCKET:
        raise RpcError(
            404, "A WebSocket is served at /mcp/<team>/ws.", data={"code": "path_unknown"}, status=404
        )
    return place


def find_place(scope: Any) -> Place:
    """The place of a request's path. Raises ``RpcError``: 404 where there is nothing."""
    path: str = scope["path"]
    # A proxy routes by the path as it was sent, and slugs need no encoding: what has one is nowhere.
    encoded = b"%" in (scope.get("raw_path") or b"")
    place = None if encoded else (_kept(path) if len(path) <= _KEPT_PATH else _read(path))
    if place is None:
        raise RpcError(
            404,
            "There is nothing at this path. MCP is served at /mcp/<team> and /mcp/<team>/<server>.",
            data={"code": "path_unknown"},
            status=404,
        )
    return place


def _read(path: str) -> Place | None:
    parts = path.split("/")[2:]
    if not all(parts):
        return None
    transport = STREAMABLE
    if len(parts) in {2, 3} and parts[-1] in _TRANSPORTS:
        transport = parts.pop()
    if not 1 <= len(parts) <= 2:
        return None
    return Place(_slug(parts[0]), _slug(parts[1]) if len(parts) == 2 else DEFAULT_SERVER, transport)


_kept = lru_cache(maxsize=4096)(_read)
"""Paths repeat with every call."""


def _slug(segment: str) -> str:
    """A path's segment as a slug; one that cannot be a slug becomes ``-``, which nothing is called."""
    return segment if _SLUG.fullmatch(segment) else "-"
