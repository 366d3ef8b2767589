"""What a server offers, as an immutable snapshot in memory, and the cache of them. Runs no tool, knows no wire.

A snapshot is replaced whole, never changed. It is dropped when its tenant announces a change, and at most
``RECHECK_SECONDS`` old before its version is compared with the database's: that bounds how long a replica
that hears no announcement (Redis is down) offers what is no longer there.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Final

import jsonschema_rs
import orjson

from core.crypto import Sealer, SealError
from core.errors import InvalidInput
from servers.execution.contract import Operation, Source
from servers.models import DataSource, Server, Tool
from servers.services.reading import look_up
from servers.services.schemas import compile_schema
from tenants.models import Tenant
from tenants.scoping import tenant_scope

RECHECK_SECONDS: Final = 5.0
"""A snapshot older than this is compared with the database before it is used."""

MAX_SURFACES: Final = 2_000
"""Snapshots held; the one used longest ago makes room."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class SurfaceTool:
    """A tool as a server offers it: what clients are shown, and what a call needs.

    ``fault`` is empty, or a sentence on why no call of the tool can run.
    """

    name: str
    title: str
    description: str
    input_schema: Mapping[str, Any]
    output_schema: Mapping[str, Any] | None
    annotations: Mapping[str, Any]
    version: int
    operation: Operation
    source: Source | None
    validator: jsonschema_rs.Validator | None = field(repr=False)
    fault: str = ""
    icons: Sequence[Mapping[str, Any]] = ()
    output_validator: jsonschema_rs.Validator | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class SurfaceResource:
    """A resource, or with ``template`` a resource template, as a server offers it. ``fault`` as of a tool."""

    uri: str
    name: str
    title: str
    description: str
    mime_type: str
    annotations: Mapping[str, Any]
    icons: Sequence[Mapping[str, Any]]
    size: int | None
    template: bool
    operation: Operation
    source: Source | None
    fault: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class SurfacePrompt:
    """A prompt as a server offers it. ``arguments`` as in ``OfferedPrompt``; ``fault`` as of a tool."""

    name: str
    title: str
    description: str
    arguments: Sequence[Mapping[str, Any]]
    icons: Sequence[Mapping[str, Any]]
    operation: Operation
    source: Source | None
    fault: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Surface:
    """One server of a tenant at one moment. Tools and prompts are ordered by name, resources by URI."""

    tenant_id: int
    tenant_slug: str
    slug: str
    title: str
    instructions: str
    public: bool
    version: int
    tools: tuple[SurfaceTool, ...]
    by_name: Mapping[str, SurfaceTool] = field(repr=False)
    resources: tuple[SurfaceResource, ...] = ()
    templates: tuple[SurfaceResource, ...] = ()
    prompts: tuple[SurfacePrompt, ...] = ()

    def find_resource(self, uri: str) -> tuple[SurfaceResource, Mapping[str, str]] | None:
        """The resource with this URI, else the first template that it fits, with the values of its variables."""
        for resource in self.resources:
            if resource.uri == uri:
                return resource, {}
        return None

    def find_prompt(self, name: str) -> SurfacePrompt | None:
        """The prompt of this name."""
        return next((prompt for prompt in self.prompts if prompt.name == name), None)


def find_tenant(slug: str) -> int | None:
    """The id of the tenant with this slug."""
    return Tenant.objects.filter(slug=slug).values_list("pk", flat=True).first()


def read_version(tenant_id: int) -> int | None:
    """The tenant's surface version now; ``None`` when there is no such tenant any more."""
    return Tenant.objects.filter(pk=tenant_id).values_list("surface_version", flat=True).first()


def load_surface(tenant_id: int, slug: str, sealer: Sealer) -> Surface | None:
    """Build the snapshot of one server from the database; ``None`` when the tenant has no such server."""
    with tenant_scope(tenant_id):
        # The version first: a change in between makes the next comparison fail, never the snapshot stale.
        tenant = Tenant.objects.filter(pk=tenant_id).first()
        server = Server.objects.filter(slug=slug).first()
        if tenant is None or server is None:
            return None
        rows = Tool.objects.filter(enabled=True, current__isnull=False).select_related("source", "current")
        if not server.offers_all:
            rows = rows.filter(source__in=server.sources.all())
        opened: dict[object, Source | None] = {}
        tools = []
        for row in sorted(rows, key=_name_of):
            if row.source_id not in opened:
                opened[row.source_id] = _open_source(row.source, sealer)
            tools.append(_snapshot(row, opened[row.source_id]))
    return Surface(
        tenant_id=tenant_id,
        tenant_slug=tenant.slug,
        slug=server.slug,
        title=server.title,
        instructions=server.instructions,
        public=server.access == Server.Access.PUBLIC,
        version=tenant.surface_version,
        tools=tuple(tools),
        by_name={tool.name: tool for tool in tools},
    )


