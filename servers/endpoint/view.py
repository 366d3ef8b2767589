"""A surface in the words of the wire: ready-made bytes of its lists and its identity. Built once a snapshot."""

from __future__ import annotations

from typing import Any, Final
from weakref import WeakKeyDictionary

import orjson

from servers.endpoint.lists import (
    CACHE_SCOPE,
    LIST_TTL_MS,
    NOT_OFFERED,
    NOT_USABLE,
    PAGE_SIZE,
    Listing,
    prompt_item,
    resource_item,
    tool_item,
)
from servers.endpoint.mirroring import Mirrored, mirrored_parameters
from servers.endpoint.specification import MIRRORING, MODERN_VERSIONS, SERVER_INFO
from servers.endpoint.wire import SERVER_NAME, SERVER_VERSION
from servers.execution.context import TASKS_EXTENSION
from servers.services.surfaces import Surface, SurfaceTool
from servers.services.visibility import tools_left
from tenants.access import Caller

TOOLS: Final = "tools"
RESOURCES: Final = "resources"
PROMPTS: Final = "prompts"

_CAPABILITIES: Final[dict[str, dict[str, bool]]] = {
    TOOLS: {"listChanged": True},
    RESOURCES: {"subscribe": True, "listChanged": True},
    PROMPTS: {"listChanged": True},
}


EXTENSIONS: Final[dict[str, dict[str, Any]]] = {TASKS_EXTENSION: {}}
"""What there is beyond the protocol itself, for clients that declare it, too (SEP-2133)."""


class View:
    """What the endpoint sends of one surface."""

    __slots__ = (
        "_identities",
        "_instructions",
        "_server",
        "identity",
        "mirrored",
        "prompts",
        "resources",
        "templates",
        "tools",
    )

    def __init__(self, surface: Surface, page_size: int) -> None:
        self._server: dict[str, Any] = {
            "name": SERVER_NAME,
            "title": surface.title,
            "version": SERVER_VERSION,
        }
        self._instructions = surface.instructions
        self._identities: dict[frozenset[str], tuple[bytes, bytes]] = {}
        self.identity = identity = orjson.dumps({SERVER_INFO: self._server})
        """The ``_meta`` of each modern result (basic/index, "Per-response protocol fields")."""
        self.tools = Listing(
            "tools",
            [tool_item(tool) for tool in surface.tools],
            page_size=page_size,
            identity=identity,
            notes={
                NOT_OFFERED: [(each.name, each.reason) for each in surface.withheld],
                NOT_USABLE: [
                    (tool.name, tool.fault or tool.quarantine)
                    for tool in surface.tools
                    if tool.fault or tool.quarantine
                ],
            },
        )
        self.resources = Listing(
            "resources",
            [resource_item(each) for each in surface.resources],
            page_size=page_size,
            identity=identity,
        )
        self.templates = Listing(
            "resourceTemplates",
            [resource_item(each) for each in surface.templates],
            page_size=page_size,
            identity=identity,
        )
        self.prompts = Listing(
            "prompts", [prompt_item(each) for each in surface.prompts], page_size=page_size, identity=identity
        )
        self.mirrored: dict[str, tuple[Mirrored, ...]] = {
            tool.name: mirrored for tool in surface.tools if (mirrored := _mirrored_of(tool))
        }
        """Tools with parameters that 2026-07-28 clients must repeat in ``Mcp-Param-*`` headers."""

    def digests(self, caller: Caller) -> dict[str, str]:
        """List → what it looks like to a caller: another digest is a change that it is told of."""
        return {
            TOOLS: self.tools.digest_of(tools_left(caller)),
            RESOURCES: self.resources.digest + self.templates.digest,
            PROMPTS: self.prompts.digest,
        }

    def discover(self, offered: frozenset[str]) -> bytes:
        """The result of ``server/discover`` for a caller who may use these of tools, resources and prompts."""
        return self._identity_of(offered)[0]

    def initialize(self, offered: frozenset[str]) -> bytes:
        """The result of ``initialize``, but for the version that was negotiated."""
        return self._identity_of(offered)[1]

    def _identity_of(self, offered: frozenset[str]) -> tuple[bytes, bytes]:
        ready = self._identities.get(offered)
        if ready is not None:
            return ready
        capabilities: dict[str, Any] = {
            name: shown for name, shown in _CAPABILITIES.items() if name in offered
        }
        capabilities["logging"] = {}
        if offered & {RESOURCES, PROMPTS}:
            capabilities["completions"] = {}
        offer: dict[str, Any] = {"capabilities": capabilities}
        if self._instructions:
            offer["instructions"] = self._instructions
        discover = orjson.dumps(
            {
                "resultType": "complete",
                "supportedVersions": list(MODERN_VERSIONS),
                **offer,
                "capabilities": {**capabilities, **({"extensions": EXTENSIONS} if TOOLS in offered else {})},
                "ttlMs": LIST_TTL_MS,
                "cacheScope": CACHE_SCOPE,
                "_meta": orjson.Fragment(self.identity),
            }
        )
        ready = discover, orjson.dumps({**offer, "serverInfo": self._server})
        self._identities[offered] = ready
        return ready


class Views:
    """The views of the snapshots in use. A view goes with its snapshot, so the bound on those bounds both."""

    def __init__(self, page_size: int = PAGE_SIZE) -> None:
        self._page_size = page_size
        self._views: WeakKeyDictionary[Surface, View] = WeakKeyDictionary()

    def of(self, surface: Surface) -> View:
        """The view of a snapshot, built on first use."""
        view = self._views.get(surface)
        if view is None:
            view = self._views[surface] = View(surface, self._page_size)
        return view

    def digests(self, surface: Surface, caller: Caller) -> dict[str, str]:
        """``View.digests`` of the server as the caller is offered it."""
        return self.of(surface.seen_by(caller)).digests(caller)


def _mirrored_of(tool: SurfaceTool) -> tuple[Mirrored, ...]:
    # Few tools have any, and looking for the word is quicker than walking the schema.
    if MIRRORING.encode() not in orjson.dumps(tool.input_schema):
        return ()
    return mirrored_parameters(tool.input_schema)
