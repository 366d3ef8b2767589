"""A surface in the words of the wire: ready-made bytes of its lists and its identity. Built once a snapshot.

Three shapes of a tool, by what a revision of the protocol knows: ``modern`` (2026-07-28), ``structured``
(2025-06-18 and 2025-11-25: title, outputSchema) and ``plain`` (before: neither).
"""

from __future__ import annotations

import base64
import binascii
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any, Final

import orjson
from mcp.shared.inbound import X_MCP_HEADER_KEY, find_invalid_x_mcp_header, x_mcp_header_map
from mcp_types import SERVER_INFO_META_KEY
from mcp_types.version import MODERN_PROTOCOL_VERSIONS, is_version_at_least

from servers.endpoint.wire import INVALID_PARAMS, SERVER_NAME, SERVER_VERSION, RpcError
from servers.services.surfaces import MAX_SURFACES, Surface, SurfaceTool

PAGE_SIZE: Final = 500
"""Tools a page. Large, because a client that ignores ``nextCursor`` would silently lack the rest."""

LIST_TTL_MS: Final = 60_000
"""How long a 2026-07-28 client may keep a list: there is no change notification yet."""

CACHE_SCOPE: Final = "private"
"""Lists depend on the key's scopes, so no cache may share them between keys."""

_CURSOR: Final = "t1:"

MODERN: Final = "modern"
STRUCTURED: Final = "structured"
PLAIN: Final = "plain"


def shape_of(version: str) -> str:
    """The shape that clients of a protocol version read."""
    if version in MODERN_PROTOCOL_VERSIONS:
        return MODERN
    return STRUCTURED if is_version_at_least(version, "2025-06-18") else PLAIN


class View:
    """What the endpoint sends of one surface."""

    __slots__ = (
        "_names",
        "_page_size",
        "_pages",
        "_tools",
        "discover",
        "identity",
        "initialize",
        "mirrored",
    )

    def __init__(self, surface: Surface, page_size: int) -> None:
        self._page_size = page_size
        self._names = [tool.name for tool in surface.tools]
        self._tools = {
            MODERN: [_tool_bytes(tool, structured=True) for tool in surface.tools],
            PLAIN: [_tool_bytes(tool, structured=False) for tool in surface.tools],
        }
        self._tools[STRUCTURED] = self._tools[MODERN]
        self._pages: dict[tuple[str, int], bytes] = {}
        server: dict[str, Any] = {"name": SERVER_NAME, "title": surface.title, "version": SERVER_VERSION}
        self.identity = orjson.dumps({SERVER_INFO_META_KEY: server})
        """The ``_meta`` of each modern result (basic/index, "Per-response protocol fields")."""
        offer: dict[str, Any] = {"capabilities": {"tools": {}}}
        if surface.instructions:
            offer["instructions"] = surface.instructions
        self.discover = orjson.dumps(
            {
                "resultType": "complete",
                "supportedVersions": list(MODERN_PROTOCOL_VERSIONS),
                **offer,
                "ttlMs": LIST_TTL_MS,
                "cacheScope": CACHE_SCOPE,
                "_meta": orjson.Fragment(self.identity),
            }
        )
        self.initialize = orjson.dumps({**offer, "serverInfo": server})
        """The result of ``initialize``, but for the version that was negotiated."""
        self.mirrored = frozenset(tool.name for tool in surface.tools if _mirrors(tool))
        """Tools with parameters that 2026-07-28 clients must repeat in ``Mcp-Param-*`` headers."""

    def page(self, shape: str, cursor: str | None, only: frozenset[str] | None) -> bytes:
        """The result of ``tools/list``. ``only`` narrows to these names. Raises ``RpcError`` for a bad cursor."""
        start = 0 if cursor is None else bisect_right(self._names, _read_cursor(cursor))
        ready = self._pages.get((shape, start)) if only is None else None
        if ready is not None:
            return ready
        shown = range(start, len(self._names))
        places = [at for at in shown if only is None or self._names[at] in only]
        more = len(places) > self._page_size
        places = places[: self._page_size]
        tools = self._tools[shape]
        following = _write_cursor(self._names[places[-1]]) if more else None
        result = self._list_bytes(shape, [tools[at] for at in places], following)
        # Only pages of our own making are kept: a made-up cursor must not fill the memory.
        if only is None and start % self._page_size == 0:
            self._pages[shape, start] = result
        return result

    def _list_bytes(self, shape: str, tools: Sequence[bytes], following: str | None) -> bytes:
        parts = [b'{"tools":[', b",".join(tools), b"]"]
        if following is not None:
            parts.append(b',"nextCursor":' + orjson.dumps(following))
        if shape == MODERN:
            parts.append(
                b',"resultType":"complete","ttlMs":%d,"cacheScope":"%s","_meta":%s'
                % (LIST_TTL_MS, CACHE_SCOPE.encode(), self.identity)
            )
        parts.append(b"}")
        return b"".join(parts)


class Views:
    """The views of the snapshots in use, one a server: that of its latest snapshot."""

    def __init__(self, page_size: int = PAGE_SIZE) -> None:
        self._page_size = page_size
        self._views: dict[tuple[int, str], tuple[Surface, View]] = {}

    def of(self, surface: Surface) -> View:
        """The view of a snapshot, built on first use."""
        place = (surface.tenant_id, surface.slug)
        held = self._views.get(place)
        if held is not None and held[0] is surface:
            return held[1]
        if len(self._views) >= MAX_SURFACES:
            self._views.clear()
        view = View(surface, self._page_size)
        self._views[place] = (surface, view)
        return view


def _tool_bytes(tool: SurfaceTool, *, structured: bool) -> bytes:
    shown: dict[str, Any] = {"name": tool.name}
    annotations = dict(tool.annotations)
    if tool.title:
        if structured:
            shown["title"] = tool.title
        else:
            annotations.setdefault("title", tool.title)
    if tool.description:
        shown["description"] = tool.description
    shown["inputSchema"] = tool.input_schema
    if structured and tool.output_schema is not None:
        shown["outputSchema"] = tool.output_schema
    if annotations:
        shown["annotations"] = annotations
    return orjson.dumps(shown)


def _mirrors(tool: SurfaceTool) -> bool:
    if X_MCP_HEADER_KEY.encode() not in orjson.dumps(tool.input_schema):
        return False
    return find_invalid_x_mcp_header(tool.input_schema) is None and bool(x_mcp_header_map(tool.input_schema))


def _write_cursor(name: str) -> str:
    return base64.urlsafe_b64encode((_CURSOR + name).encode()).decode().rstrip("=")


def _read_cursor(cursor: str) -> str:
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
    except (binascii.Error, ValueError):
        text = ""
    name = text.removeprefix(_CURSOR)
    if name == text or not name or len(name) > 128 or _write_cursor(name) != cursor:
        raise RpcError(
            INVALID_PARAMS,
            "The cursor is not one of this server's. Begin again: list without a cursor.",
            data={"code": "cursor_invalid"},
        )
    return name
