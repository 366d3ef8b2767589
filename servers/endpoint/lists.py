"""One list of a surface (tools, resources, templates, prompts) as ready-made bytes, page by page. Knows no caller.

Three shapes of an item, by what a revision of the protocol knows: ``modern`` (2026-07-28), ``structured``
(2025-06-18 and 2025-11-25) and ``plain`` (before: no title, no outputSchema, no icons).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from core.fitting import fitted
from servers.endpoint.specification import INVALID_PARAMS, MODERN_VERSIONS, is_at_least
from servers.endpoint.wire import RpcError
from servers.services.surfaces import SurfacePrompt, SurfaceResource, SurfaceTool

PAGE_SIZE: Final = 500
"""Items a page. Large, because a client that ignores ``nextCursor`` would silently lack the rest."""

LIST_TTL_MS: Final = 60_000
"""How long a 2026-07-28 client that listens to no changes may keep a list."""

CACHE_SCOPE: Final = "private"
"""Lists depend on the key's scopes, so no cache may share them between keys."""

MODERN: Final = "modern"
STRUCTURED: Final = "structured"
PLAIN: Final = "plain"

MAX_CURSOR_CHARACTERS: Final = 4_096

NOT_OFFERED: Final = "marina/notOffered"
"""In the ``_meta`` of the first page of tools: those that are not in the list, each with the reason."""
NOT_USABLE: Final = "marina/notUsable"
"""The same of tools that are in it, and of which no call can run."""
MAX_NOTES: Final = 50
"""Of each of the two. ``more`` counts the others."""
MAX_REASON: Final = 240
"""Characters."""

Notes = Mapping[str, Sequence[tuple[str, str]]]
"""Names and reasons, by what is said of them."""

Item = tuple[str, Mapping[str, Any], Mapping[str, Any]]
"""What an item is sorted by, and how it is shown in the full and in the plain shape."""


def shape_of(version: str) -> str:
    """The shape that clients of a protocol version read."""
    if version in MODERN_VERSIONS:
        return MODERN
    return STRUCTURED if is_at_least(version, "2025-06-18") else PLAIN


class Listing:
    """The pages of one list."""

    __slots__ = (
        "_cursor",
        "_identity",
        "_items",
        "_keys",
        "_member",
        "_notes",
        "_page_size",
        "_pages",
        "digest",
    )

    def __init__(
        self,
        member: str,
        items: Sequence[Item],
        *,
        page_size: int,
        identity: bytes,
        notes: Notes | None = None,
    ) -> None:
        ordered = sorted(items, key=_place)
        full = [fitted(orjson.dumps(shown)) for _, shown, _ in ordered]
        self._member = member
        self._cursor = member[:1] + "1:"
        self._page_size = page_size
        self._identity = identity
        self._notes: Notes = {} if notes is None else notes
        self._keys = [key for key, _, _ in ordered]
        self._items = {
            MODERN: full,
            STRUCTURED: full,
            PLAIN: [fitted(orjson.dumps(shown)) for _, _, shown in ordered],
        }
        self._pages: dict[tuple[str, int, bool], bytes] = {}
        self.digest = hashlib.blake2b(b"\0".join(full), digest_size=12).hexdigest()
        """Changes with what clients would see."""

    def digest_of(self, only: frozenset[str] | None) -> str:
        """The digest of what is left of the list when it is narrowed to these keys."""
        if only is None:
            return self.digest
        shown = [item for key, item in zip(self._keys, self._items[MODERN], strict=True) if key in only]
        return hashlib.blake2b(b"\0".join(shown), digest_size=12).hexdigest()

    def page(
        self, shape: str, cursor: str | None, only: frozenset[str] | None, *, noted: bool = False
    ) -> bytes:
        """A list's result. ``only`` narrows to these keys. Raises ``RpcError`` for a bad cursor.

        With ``noted`` the first page says what is not there, and what is of no use, of these keys.
        """
        start = 0 if cursor is None else bisect_right(self._keys, self._read_cursor(cursor))
        noted = noted and start == 0
        ready = self._pages.get((shape, start, noted)) if only is None else None
        if ready is not None:
            return ready
        shown = range(start, len(self._keys))
        places = [at for at in shown if only is None or self._keys[at] in only]
        more = len(places) > self._page_size
        places = places[: self._page_size]
        items = self._items[shape]
        following = self._write_cursor(self._keys[places[-1]]) if more else None
        meta = _noted(self._notes, only) if noted else b""
        result = self._bytes(shape, [items[at] for at in places], following, meta)
        # Only pages of our own making are kept: a made-up cursor must not fill the memory.
        if only is None and start % self._page_size == 0:
            self._pages[shape, start, noted] = result
        return result

    def _bytes(self, shape: str, items: Sequence[bytes], following: str | None, meta: bytes) -> bytes:
        parts = [b'{"%s":[' % self._member.encode(), b",".join(items), b"]"]
        if following is not None:
            parts.append(b',"nextCursor":' + orjson.dumps(following))
        if shape == MODERN:
            parts.append(
                b',"resultType":"complete","ttlMs":%d,"cacheScope":"%s","_meta":%s'
                % (
                    LIST_TTL_MS,
                    CACHE_SCOPE.encode(),
                    self._identity[:-1] + b"," + meta[1:] if meta else self._identity,
                )
            )
        elif meta:
            parts.append(b',"_meta":' + meta)
        parts.append(b"}")
        return b"".join(parts)

    def _write_cursor(self, key: str) -> str:
        return base64.urlsafe_b64encode((self._cursor + key).encode()).decode().rstrip("=")

    def _read_cursor(self, cursor: str) -> str:
        text = ""
        if len(cursor) <= MAX_CURSOR_CHARACTERS:
            try:
                text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
            except (binascii.Error, ValueError):
                text = ""
        key = text.removeprefix(self._cursor)
        if key == text or not key or self._write_cursor(key) != cursor:
            raise RpcError(
                INVALID_PARAMS,
                "The cursor is not one of this server's. Begin again: list without a cursor.",
                data={"code": "cursor_invalid"},
            )
        return key