def _name_of(row: Tool) -> str:
    """The order of the list: by code point, which no database collation changes."""
    return row.name


def _open_source(row: DataSource, sealer: Sealer) -> Source | None:
    try:
        settings = orjson.loads(sealer.open(bytes(row.sealed), context=row.seal_context))
    except (SealError, orjson.JSONDecodeError):
        logger.exception("a data source's settings do not open", extra={"source_id": str(row.id)})
        return None
    return Source(
        id=row.id,
        tenant_id=row.tenant_id,
        name=row.name,
        kind=row.kind,
        version=row.version,
        settings=settings,
    )


def _snapshot(row: Tool, source: Source | None) -> SurfaceTool:
    current = row.current
    if current is None:
        raise AssertionError("a tool without a version was selected")
    fault = ""
    validator: jsonschema_rs.Validator | None = None
    output_validator: jsonschema_rs.Validator | None = None
    try:
        if current.output_schema is not None:
            output_validator = compile_schema(current.output_schema)
        validator = compile_schema(current.input_schema)
    except InvalidInput:
        logger.exception("a stored schema does not compile", extra={"tool_id": str(row.id)})
        fault = "A schema of the tool is not valid. Ask an editor of the team to change the tool."
    if source is None:
        fault = (
            f"The settings of the data source {row.source.name} cannot be opened. "
            "Ask an editor of the team to enter its credentials again."
        )
    return SurfaceTool(
        name=row.name,
        title=current.title,
        description=current.description,
        input_schema=current.input_schema,
        output_schema=current.output_schema,
        annotations=current.annotations,
        version=current.number,
        operation=Operation(kind=current.kind, definition=current.definition),
        source=source,
        validator=validator,
        fault=fault,
        output_validator=output_validator,
    )


class _Held:
    """A cached snapshot, the version it is of, and when it was checked."""

    __slots__ = ("checked", "surface", "version")

    def __init__(self, surface: Surface, version: int, checked: float) -> None:
        self.surface = surface
        self.version = version
        self.checked = checked


class SurfaceCache:
    """Snapshots by (tenant, server), on one event loop. A miss is loaded once, however many wait for it."""

    def __init__(self, sealer: Sealer) -> None:
        self._sealer = sealer
        self._held: OrderedDict[tuple[int, str], _Held] = OrderedDict()
        self._loading: dict[tuple[int, str], asyncio.Task[Surface | None]] = {}

    def peek(self, tenant_id: int, slug: str) -> Surface | None:
        """The snapshot, when it is held and fresh. The hot path: it touches neither database nor loop."""
        held = self._held.get((tenant_id, slug))
        if held is None or monotonic() - held.checked > RECHECK_SECONDS:
            return None
        return held.surface

    async def get(self, tenant_id: int, slug: str) -> Surface | None:
        """The snapshot, loaded or compared with the database where needed; ``None``: no such server."""
        place = (tenant_id, slug)
        held = self._held.get(place)
        if held is not None and monotonic() - held.checked <= RECHECK_SECONDS:
            self._held.move_to_end(place)
            return held.surface
        task = self._loading.get(place)
        if task is None:
            task = asyncio.create_task(self._refresh(place, held))
            self._loading[place] = task
            task.add_done_callback(lambda done: self._forget_task(place, done))
        # One caller who gives up must not take the load away from the others.
        return await asyncio.shield(task)

    def drop_tenant(self, tenant_id: int) -> None:
        """The tenant changed: what is held of it, or being loaded now, is not to be used any more."""
        for place in [place for place in self._held if place[0] == tenant_id]:
            del self._held[place]
        for place in [place for place in self._loading if place[0] == tenant_id]:
            del self._loading[place]

    def drop_all(self) -> None:
        """Changes may have been missed: everything is to be read again."""
        self._held.clear()
        self._loading.clear()

    async def _refresh(self, place: tuple[int, str], held: _Held | None) -> Surface | None:
        tenant_id, slug = place
        me = asyncio.current_task()
        started = monotonic()
        if held is not None and await look_up(read_version, tenant_id) == held.version:
            held.checked = started
            if place in self._held:
                self._held.move_to_end(place)
            return held.surface
        surface = await look_up(load_surface, tenant_id, slug, self._sealer)
        # A miss is not kept: anybody may ask for servers that are not there, and would push out those that are.
        if surface is None:
            self._held.pop(place, None)
        elif self._loading.get(place) is me:
            self._held[place] = _Held(surface, surface.version, started)
            self._held.move_to_end(place)
            while len(self._held) > MAX_SURFACES:
                self._held.popitem(last=False)
        return surface

    def _forget_task(self, place: tuple[int, str], task: asyncio.Task[Surface | None]) -> None:
        if self._loading.get(place) is task:
            del self._loading[place]
        if not task.cancelled():
            task.exception()