def _noted(notes: Notes, only: frozenset[str] | None) -> bytes:
    """The notes as an object of JSON; empty where there are none."""
    said: dict[str, Any] = {}
    for about, pairs in notes.items():
        told = [(name, reason) for name, reason in pairs if only is None or name in only]
        if told:
            said[about] = {
                "tools": [{"name": name, "reason": reason[:MAX_REASON]} for name, reason in told[:MAX_NOTES]],
                **({"more": len(told) - MAX_NOTES} if len(told) > MAX_NOTES else {}),
            }
    return orjson.dumps(said) if said else b""


def _place(item: Item) -> str:
    return item[0]


def tool_item(tool: SurfaceTool) -> Item:
    """A ``Tool`` of the wire."""
    shown = _named(tool.name, tool.title, tool.description, tool.icons)
    plain: dict[str, Any] = {"name": tool.name}
    if tool.description:
        plain["description"] = tool.description
    shown["inputSchema"] = plain["inputSchema"] = tool.input_schema
    if tool.output_schema is not None:
        shown["outputSchema"] = tool.output_schema
    if tool.annotations:
        shown["annotations"] = dict(tool.annotations)
    # Before 2025-06-18 a title stood among the annotations.
    annotations = {**({"title": tool.title} if tool.title else {}), **tool.annotations}
    if annotations:
        plain["annotations"] = annotations
    return tool.name, shown, plain


def resource_item(resource: SurfaceResource) -> Item:
    """A ``Resource`` or ``ResourceTemplate`` of the wire."""
    shown: dict[str, Any] = {"uriTemplate" if resource.template else "uri": resource.uri}
    shown.update(_named(resource.name, resource.title, resource.description, resource.icons))
    if resource.mime_type:
        shown["mimeType"] = resource.mime_type
    if resource.size is not None and not resource.template:
        shown["size"] = resource.size
    if resource.annotations:
        shown["annotations"] = dict(resource.annotations)
    return resource.uri, shown, _without(shown, "title", "icons")


def prompt_item(prompt: SurfacePrompt) -> Item:
    """A ``Prompt`` of the wire."""
    shown = _named(prompt.name, prompt.title, prompt.description, prompt.icons)
    plain = _without(shown, "title", "icons")
    if prompt.arguments:
        shown["arguments"] = [dict(argument) for argument in prompt.arguments]
        plain["arguments"] = [_without(argument, "title") for argument in prompt.arguments]
    return prompt.name, shown, plain


def _named(name: str, title: str, description: str, icons: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    shown: dict[str, Any] = {"name": name}
    if title:
        shown["title"] = title
    if description:
        shown["description"] = description
    if icons:
        shown["icons"] = [dict(icon) for icon in icons]
    return shown


def _without(shown: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in shown.items() if name not in names}
